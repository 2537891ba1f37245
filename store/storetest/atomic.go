package storetest

import (
	"fmt"

	"tidemark/store"
)

var atomicTests = []test{
	{"all are accepted, contiguous", atomicAccepted},
	{"or none is", atomicRefused},
	{"duplicates inside", atomicDuplicates},
	{"one that is all duplicates", atomicAllDuplicates},
	{"a refusal leaves no trace", atomicNoTrace},
	{"a refusal is forgotten at once", atomicForgotten},
	{"a conflict tells what is there", atomicConflict},
	{"over several streams", atomicStreams},
	{"in the middle of others", atomicBetween},
}

// flags returns which events say that the next belongs to the same push.
func (k *kit) flags() (out string) {
	for _, e := range k.all(store.All, 0, store.PageLimit{}) {
		if e.Flags.Has(store.FlagMore) {
			out += "+"
		} else {
			out += "."
		}
	}
	return out
}

func atomicAccepted(k *kit) {
	vs := k.atomic(note("a", "1"), put("a", "k", "1"), expecting(put("a", "k", "2"), 2))
	k.expectCodes(vs, "ok", "ok", "ok")
	for i, v := range vs {
		if v.Seq != store.Seq(i+1) {
			k.Fatalf("verdicts %+v", vs)
		}
	}
	k.expectCodes(k.atomic(note("a", "2")), "ok")
	k.expectCodes(k.push(note("a", "3"), note("a", "4")), "ok", "ok")
	k.twice(func() {
		if got := k.flags(); got != "++...." {
			k.Fatalf("flags %s", got)
		}
	})
}

func atomicRefused(k *kit) {
	k.accept(put("a", "k", "1"))
	k.expectCodes(k.atomic(note("a", "1"), expecting(put("a", "k", "2"), 0), note("a", "2")), "aborted", "conflict", "aborted")
	k.expectCodes(k.atomic(note("a", "1"), store.Mutation{}, note("a", "2")), "aborted", "mutation_invalid", "aborted")
	p := &store.Push{Atomic: true, Mutations: []store.Mutation{note("a", "1"), note("a", "2"), note("a", "3")},
		Refused: []*store.Refusal{nil, {Code: store.CodeForbidden}, {Code: store.CodeMutationInvalid}}}
	k.expectCodes(k.send(p), "aborted", "forbidden", "mutation_invalid")
	if k.Head() != 1 {
		k.Fatalf("head %d", k.Head())
	}
}

func atomicDuplicates(k *kit) {
	old := note("a", "0")
	k.accept(old)
	a, b := note("a", "1"), note("a", "2")
	vs := k.atomic(a, old, b, a)
	k.expectCodes(vs, "ok", "dup", "ok", "dup")
	if vs[0].Seq != 2 || vs[1].Seq != 1 || vs[2].Seq != 3 || vs[3].Seq != 2 {
		k.Fatalf("verdicts %+v", vs)
	}
	// In a refused push, too, one that was there already says so; one that was only in that push does not.
	c := note("a", "3")
	vs = k.atomic(old, c, c, expecting(note("a", "4"), 99))
	k.expectCodes(vs, "dup", "aborted", "aborted", "conflict")
	reused := a
	reused.Data = []byte("other")
	k.expectCodes(k.atomic(reused, c), "id_reused", "aborted")
	k.expectCodes(k.push(c), "ok")
	if got := k.flags(); got != ".+.." {
		k.Fatalf("flags %s", got)
	}
}

func atomicAllDuplicates(k *kit) {
	a, b := note("a", "1"), note("a", "2")
	k.expectCodes(k.atomic(a, b), "ok", "ok")
	k.twice(func() { k.expectCodes(k.atomic(a, b), "dup", "dup") })
	if k.Head() != 2 {
		k.Fatalf("head %d", k.Head())
	}
}

func atomicNoTrace(k *kit) {
	k.accept(put("a", "k", `{"v":1}`))
	k.accept(note("b", "1"))
	lost := patch("a", "k", `{"v":2}`)
	k.expectCodes(k.atomic(lost, put("a", "new", "1"), remove("a", "k"), note("c", "1"), expecting(note("b", "2"), 0)),
		"aborted", "aborted", "aborted", "aborted", "conflict")
	check := func() {
		k.Helper()
		k.equal(k.docs(store.All, 1<<20), []string{`a k 1 {"v":1}`})
		for f, head := range map[string]store.Seq{"a": 1, "b": 2, "c": 0, "**": 2} {
			if st, err := k.Resume(filter(f), store.Cursor{}); err != nil || st.Head != head {
				k.Fatalf("%s: %+v %v", f, st, err)
			}
		}
	}
	k.twice(check)
	// What was aborted is new when it comes again, with its first place.
	if v := k.push(expecting(lost, 1))[0]; v.Seq != 3 || v.Prev != 1 || v.Dup {
		k.Fatalf("verdict %+v", v)
	}
	k.expectCodes(k.push(expecting(put("a", "new", "2"), 0), expecting(note("c", "2"), 0)), "ok", "ok")
}

