package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"tidemark/store"
)

// Log is what a backend offers. *store.Store is one.
type Log interface {
	Append(ctx context.Context, p *store.Push) error
	Read(f store.Filter, after store.Seq, lim store.PageLimit) (store.Page, error)
	Documents(f store.Filter, after store.DocKey, bytes int) (store.DocPage, error)
	DocumentsAt(f store.Filter, at store.Seq, after store.DocKey, bytes int) (store.DocPage, error)
	Resume(f store.Filter, c store.Cursor) (store.Standing, error)
	Head() store.Seq
	LogID() store.ID
	Mark(at store.Seq) store.ID
	Trim(ctx context.Context, to store.Seq) error
	Watch(fn func(store.Commit))
	Close() error
}

// Backend makes logs.
type Backend struct {
	// Open opens the log that is kept in a folder, or creates it there. now is the clock that it must use.
	Open func(dir string, l store.Limits, now func() time.Time) (Log, error)
	// Dir makes a folder for one test; nil: t.TempDir.
	Dir func(t testing.TB) string
}

// Run runs the suite.
func Run(t *testing.T, b Backend) {
	if b.Dir == nil {
		b.Dir = func(t testing.TB) string { return t.TempDir() }
	}
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"append", appendTests}, {"expect", expectTests}, {"atomic", atomicTests}, {"read", readTests},
		{"documents", documentTests}, {"resume", resumeTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.tests {
				t.Run(c.name, func(t *testing.T) {
					k := &kit{T: t, b: b, dir: b.Dir(t)}
					k.clock.Store(1_790_000_000_000)
					k.open()
					c.run(k)
					k.close()
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(*kit)
}

// limits are small, so that they are met.
var limits = store.Limits{Data: 1000, Doc: 200}

// kit is one open log, with short words for what tests do to it.
type kit struct {
	*testing.T
	Log
	b     Backend
	dir   string
	clock atomic.Int64 // Unix ms
}

func (k *kit) open() {
	k.Helper()
	var err error
	if k.Log, err = k.b.Open(k.dir, limits, func() time.Time { return time.UnixMilli(k.clock.Load()) }); err != nil {
		k.Fatal(err)
	}
}

func (k *kit) close() {
	k.Helper()
	if err := k.Log.Close(); err != nil {
		k.Fatal(err)
	}
}

// reopen closes the log and opens it again: everything is as it was.
func (k *kit) reopen() {
	k.Helper()
	id, head := k.LogID(), k.Head()
	k.close()
	k.open()
	if k.LogID() != id || k.Head() != head {
		k.Fatalf("reopened: log %s with head %d, was %s with %d", k.LogID(), k.Head(), id, head)
	}
}

// twice runs a check on the log as it is and on the log reopened.
func (k *kit) twice(check func()) {
	k.Helper()
	check()
	k.reopen()
	check()
}

// send appends a push and waits for its verdicts.
func (k *kit) send(p *store.Push) []store.Verdict {
	k.Helper()
	done := make(chan struct{})
	calls := 0
	p.Done = func(*store.Push) {
		if calls++; calls == 1 {
			close(done)
		}
	}
	if err := k.Append(k.Context(), p); err != nil {
		k.Fatal(err)
	}
	<-done
	if len(p.Verdicts) != len(p.Mutations) {
		k.Fatalf("%d verdicts for %d mutations", len(p.Verdicts), len(p.Mutations))
	}
	return p.Verdicts
}

func (k *kit) push(ms ...store.Mutation) []store.Verdict {
	k.Helper()
	return k.send(&store.Push{Mutations: ms, By: "alice"})
}

func (k *kit) atomic(ms ...store.Mutation) []store.Verdict {
	k.Helper()
	return k.send(&store.Push{Mutations: ms, By: "alice", Atomic: true})
}

// accept pushes one mutation that must be accepted and returns its seq.
func (k *kit) accept(m store.Mutation) store.Seq {
	k.Helper()
	v := k.push(m)[0]
	if v.Refusal != nil || v.Dup {
		k.Fatalf("%+v was not accepted: %+v %v", m, v, v.Refusal)
	}
	return v.Seq
}

// expectCodes compares verdicts with words: "ok", "dup" or a code.
func (k *kit) expectCodes(vs []store.Verdict, want ...string) {
	k.Helper()
	var got []string
	for _, v := range vs {
		switch {
		case v.Refusal != nil:
			got = append(got, string(v.Refusal.Code))
		case v.Dup:
			got = append(got, "dup")
		default:
			got = append(got, "ok")
		}
	}
	if !slices.Equal(got, want) {
		k.Fatalf("verdicts %v, want %v", got, want)
	}
}

// all reads everything of a filter after a cursor, page by page, and checks what holds for every page.
func (k *kit) all(f store.Filter, after store.Seq, lim store.PageLimit) (out []store.Event) {
	k.Helper()
	last := map[store.Stream]store.Seq{}
	for {
		p, err := k.Read(f, after, lim)
		if err != nil {
			k.Fatal(err)
		}
		k.checkPage(f, after, p, last)
		out = append(out, p.Events...)
		if after = p.Through; !p.More {
			return out
		}
	}
}

func (k *kit) checkPage(f store.Filter, after store.Seq, p store.Page, last map[store.Stream]store.Seq) {
	k.Helper()
	for _, e := range p.Events {
		if prev, seen := last[e.Stream]; e.Seq <= after || e.Seq > p.Through || !f.Match(e.Stream) || seen && e.Prev != prev || !seen && e.Prev > after {
			k.Fatalf("event %+v in a page of %s after %d through %d; the one before was %d", e, f, after, p.Through, prev)
		}
		last[e.Stream], after = e.Seq, e.Seq
	}
	if n := len(p.Events); n > 0 && p.Events[n-1].Flags.Has(store.FlagMore) && f == store.All && p.Through == p.Events[n-1].Seq {
		k.Fatalf("the page ends at %d, inside an atomic push", p.Through)
	}
	if p.More && p.Through <= after && len(p.Events) == 0 && p.Through == 0 {
		k.Fatal("a page that leads nowhere")
	}
}

// docs lists the documents of a filter as "stream key seq json".
func (k *kit) docs(f store.Filter, bytes int) []string {
	k.Helper()
	return k.listDocs(func(after store.DocKey) (store.DocPage, error) { return k.Documents(f, after, bytes) })
}

func (k *kit) docsAt(f store.Filter, at store.Seq, bytes int) []string {
	k.Helper()
	return k.listDocs(func(after store.DocKey) (store.DocPage, error) { return k.DocumentsAt(f, at, after, bytes) })
}

func (k *kit) listDocs(page func(after store.DocKey) (store.DocPage, error)) (out []string) {
	k.Helper()
	var after store.DocKey
	for {
		p, err := page(after)
		if err != nil {
			k.Fatal(err)
		}
		for _, d := range p.Docs {
			out = append(out, fmt.Sprintf("%s %s %d %s", d.Stream, d.Key, d.Seq, d.Data))
		}
		if !p.More {
			return out
		}
		if after == p.Through {
			k.Fatal("a page of documents that leads nowhere")
		}
		after = p.Through
	}
}

func (k *kit) equal(got, want []string) {
	k.Helper()
	if !slices.Equal(got, want) {
		k.Fatalf("got %q, want %q", got, want)
	}
}

// Mutations.

func note(st store.Stream, data string) store.Mutation {
	return store.Mutation{ID: store.NewID(), Stream: st, Type: "note", Data: []byte(data)}
}

func keyed(st store.Stream, key string) store.Mutation {
	return store.Mutation{ID: store.NewID(), Stream: st, Type: "seen", Key: key}
}

func put(st store.Stream, key, data string) store.Mutation {
	return store.Mutation{ID: store.NewID(), Stream: st, Key: key, Op: store.OpPut, Data: []byte(data)}
}

func patch(st store.Stream, key, data string) store.Mutation {
	return store.Mutation{ID: store.NewID(), Stream: st, Key: key, Op: store.OpPatch, Data: []byte(data)}
}

func remove(st store.Stream, key string) store.Mutation {
	return store.Mutation{ID: store.NewID(), Stream: st, Key: key, Op: store.OpDelete}
}

func expecting(m store.Mutation, seq store.Seq) store.Mutation {
	m.Expect = store.Expect{Kind: store.ExpectSeq, Seq: seq}
	return m
}

func expectingID(m store.Mutation, id store.ID) store.Mutation {
	m.Expect = store.Expect{Kind: store.ExpectID, ID: id}
	return m
}

func filter(s string) store.Filter {
	f, err := store.ParseFilter(s)
	if err != nil {
		panic(err)
	}
	return f
}
