package storetest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"

	"tidemark/store"
)

var appendTests = []test{
	{"gives places", givesPlaces},
	{"keeps every field", keepsEveryField},
	{"the same id again is a duplicate", duplicates},
	{"the same id with other content is refused", reusedIDs},
	{"the same id twice at once", sameIDAtOnce},
	{"refusals do not block neighbours", neighbours},
	{"wrong mutations get their names", wrongMutations},
	{"nothing overtakes a refusal that says later", orderLock},
	{"the lock opens for the refused mutation only", orderLockOpens},
	{"commits are told before they are answered", watchBeforeDone},
	{"time never runs backwards", timeNeverBack},
	{"many writers", manyWriters},
	{"append after close", appendAfterClose},
}

func givesPlaces(k *kit) {
	heads := map[store.Stream]store.Seq{}
	want := store.Seq(0)
	for i := range 30 {
		st := store.Stream(fmt.Sprintf("s/%d", i%4))
		want++
		v := k.push(note(st, "1"))[0]
		if v.Seq != want || v.Prev != heads[st] || v.At != k.clock.Load() || v.Dup || v.Refusal != nil {
			k.Fatalf("verdict %+v, want seq %d, prev %d", v, want, heads[st])
		}
		heads[st] = v.Seq
		if k.Head() != want {
			k.Fatalf("head %d, want %d", k.Head(), want)
		}
	}
	k.twice(func() {
		if got := len(k.all(store.All, 0, store.PageLimit{})); got != 30 {
			k.Fatalf("%d events", got)
		}
	})
}

func keepsEveryField(k *kit) {
	ms := []store.Mutation{
		{ID: store.NewID(), Stream: "a", Type: "t", Key: "k", Op: store.OpPut, Data: []byte(`{"n":1.50,"s":"\ud800\/"}`), Extra: []byte{1, 2, 3}},
		{ID: store.NewID(), Stream: "a", Type: "bytes", Bytes: true, Data: []byte{0, 255, '"'}},
		{ID: store.NewID(), Stream: "a", Type: "none"},
		{ID: store.NewID(), Stream: "a", Type: "null", Data: []byte("null")},
		{ID: store.NewID(), Stream: "a", Type: "empty bytes", Bytes: true, Data: []byte{}},
		{ID: store.NewID(), Stream: "a", Key: "k", Op: store.OpDelete},
	}
	k.expectCodes(k.push(ms...), "ok", "ok", "ok", "ok", "ok", "ok")
	k.twice(func() {
		for i, e := range k.all(store.Only("a"), 0, store.PageLimit{}) {
			m := ms[i]
			if m.Type == "" {
				m.Type = "delete"
			}
			if e.ID != m.ID || e.Type != m.Type || e.Key != m.Key || e.Op != m.Op || e.By != "alice" || e.At != k.clock.Load() ||
				!bytes.Equal(e.Data, m.Data) || (e.Data == nil) != (m.Data == nil) || !bytes.Equal(e.Extra, m.Extra) ||
				e.Flags.Has(store.FlagBytes) != m.Bytes || e.Flags.Has(store.FlagMore) {
				k.Fatalf("event %+v of %+v", e, m)
			}
		}
	})
	if es := k.all(store.Only("a"), 0, store.PageLimit{}); es[5].KPrev != 1 || es[0].KPrev != 0 {
		k.Fatalf("kprev %d and %d", es[0].KPrev, es[5].KPrev)
	}
}

func duplicates(k *kit) {
	ms := []store.Mutation{note("a", "1"), put("a", "k", `{"v":1}`), patch("a", "k", `{"w":2}`), remove("a", "k"), keyed("b", "k")}
	for i, m := range ms {
		if seq := k.accept(m); seq != store.Seq(i+1) {
			k.Fatalf("seq %d", seq)
		}
	}
	check := func() {
		k.Helper()
		for i, m := range ms {
			for _, by := range []string{"alice", "bob"} {
				m.Expect = store.Expect{Kind: store.ExpectSeq, Seq: 77} // stale: the id is looked at first
				v := k.send(&store.Push{Mutations: []store.Mutation{m}, By: by})[0]
				if !v.Dup || v.Seq != store.Seq(i+1) || v.Refusal != nil {
					k.Fatalf("mutation %d again: %+v", i, v)
				}
			}
		}
		if k.Head() != store.Seq(len(ms)) {
			k.Fatalf("head %d", k.Head())
		}
	}
	k.twice(check)
	if err := k.Trim(k.Context(), k.Head()); err != nil {
		k.Fatal(err)
	}
	k.twice(check)
}