// atomicForgotten queues pushes without waiting, so that they meet in one group: what was aborted is new in the next push.
func atomicForgotten(k *kit) {
	const n = 40
	done := make(chan struct{}, 2*n)
	var pushes []*store.Push
	for i := range n {
		m := put("a", fmt.Sprint("k", i), `{"v":1}`)
		for _, p := range []*store.Push{
			{Atomic: true, Mutations: []store.Mutation{m, expecting(note("a", "1"), store.MaxSeq)}},
			{Mutations: []store.Mutation{expecting(m, 0)}},
		} {
			p.Done = func(*store.Push) { done <- struct{}{} }
			pushes = append(pushes, p)
			if err := k.Append(k.Context(), p); err != nil {
				k.Fatal(err)
			}
		}
	}
	for range pushes {
		<-done
	}
	for i := range n {
		k.expectCodes(pushes[2*i].Verdicts, "aborted", "conflict")
		k.expectCodes(pushes[2*i+1].Verdicts, "ok")
		if v := pushes[2*i+1].Verdicts[0]; v.Seq != store.Seq(i+1) {
			k.Fatalf("verdict %+v, want seq %d", v, i+1)
		}
	}
	k.twice(func() {
		if got := len(k.all(store.All, 0, store.PageLimit{})); got != n {
			k.Fatalf("%d events", got)
		}
	})
}

// atomicConflict: what a refused push would have written is in no answer.
func atomicConflict(k *kit) {
	k.accept(put("a", "k", `{"v":1}`))
	k.accept(note("b", "1"))
	want := func(last store.Mutation, seq store.Seq, data string) {
		k.Helper()
		vs := k.atomic(put("a", "k", `{"v":2}`), put("a", "new", "1"), remove("a", "gone"), note("b", "2"), note("c", "1"), last)
		k.expectCodes(vs, "aborted", "aborted", "aborted", "aborted", "aborted", "conflict")
		if r := vs[5].Refusal.WithDocument(); r.Seq != seq || string(r.Data) != data {
			k.Fatalf("conflict with seq %d and %q, want %d and %q", r.Seq, r.Data, seq, data)
		}
	}
	want(expecting(patch("a", "k", `{}`), 1), 1, `{"v":1}`) // the push's own write came between
	want(expecting(patch("a", "k", `{}`), 99), 1, `{"v":1}`)
	want(expecting(put("a", "new", "2"), 0), 0, "")
	want(expecting(put("a", "gone", "2"), 99), 0, "")
	want(expecting(note("b", "3"), 2), 2, "")
	want(expecting(note("c", "2"), 0), 0, "")
	k.accept(note("d", "1")) // takes the seq that the refused pushes had in mind
	k.expectCodes(k.push(expecting(put("a", "k", `{"v":3}`), 1)), "ok")
}

func atomicStreams(k *kit) {
	k.expectCodes(k.atomic(note("a/1", "1"), note("a/2", "1"), note("b", "1"), note("a/1", "2")), "ok", "ok", "ok", "ok")
	k.expectCodes(k.atomic(note("a/1", "3"), note("b", "2")), "ok", "ok")
	k.twice(func() {
		k.Helper()
		for _, f := range []string{"**", "a/**", "a/1", "a/2", "b"} {
			for after := store.Seq(0); after < 6; {
				p, err := k.Read(filter(f), after, store.PageLimit{Events: 1})
				if err != nil {
					k.Fatal(err)
				}
				if p.Through != 4 && p.Through != 6 {
					k.Fatalf("%s after %d: the page ends at %d, inside a push", f, after, p.Through)
				}
				after = p.Through
			}
		}
	})
}

func atomicBetween(k *kit) {
	done := make(chan struct{}, 64)
	for i := range 60 {
		p := &store.Push{Atomic: i%2 == 0, Done: func(*store.Push) { done <- struct{}{} }}
		for j := range 4 {
			p.Mutations = append(p.Mutations, note("a", fmt.Sprintf("[%d,%d]", i, j)))
		}
		if err := k.Append(k.Context(), p); err != nil {
			k.Fatal(err)
		}
	}
	for range 60 {
		<-done
	}
	k.twice(func() {
		for i, e := range k.all(store.All, 0, store.PageLimit{}) {
			if want := fmt.Sprintf("[%d,%d]", i/4, i%4); string(e.Data) != want || e.Flags.Has(store.FlagMore) != (i/4%2 == 0 && i%4 < 3) {
				k.Fatalf("event %d: %s, flags %b", e.Seq, e.Data, e.Flags)
			}
		}
	})
}
