package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// fill appends n events in pushes of 100, each on a stream that pick chooses.
func fill(t testing.TB, s *Store, n int, pick func(i int) Stream) {
	t.Helper()
	for i := 0; i < n; i += 100 {
		ms := make([]Mutation, min(100, n-i))
		for j := range ms {
			ms[j] = note(pick(i+j), fmt.Sprintf(`{"i":%d}`, i+j))
		}
		push(t, s, ms...)
	}
}

// cold forgets the tail, and has what is in the journal put into the log's bucket, so that reads go to the file.
func cold(t testing.TB, s *Store) {
	t.Helper()
	noJournal(t, s)
	noTail(s)
}

func noTail(s *Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail.dropTo(MaxSeq)
}

// A scan of the file tells the kernel what it reads next; a lookup does not.
func TestScansReadAhead(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the kernel reads ahead by itself")
	}
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	data := `"` + strings.Repeat("x", 1000) + `"`
	for range 30 {
		var ms []Mutation
		for range 100 {
			ms = append(ms, note("a", data))
		}
		push(t, s, ms...)
	}
	cold(t, s)
	if s.Mark(s.Head()); s.Stats().ReadAheads != 0 {
		t.Error("a lookup read ahead")
	}
	if es := readAll(t, s, All, 0, PageLimit{}); len(es) != 3000 {
		t.Fatalf("%d events", len(es))
	}
	if n := s.Stats().ReadAheads; n < 5 || n > 100 {
		t.Errorf("read ahead %d times", n)
	}
}

// Every way of finding a page gives the same events, from any cursor, and each way is really taken.
func TestReadPaths(t *testing.T) {
	o := quiet()
	o.flush = flushPol{target: 500, bound: 5000, events: 300, entries: 200}
	s := openTest(t, filepath.Join(t.TempDir(), "a.tidemark"), o)
	r := rand.New(rand.NewPCG(5, 6))
	streams := map[Stream]int{}
	n := 40000
	if testing.Short() {
		n = 8000
	}
	fill(t, s, n, func(i int) Stream {
		st := Stream(fmt.Sprintf("wide/%d", r.IntN(2000)))
		switch {
		case i%3 == 0:
			st = "dense"
		case i%100 == 1:
			st = Stream(fmt.Sprintf("few/%d", i%3))
		case i%40 == 2:
			st = "sparse" // 1,000 events, 40 apart: blocks span 10,240 seqs
		}
		streams[st]++
		return st
	})
	filters := map[string]Filter{}
	for _, f := range []string{"dense", "sparse", "few/1", "few/**", "wide/**", "wide/7", "**"} {
		filters[f], _ = ParseFilter(f)
	}
	type key struct {
		f     string
		after Seq
	}
	want := map[key]int{}
	cursors := []Seq{0, 1, 2, 255, 256, 257, Seq(n / 2), Seq(n - 300), Seq(n - 1), Seq(n)}
	for range 5 {
		cursors = append(cursors, Seq(r.IntN(n)))
	}
	for name, f := range filters {
		for _, after := range cursors {
			want[key{name, after}] = len(readAll(t, s, f, after, PageLimit{}))
		}
		total := 0
		for st, c := range streams {
			if f.Match(st) {
				total += c
			}
		}
		if got := want[key{name, 0}]; got != total {
			t.Fatalf("%s: %d events, appended %d", name, got, total)
		}
	}
	warm := s.Stats()
	cold(t, s)
	for name, f := range filters {
		for _, after := range cursors {
			for _, lim := range []PageLimit{{}, {Bytes: 2000}} {
				if got := len(readAll(t, s, f, after, lim)); got != want[key{name, after}] {
					t.Fatalf("%s after %d: %d events, want %d", name, after, got, want[key{name, after}])
				}
			}
		}
	}
	st := s.Stats()
	for what, n := range map[string]int64{
		"tail reads": warm.TailReads, "file reads": st.FileReads - warm.FileReads, "dense scans": st.DenseScans,
		"hop reads": st.HopReads, "merged reads": st.MergedReads, "near skips": st.SkipsNear, "pages shrunk": st.PagesShrunk,
		"flush slices": st.FlushSlices - 1,
	} {
		if n <= 0 {
			t.Errorf("%s: the path was not taken", what)
		}
	}
}

// A page whose newest events are in the tail and whose oldest are not takes the former from there, and is the same page.
func TestReadAcrossTheTailsEdge(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "a.tidemark"), quiet())
	const streams, edge = 100, 6000
	name := func(i int) Stream { return Stream(fmt.Sprintf("s/%d", i%streams)) }
	fill(t, s, 2*edge, name)
	cursors := []Seq{0, 1, 2000, edge - 1}
	limits := []PageLimit{{}, {Bytes: 1000}, {Events: 59}, {Events: 60}, {Events: 61}}
	want := map[Seq][]Event{}
	for _, after := range cursors {
		want[after] = readAll(t, s, Only("s/7"), after, PageLimit{})
	}
	s.mu.Lock()
	s.tail.dropTo(edge)
	tail := s.tail.view()
	s.mu.Unlock()
	for _, after := range cursors {
		for _, lim := range limits {
			got := readAll(t, s, Only("s/7"), after, lim)
			if !reflect.DeepEqual(got, want[after]) {
				t.Fatalf("after %d, %+v: %d events, want %d", after, lim, len(got), len(want[after]))
			}
			for _, e := range got {
				kept := tail.get(e.Seq)
				if (e.Seq > edge) != (kept != nil) || kept != nil && &kept.Data[0] != &e.Data[0] {
					t.Fatalf("event %d is not the tail's", e.Seq)
				}
			}
		}
	}
	if s.Stats().HopReads == 0 {
		t.Error("no links were followed")
	}
}

