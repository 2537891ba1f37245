package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// pushWhole appends an atomic push and returns its last seq.
func pushWhole(t *testing.T, s *Store, ms ...Mutation) Seq {
	t.Helper()
	v, err := s.AppendWait(t.Context(), &Push{Atomic: true, Mutations: ms})
	if err != nil || v[len(v)-1].Refusal != nil {
		t.Fatal(v, err)
	}
	return v[len(v)-1].Seq
}

// A scan that gives up because it found little, gives up between pushes.
func TestScanBoundKeepsPushesWhole(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	fill(t, s, scanRecords-1, func(i int) Stream {
		if i <= mergeStreams {
			return Stream(fmt.Sprintf("p/%d", i)) // too many to be merged
		}
		return "other"
	})
	end := pushWhole(t, s, note("p/1", "1"), note("p/2", "2"), note("p/1", "3"))
	cold(t, s)
	p, err := s.Read(Filter{name: "p/", wide: true}, 0, PageLimit{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Through == end-2 || p.Through == end-1 {
		t.Fatalf("the page ends at %d, inside the push that ends at %d", p.Through, end)
	}
}

// A page that ends at a far boundary takes the push that the boundary belongs to whole.
func TestFarBoundaryKeepsPushesWhole(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	for i := 0; i < skipFar-1; i += 5000 {
		ms := make([]Mutation, min(5000, skipFar-1-i))
		for j := range ms {
			ms[j] = Mutation{ID: NewID(), Stream: "p/1", Type: "n"}
		}
		push(t, s, ms...)
	}
	end := pushWhole(t, s, note("p/1", "1"), note("p/2", "2"), note("p/1", "3"))
	push(t, s, note("p/1", "4"))
	for range 600 { // the push leaves the newest block
		push(t, s, note("p/1", "4"))
	}
	cold(t, s)
	for _, f := range []Filter{Only("p/1"), {name: "p/", wide: true}} {
		p, err := s.Read(f, skipFar-2, PageLimit{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Through < end || len(p.Events) < 3 || p.Events[2].Seq == end && p.Events[1].Seq == skipFar-1 {
			t.Fatalf("%s: the page ends at %d with %d events; the push ends at %d", f, p.Through, len(p.Events), end)
		}
	}
}

// readRacing reads like Read, with something else done between its look at the memory and its look at the file.
func readRacing(t *testing.T, s *Store, f Filter, after Seq, beforeTx, inTx func()) (Page, error) {
	t.Helper()
	r := s.newReader(f, after, PageLimit{Bytes: DefaultPage})
	beforeTx()
	tx, err := s.db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // it only reads
	inTx()
	r.tx, r.log, r.scan = tx, logOf(tx), f == All
	return r.fromFile()
}

// Who waits for a turn to scan the log holds no transaction meanwhile: it would pin pages.
func TestScanWaitsOutsideTransactions(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	fill(t, s, 100, func(int) Stream { return "s" })
	cold(t, s)
	for range cap(s.scans) {
		s.scans <- struct{}{}
	}
	read := make(chan int)
	go func() {
		p, _ := s.Read(All, 0, PageLimit{})
		read <- len(p.Events)
	}()
	waits := make(chan error, 1)
	go func() {
		r := s.newReader(All, 0, PageLimit{Bytes: DefaultPage})
		_, err := r.inTx()
		waits <- err
	}()
	select {
	case err := <-waits:
		if !errors.Is(err, errScan) {
			t.Errorf("it read without its turn: %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it waits inside its transaction")
	}
	for range cap(s.scans) {
		<-s.scans
	}
	if n := <-read; n != 100 {
		t.Errorf("%d events", n)
	}
}

// A reader that was overtaken by trimming says so: it neither leaves events out nor calls the log damaged.
func TestReadOvertakenByTrimming(t *testing.T) {
	for _, name := range []string{"s/1", "s/**", "**", "thin"} {
		f, _ := ParseFilter(name)
		s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
		fill(t, s, 20_000, func(i int) Stream {
			if i%40 == 0 {
				return "thin"
			}
			return Stream(fmt.Sprint("s/", i%2))
		})
		cold(t, s)
		_, err := readRacing(t, s, f, 100, func() {
			if err := s.Trim(t.Context(), 1000); err != nil {
				t.Fatal(err)
			}
		}, func() {})
		if gone := (*TrimmedError)(nil); !errors.As(err, &gone) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the views flush while a prefix is being read is found all the same.
func TestReadPrefixOvertakenByFlush(t *testing.T) {
	o := quiet()
	o.flush = flushPol{target: 1 << 20, bound: 1 << 20, events: 1 << 20, entries: 1 << 20}
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	push(t, s, note("p/1", "1"), note("p/2", "2"), note("q", "3"))
	cold(t, s)
	p, err := readRacing(t, s, Filter{name: "p/", wide: true}, 0, func() {}, func() {
		if err := s.onWriter(t.Context(), func() error { s.flushTo(s.Head()); return nil }); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil || len(p.Events) != 2 {
		t.Fatalf("%d events up to %d, %v", len(p.Events), p.Through, err)
	}
}

// A document as of a seq that trimming has passed meanwhile is refused, not told as it was later.
func TestDocAtOvertakenByTrimming(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	push(t, s, put("s", "k", "1"), put("s", "k", "2"), put("s", "k", "3"), put("s", "k", "4"))
	at := DocKey{Stream: "s", Key: "k"}
	now, err := s.docState(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Trim(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // it only reads
	d, ok, err := foldAt(tx, logOf(tx), at, now, 2)
	if gone := (*TrimmedError)(nil); !errors.As(err, &gone) {
		t.Fatalf("%s %v %v", d.Data, ok, err)
	}
}

// What was too large for the tail leaves no hole in it at the next start.
func TestTailAfterOpenHasNoHole(t *testing.T) {
	dir := memoryDir(t)
	o := quiet()
	o.TailBytes = 256 << 10
	o.flush = flushPol{target: 1 << 20, bound: 1 << 20, events: 1 << 20, entries: 1 << 20}
	s := openTest(t, filepath.Join(dir, "a.tidemark"), o)
	fill(t, s, 100, func(int) Stream { return "s" })
	if err := s.onWriter(t.Context(), func() error { s.flushTo(100); return nil }); err != nil {
		t.Fatal(err)
	}
	big := fmt.Sprintf(`"%01000d"`, 7)
	err := s.onWriter(t.Context(), func() error { // no flush comes in between
		var ms []Mutation
		for range foldRun + 1 {
			ms = append(ms, note("s", big))
		}
		p := &Push{Mutations: ms, Done: func(*Push) {}}
		if err := p.prepare(&s.opts.Limits); err != nil {
			return err
		}
		s.commit([]*Push{p})
		copyFile(t, filepath.Join(dir, "a.tidemark"), filepath.Join(dir, "b.tidemark"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b := openTest(t, filepath.Join(dir, "b.tidemark"), o)
	if got := len(readAll(t, b, Only("s"), 50, PageLimit{})); got != 50+foldRun+1 {
		t.Fatalf("%d events", got)
	}
	if got := len(readAll(t, b, All, 50, PageLimit{})); got != 50+foldRun+1 {
		t.Fatalf("%d events", got)
	}
}

// An event in memory does not keep the room of those that were refused beside it.
func TestTailKeepsNoRoomForRefused(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	ms := make([]Mutation, 1000)
	for i := range ms {
		ms[i] = note("s", "1")
		ms[i].Expect = Expect{Kind: ExpectSeq, Seq: 7}
	}
	ms[500].Expect = Expect{}
	push(t, s, ms...)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if run := s.tail.runs[0]; len(run.events) != 1 || cap(run.events) > 8 {
		t.Fatalf("%d events in the room of %d", len(run.events), cap(run.events))
	}
}

// Below the floor of the log, a prefix that lost nothing is read on, though the tail still has some of what was trimmed.
func TestReadPrefixBelowFloorInTail(t *testing.T) {
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), quiet())
	fill(t, s, 100, func(i int) Stream {
		if i < 50 {
			return "old/1"
		}
		return "new/1"
	})
	if err := s.Trim(t.Context(), 30); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Read(Filter{name: "new/", wide: true}, 10, PageLimit{}); err != nil || len(p.Events) != 50 {
		t.Errorf("%d events, %v", len(p.Events), err)
	}
	var gone *TrimmedError
	for _, f := range []Filter{All, {name: "old/", wide: true}} {
		if _, err := s.Read(f, 10, PageLimit{}); !errors.As(err, &gone) || gone.Floor != 30 {
			t.Errorf("%s: %v", f, err)
		}
	}
}