func reusedIDs(k *kit) {
	m := put("a", "k", `{"v":1}`)
	k.accept(m)
	k.twice(func() {
		k.Helper()
		for name, change := range map[string]func(m *store.Mutation){
			"stream":      func(m *store.Mutation) { m.Stream = "b" },
			"type":        func(m *store.Mutation) { m.Type = "other" },
			"key":         func(m *store.Mutation) { m.Key = "l" },
			"op":          func(m *store.Mutation) { m.Op = store.OpPatch },
			"data":        func(m *store.Mutation) { m.Data = []byte(`{"v":1.0}`) },
			"no op":       func(m *store.Mutation) { m.Op, m.Type = store.OpNone, "put" },
			"shifted key": func(m *store.Mutation) { m.Stream, m.Key = "ak", "" },
		} {
			again := m
			change(&again)
			if name == "shifted key" {
				again.Op, again.Type = store.OpNone, "put"
			}
			if v := k.push(again)[0]; v.Refusal == nil || v.Refusal.Code != store.CodeIDReused {
				k.Fatalf("the same id with another %s: %+v", name, v)
			}
		}
		named := m
		named.Type = "put" // the type that an op stands for
		k.expectCodes(k.push(named), "dup")
	})
}

func sameIDAtOnce(k *kit) {
	m, other := note("a", "1"), note("a", "2")
	other.ID = m.ID
	k.expectCodes(k.push(m, m, other, m), "ok", "dup", "id_reused", "dup")
	n := note("a", "3")
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted, seqs := 0, map[store.Seq]bool{}
	for range 20 {
		wg.Go(func() {
			v := k.push(n)[0]
			mu.Lock()
			defer mu.Unlock()
			seqs[v.Seq] = true
			if !v.Dup {
				accepted++
			}
		})
	}
	wg.Wait()
	if accepted != 1 || len(seqs) != 1 || k.Head() != 2 {
		k.Fatalf("accepted %d times at %v, head %d", accepted, seqs, k.Head())
	}
}

func neighbours(k *kit) {
	p := &store.Push{
		Mutations: []store.Mutation{note("a", "1"), note("a", "2"), {}, expecting(note("a", "3"), 99), note("a", "4")},
		Refused:   []*store.Refusal{nil, {Code: store.CodeForbidden}, nil, nil, nil},
	}
	vs := k.send(p)
	k.expectCodes(vs, "ok", "forbidden", "mutation_invalid", "conflict", "ok")
	if vs[0].Seq != 1 || vs[4].Seq != 2 || vs[4].Prev != 1 {
		k.Fatalf("verdicts %+v", vs)
	}
}

func wrongMutations(k *kit) {
	long := strings.Repeat("x", 1100)
	for name, c := range map[string]struct {
		m    store.Mutation
		code store.Code
	}{
		"no id":              {store.Mutation{Stream: "a", Type: "t"}, store.CodeMutationInvalid},
		"no type":            {store.Mutation{ID: store.NewID(), Stream: "a"}, store.CodeMutationInvalid},
		"long type":          {store.Mutation{ID: store.NewID(), Stream: "a", Type: long[:256]}, store.CodeMutationInvalid},
		"control in a type":  {store.Mutation{ID: store.NewID(), Stream: "a", Type: "a\u0085"}, store.CodeMutationInvalid},
		"op without key":     {store.Mutation{ID: store.NewID(), Stream: "a", Op: store.OpDelete}, store.CodeMutationInvalid},
		"long key":           {put("a", long, "1"), store.CodeMutationInvalid},
		"control in a key":   {put("a", "k\n", "1"), store.CodeMutationInvalid},
		"put without data":   {store.Mutation{ID: store.NewID(), Stream: "a", Key: "k", Op: store.OpPut}, store.CodeMutationInvalid},
		"put of null":        {put("a", "k", "null"), store.CodeMutationInvalid},
		"patch of no object": {patch("a", "k", "[1]"), store.CodeMutationInvalid},
		"delete with data":   {store.Mutation{ID: store.NewID(), Stream: "a", Key: "k", Op: store.OpDelete, Data: []byte("1")}, store.CodeMutationInvalid},
		"data over limit":    {note("a", `"`+long[:limits.Data-1]+`"`), store.CodeTooLarge},
	} {
		if v := k.push(c.m)[0]; v.Refusal == nil || v.Refusal.Code != c.code {
			k.Errorf("%s: %+v, want %s", name, v, c.code)
		}
	}
	k.expectCodes(k.push(note("a", `"`+long[:limits.Data-2]+`"`), put("a", long[:1024], "1")), "ok", "ok")
	if k.Head() != 2 {
		k.Errorf("head %d", k.Head())
	}
}

func later(p *store.Push, i int) *store.Push {
	p.Refused = make([]*store.Refusal, len(p.Mutations))
	p.Refused[i] = &store.Refusal{Code: store.CodeOverloaded}
	return p
}

