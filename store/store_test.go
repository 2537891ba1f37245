package store

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
)

// quiet are options for tests: no log output, a small map and no reserve.
func quiet() Options {
	return Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), mmapSize: 1 << 30, reserve: -1}
}

// sequential marks a test that takes seconds and does one thing at a time, or works in processes of its own: -short, with
// which CI runs the race detector, leaves it out.
func sequential(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("nothing in it runs beside something else")
	}
}

func openTest(t testing.TB, path string, o Options) *Store {
	t.Helper()
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func push(t testing.TB, s *Store, ms ...Mutation) []Verdict {
	t.Helper()
	for i := range ms {
		if ms[i].ID.IsZero() {
			ms[i].ID = NewID()
		}
	}
	v, err := s.AppendWait(t.Context(), &Push{Mutations: ms, By: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func put(st Stream, key, data string) Mutation {
	return Mutation{ID: NewID(), Stream: st, Key: key, Op: OpPut, Data: []byte(data)}
}

func note(st Stream, data string) Mutation {
	return Mutation{ID: NewID(), Stream: st, Type: "note", Data: []byte(data)}
}

// readAll reads everything of a filter after a cursor, page by page, and checks the chain.
func readAll(t testing.TB, s *Store, f Filter, after Seq, lim PageLimit) (out []Event) {
	t.Helper()
	prev := map[Stream]Seq{}
	for {
		p, err := s.Read(f, after, lim)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Events {
			if e.Seq <= after || !f.Match(e.Stream) {
				t.Fatalf("event %d of %s after %d of %s", e.Seq, e.Stream, after, f)
			}
			if was, seen := prev[e.Stream]; seen && e.Prev != was {
				t.Fatalf("event %d of %s has prev %d, want %d", e.Seq, e.Stream, e.Prev, was)
			}
			prev[e.Stream], after = e.Seq, e.Seq
		}
		out = append(out, p.Events...)
		after = p.Through
		if !p.More {
			return out
		}
	}
}

func TestAppendReadReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tidemark")
	o := quiet()
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	const n = 3000
	for i := 0; i < n; i += 100 {
		ms := make([]Mutation, 100)
		for j := range ms {
			ms[j] = put(Stream(fmt.Sprintf("room/%d", j%7)), fmt.Sprint("k", (i+j)%50), fmt.Sprintf(`{"n":%d}`, i+j))
		}
		for j, v := range push(t, s, ms...) {
			if v.Refusal != nil || v.Seq != Seq(i+j+1) {
				t.Fatalf("verdict %+v", v)
			}
		}
	}
	check := func(s *Store) {
		t.Helper()
		for _, f := range []string{"**", "room/**", "room/3"} {
			flt, _ := ParseFilter(f)
			want := n
			if f == "room/3" {
				want = 0
				for j := range 100 {
					if j%7 == 3 {
						want += n / 100
					}
				}
			}
			for _, lim := range []PageLimit{{}, {Events: 7}, {Bytes: 3000}} {
				if got := len(readAll(t, s, flt, 0, lim)); got != want {
					t.Errorf("%s: %d events, want %d", f, got, want)
				}
			}
		}
		p, err := s.Documents(All, DocKey{}, 1<<20)
		if err != nil || len(p.Docs) != 100 || p.More {
			t.Errorf("documents: %d %v %v", len(p.Docs), p.More, err)
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, path, o)
	check(s)
	s.mu.Lock()
	s.tail.dropTo(MaxSeq)
	s.mu.Unlock()
	check(s)
	if err := s.Trim(t.Context(), 1500); err != nil {
		t.Fatal(err)
	}
	if f := s.Floor(); f != 1500 {
		t.Fatalf("floor %d", f)
	}
	if _, err := s.Read(All, 10, PageLimit{}); err == nil {
		t.Fatal("read below the floor")
	}
	if got := len(readAll(t, s, All, 1500, PageLimit{})); got != 1500 {
		t.Fatal(got)
	}
	d, ok, err := s.DocAt("room/0", "k0", 1500)
	if err != nil || !ok {
		t.Fatal(d, ok, err)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, streams := range []int{1, 1000, 10000, 100000} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			s := openTest(b, filepath.Join(b.TempDir(), "a.tidemark"), quiet())
			data := fmt.Appendf(nil, `{"text":"%0200d"}`, 1)
			names := make([]Stream, streams)
			for i := range names {
				names[i] = Stream(fmt.Sprintf("room/%d", i))
			}
			const batch, flight = 64, 16
			slots := make(chan *Push, flight)
			for range flight {
				slots <- &Push{Mutations: make([]Mutation, batch), Done: func(p *Push) { slots <- p }}
			}
			b.ResetTimer()
			for i := 0; i < b.N; i += batch {
				p := <-slots
				for j := range p.Mutations {
					p.Mutations[j] = Mutation{ID: NewID(), Stream: names[(i*7919+j*104729)%streams], Type: "note", Data: data}
				}
				if err := s.Append(b.Context(), p); err != nil {
					b.Fatal(err)
				}
			}
			for range flight {
				<-slots
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			st := s.Stats()
			b.ReportMetric(float64(st.LagEvents), "lag")
			b.ReportMetric(float64(st.FlushMaxNanos)/1e6, "flush-max-ms")
		})
	}
}