// A stream of more than two far boundaries is read from anywhere.
func TestReadFarSkips(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 200,000 events")
	}
	s := openTest(t, filepath.Join(t.TempDir(), "a.tidemark"), quiet())
	const n = 3*skipFar + 1000
	for i := 0; i < n; i += 5000 {
		ms := make([]Mutation, min(5000, n-i))
		for j := range ms {
			ms[j] = Mutation{ID: NewID(), Stream: "s", Type: "n"}
		}
		push(t, s, ms...)
	}
	cold(t, s)
	for _, after := range []Seq{0, 1, skipFar - 1, skipFar, skipFar + 1, 2 * skipFar, n - 10} {
		p, err := s.Read(Only("s"), after, PageLimit{Events: 10})
		if err != nil || len(p.Events) == 0 || p.Events[0].Seq != after+1 || p.Events[0].Prev != after {
			t.Fatalf("after %d: %+v %v", after, p, err)
		}
	}
	if got := len(readAll(t, s, Only("s"), 0, PageLimit{})); got != n {
		t.Fatalf("%d events, want %d", got, n)
	}
	if s.Stats().SkipsFar == 0 {
		t.Error("far skips were not followed")
	}
}

// A page never ends inside an atomic push, whichever way it is read.
func TestReadKeepsPushesWhole(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "a.tidemark"), quiet())
	for range 50 {
		var ms []Mutation
		for j := range 20 {
			ms = append(ms, note(Stream(fmt.Sprintf("p/%d", j%2)), "1"))
		}
		if _, err := s.AppendWait(t.Context(), &Push{Atomic: true, Mutations: ms}); err != nil {
			t.Fatal(err)
		}
	}
	for _, chill := range []bool{false, true} {
		if chill {
			cold(t, s)
		}
		for _, f := range []Filter{All, Only("p/0"), Only("p/1"), {name: "p/", wide: true}} {
			for after := Seq(0); after < 1000; {
				p, err := s.Read(f, after, PageLimit{Events: 3})
				if err != nil {
					t.Fatal(err)
				}
				if p.Through%20 != 0 {
					t.Fatalf("%s: the page after %d ends at %d, inside a push", f, after, p.Through)
				}
				after = p.Through
			}
		}
	}
}

func TestReadBelowFloor(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "a.tidemark"), quiet())
	fill(t, s, 2000, func(i int) Stream {
		if i < 500 {
			return "old/1"
		}
		return "new/1"
	})
	if err := s.Trim(t.Context(), 1000); err != nil {
		t.Fatal(err)
	}
	var gone *TrimmedError
	oldPrefix, _ := ParseFilter("old/**")
	for _, c := range []struct {
		f     Filter
		after Seq
		floor Seq
	}{{All, 999, 1000}, {Only("new/1"), 10, 1000}, {Only("old/1"), 499, 500}, {oldPrefix, 499, 500}} {
		if _, err := s.Read(c.f, c.after, PageLimit{}); !errors.As(err, &gone) || gone.Floor != c.floor {
			t.Errorf("%s after %d: %v, want trimmed up to %d", c.f, c.after, err, c.floor)
		}
	}
	for _, chill := range []bool{false, true} {
		if chill {
			cold(t, s)
		}
		for _, f := range []Filter{Only("old/1"), oldPrefix} {
			if p, err := s.Read(f, 500, PageLimit{}); err != nil || len(p.Events) != 0 || p.Through != 2000 {
				t.Errorf("%s: nothing was lost after 500: %+v %v", f, p, err)
			}
		}
	}
	for c, want := range map[Cursor]Reset{
		{Seq: 1}: ResetTrimmed, {Seq: 1000}: ResetNone, {Seq: 1000, Mark: s.Mark(1000)}: ResetNone,
		{Seq: 1000, Mark: NewID()}: ResetLogChanged, {Seq: 2001}: ResetAhead, {Seq: 1, Log: NewID()}: ResetLogChanged,
		{}: ResetNone, {Mark: NewID(), Log: NewID()}: ResetNone,
	} {
		if st, err := s.Resume(All, c); err != nil || st.Reset != want {
			t.Errorf("%+v: %q %v, want %q", c, st.Reset, err, want)
		}
	}
}

// When the file outgrows its memory map, readers at work wait and then go on, with everything that they had.
func TestReadersOutliveTheMap(t *testing.T) {
	o := quiet()
	o.mmapSize, o.TailBytes = 1<<16, 1
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	fill(t, s, 100, func(int) Stream { return "a" })
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				if p, err := s.Read(Only("a"), 0, PageLimit{Events: 100}); err != nil || len(p.Events) != 100 {
					t.Errorf("%d events, %v", len(p.Events), err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	data := `"` + strings.Repeat("x", 10<<10) + `"`
	n := 500
	if testing.Short() {
		n = 200
	}
	for range n {
		push(t, s, note("b", data))
	}
	close(done)
	wg.Wait()
	if st := s.Stats(); st.Remaps == 0 {
		t.Error("the file never outgrew its map")
	}
}