func orderLock(k *kit) {
	src, other := &store.Source{}, &store.Source{}
	a, b, c := note("a", "1"), note("a", "2"), note("a", "3")
	k.expectCodes(k.send(later(&store.Push{Source: src, Mutations: []store.Mutation{a, b, c}}, 1)), "ok", "overloaded", "overloaded")
	k.expectCodes(k.send(&store.Push{Source: src, Mutations: []store.Mutation{c}}), "overloaded")
	k.expectCodes(k.send(&store.Push{Source: src, Mutations: []store.Mutation{a}}), "overloaded")
	k.expectCodes(k.send(&store.Push{Source: src, Mutations: []store.Mutation{c, b}}), "overloaded", "overloaded")
	k.expectCodes(k.send(&store.Push{Source: other, Mutations: []store.Mutation{note("a", "4")}}), "ok")
	k.expectCodes(k.push(note("a", "5")), "ok")
	k.expectCodes(k.send(&store.Push{Source: src, Mutations: []store.Mutation{b, c}}), "ok", "ok")
	k.expectCodes(k.send(&store.Push{Source: src, Mutations: []store.Mutation{note("a", "6")}}), "ok")
}

func orderLockOpens(k *kit) {
	src := &store.Source{}
	a, b, c := note("a", "1"), note("a", "2"), note("a", "3")
	// Of an atomic push the first mutation must come again, whichever was refused.
	k.expectCodes(k.send(later(&store.Push{Source: src, Atomic: true, Mutations: []store.Mutation{a, b}}, 1)), "overloaded", "overloaded")
	k.expectCodes(k.send(&store.Push{Source: src, Mutations: []store.Mutation{b}}), "overloaded")
	// Another source brings the event; the lock stays until the mutation is sent again, a duplicate then.
	k.expectCodes(k.push(a), "ok")
	k.expectCodes(k.send(&store.Push{Source: src, Mutations: []store.Mutation{c}}), "overloaded")
	k.expectCodes(k.send(&store.Push{Source: src, Atomic: true, Mutations: []store.Mutation{a, b}}), "dup", "ok")
	// Refusals that are final lock nothing.
	k.expectCodes(k.send(&store.Push{Source: src, Mutations: []store.Mutation{expecting(note("a", "4"), 1)}}), "conflict")
	k.expectCodes(k.send(&store.Push{Source: src, Mutations: []store.Mutation{c}}), "ok")
}

func watchBeforeDone(k *kit) {
	var mu sync.Mutex
	var told []store.Event
	k.Watch(func(c store.Commit) {
		mu.Lock()
		defer mu.Unlock()
		if n := len(c.Events); n == 0 || c.Events[n-1].Seq != c.Head || k.Head() != c.Head {
			k.Errorf("commit of %d events with head %d, published %d", len(c.Events), c.Head, k.Head())
		}
		told = append(told, c.Events...)
	})
	for i := range 50 {
		v := k.push(note("a", fmt.Sprint(i)), note("b", fmt.Sprint(i)))
		mu.Lock()
		if n := len(told); n == 0 || told[n-1].Seq != v[1].Seq {
			k.Fatalf("answered %d before it was told", v[1].Seq)
		}
		mu.Unlock()
	}
	for i, e := range told {
		if e.Seq != store.Seq(i+1) {
			k.Fatalf("told event %d in the place of %d", e.Seq, i+1)
		}
	}
}

func timeNeverBack(k *kit) {
	last := int64(0)
	for _, step := range []time.Duration{0, time.Hour, -2 * time.Hour, -100 * 24 * time.Hour, time.Minute, 300 * 24 * time.Hour, -time.Hour} {
		k.clock.Add(step.Milliseconds())
		at := k.push(note("a", "1"))[0].At
		if at < last || at < k.clock.Load() {
			k.Fatalf("at %d after %d, the clock says %d", at, last, k.clock.Load())
		}
		last = at
		k.reopen()
	}
	for i, es := 1, k.all(store.All, 0, store.PageLimit{}); i < len(es); i++ {
		if es[i].At < es[i-1].At {
			k.Fatalf("event %d is from %d, before %d", es[i].Seq, es[i].At, es[i-1].At)
		}
	}
}

func manyWriters(k *kit) {
	const writers, each = 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			src := &store.Source{}
			last := store.Seq(0)
			for i := range each {
				v := k.send(&store.Push{Source: src, Mutations: []store.Mutation{note(store.Stream(fmt.Sprint("w/", w)), fmt.Sprint(i))}})[0]
				if v.Refusal != nil || v.Seq <= last || v.Prev != last {
					k.Errorf("writer %d: %+v after %d", w, v, last)
					return
				}
				last = v.Seq
			}
		})
	}
	wg.Wait()
	k.twice(func() {
		if got := len(k.all(store.All, 0, store.PageLimit{Events: 17})); got != writers*each {
			k.Errorf("%d events", got)
		}
	})
}

func appendAfterClose(k *kit) {
	k.accept(note("a", "1"))
	k.close()
	p := &store.Push{Mutations: []store.Mutation{note("a", "2")}, Done: func(*store.Push) { k.Error("answered") }}
	if err := k.Append(k.Context(), p); err == nil {
		k.Error("a closed log takes pushes")
	}
	if err := k.Log.Close(); err != nil {
		k.Errorf("closed again: %v", err)
	}
	k.open()
	if k.Head() != 1 {
		k.Errorf("head %d", k.Head())
	}
}
