package store

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The order is that of a sorted list, whatever comes and goes.
func TestDocOrder(t *testing.T) {
	n := uint64(40)
	if testing.Short() {
		n = 4
	}
	for seed := range n {
		r := rand.New(rand.NewPCG(seed, 3))
		var o docOrder
		var want []DocKey
		compare := func(a, b DocKey) int {
			if a == b {
				return 0
			}
			return map[bool]int{true: -1, false: 1}[a.less(b)]
		}
		rising := r.IntN(2) == 0
		for step := range 5000 {
			at := DocKey{Stream: Stream(fmt.Sprint(r.IntN(3))), Key: fmt.Sprint(r.IntN(4000))}
			if rising {
				at = DocKey{Stream: "s", Key: fmt.Sprintf("%05d", step)}
			}
			i, there := slices.BinarySearchFunc(want, at, compare)
			switch {
			case !there && step < 4000:
				o.add(&docEntry{at: at})
				want = slices.Insert(want, i, at)
			case len(want) > 0:
				i = min(i, len(want)-1)
				o.remove(want[i])
				want = slices.Delete(want, i, i+1)
			}
		}
		from := DocKey{}
		if len(want) > 0 && r.IntN(2) == 0 {
			i := r.IntN(len(want))
			from, want = want[i], want[i:]
		}
		var got []DocKey
		for e := range o.from(from) {
			got = append(got, e.at)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d entries, want %d", seed, len(got), len(want))
		}
		for _, b := range o.blocks {
			if len(b) == 0 || len(b) > orderBlock {
				t.Fatalf("seed %d: a block of %d", seed, len(b))
			}
		}
	}
}

// Pages have every document once, in order, however many of them are in the overlay, in the bucket, deleted, or on streams that
// the filter does not match.
func TestPagesOfManyDocuments(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	r := rand.New(rand.NewPCG(1, 1))
	want := map[DocKey]string{}
	rounds := 6
	if testing.Short() {
		rounds = 4
	}
	for round := range rounds {
		var ms []Mutation
		for range 2000 {
			m := put(Stream([]string{"$own", "a/1", "a/2", "b"}[r.IntN(4)]), fmt.Sprint(r.IntN(5000)), fmt.Sprintf(`"%d"`, r.IntN(1000)))
			if r.IntN(4) == 0 {
				m.Op, m.Data = OpDelete, nil
			}
			ms = append(ms, m)
			want[DocKey{m.Stream, m.Key}] = string(m.Data)
		}
		push(t, s, ms...)
		if round == 2 {
			if err := s.onWriter(t.Context(), func() error { s.flushTo(s.Head()); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"**", "a/**", "a/2", "b", "$own", "c"} {
			f, err := ParseFilter(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, limit := range []int{-1, 1, 1000, 50_000, 1 << 30} {
				if limit < 1000 && r.IntN(20) > 0 {
					continue
				}
				samePages(t, s, f, limit, want)
			}
		}
	}
}

func samePages(t *testing.T, s *Store, f Filter, limit int, docs map[DocKey]string) {
	t.Helper()
	var want, got []string
	for at, data := range docs {
		if f.Match(at.Stream) && data != "" {
			want = append(want, fmt.Sprint(at, data))
		}
	}
	var after DocKey
	for more := true; more; {
		p, err := s.Documents(f, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range p.Docs {
			got = append(got, fmt.Sprint(DocKey{d.Stream, d.Key}, string(d.Data)))
		}
		if more = p.More; more && !after.less(p.Through) {
			t.Fatalf("%s after %v: a page through %v leads nowhere", f, after, p.Through)
		}
		after = p.Through
	}
	slices.Sort(want)
	if sorted := slices.Sorted(slices.Values(got)); !slices.Equal(sorted, want) {
		t.Fatalf("%s, limit %d: %d documents, want %d", f, limit, len(got), len(want))
	}
}

// A page looks at what it brings, not at all that is in memory.
func TestPageLooksAtAPage(t *testing.T) {
	sequential(t)
	o := quiet()
	o.flush.target, o.flush.bound = 1<<20, 1<<20
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	err := s.onWriter(t.Context(), func() error { // no flush comes between
		p := &Push{Done: func(*Push) {}}
		for i := range 20_000 {
			p.Mutations = append(p.Mutations, put("s", fmt.Sprintf("%06d", i), "1"))
		}
		if err := p.prepare(&s.opts.Limits); err != nil {
			return err
		}
		s.commit([]*Push{p})
		over, cut := s.docOverlays(Only("s"), DocKey{"s", "010000"}, 1000)
		if len(over) != 1000/48+1 || cut == nil || over[0].at.Key != "010001" || *cut != over[len(over)-1].at {
			t.Errorf("%d entries up to %v", len(over), cut)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkSnapshot reads all documents of a stream in pages, none of them flushed.
func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			o := quiet()
			o.flush.target, o.flush.bound, o.flush.bytes = 1<<30, 1<<30, 1<<40
			s := openTest(b, filepath.Join(memoryDir(b), "a.tidemark"), o)
			data := `"` + strings.Repeat("x", 100) + `"`
			err := s.onWriter(b.Context(), func() error {
				for i := 0; i < n; i += 1000 {
					p := &Push{Done: func(*Push) {}}
					for j := range 1000 {
						p.Mutations = append(p.Mutations, put("s", fmt.Sprintf("%08x", uint32(i+j)*2654435761), data))
					}
					if err := p.prepare(&s.opts.Limits); err != nil {
						return err
					}
					s.commit([]*Push{p})
				}
				for b.Loop() {
					docs, after := 0, DocKey{}
					for more := true; more; {
						p, err := s.Documents(Only("s"), after, DefaultPage)
						if err != nil {
							return err
						}
						docs, after, more = docs+len(p.Docs), p.Through, p.More
					}
					if docs != n {
						b.Fatal(docs)
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkDocOrder adds documents to an overlay that has many, and takes them out.
func BenchmarkDocOrder(b *testing.B) {
	var o docOrder
	r := rand.New(rand.NewPCG(1, 1))
	entries := make([]*docEntry, 64<<10)
	for i := range entries {
		entries[i] = &docEntry{at: DocKey{Stream: "room/1", Key: fmt.Sprintf("%016x", r.Uint64())}}
		o.add(entries[i])
	}
	i := 0
	for b.Loop() {
		e := entries[i%len(entries)]
		o.remove(e.at)
		o.add(e)
		i++
	}
}
