package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Under load, retention keeps up: the log stays near its bound, the file stops growing, readers see a chain without a hole
// or are told that they are below the floor, and documents stay.
func TestRetentionUnderLoad(t *testing.T) {
	total := 60_000
	if testing.Short() {
		total = 24_000
	}
	for name, keep := range map[string]Retention{"count": {Count: 8000}, "bytes": {Bytes: 1 << 20}} {
		t.Run(name, func(t *testing.T) {
			o := quiet()
			o.Retention = keep
			o.TailBytes = 200 << 10
			o.flush = flushPol{target: 1000, bound: 8000, events: 1000, entries: 1000}
			s := openTest(t, filepath.Join(t.TempDir(), "a.tidemark"), o)
			var wg sync.WaitGroup
			stop := make(chan struct{})
			wg.Go(func() { readUnderTrim(t, s, stop) })
			var half int64
			for i := 0; i < total; i += 200 {
				ms := make([]Mutation, 200)
				for j := range ms {
					ms[j] = put(Stream(fmt.Sprintf("s/%d", j%20)), fmt.Sprint("k", (i+j)%500), fmt.Sprintf(`{"i":%d}`, i+j))
				}
				push(t, s, ms...)
				if i == total/2 {
					half = s.Stats().FileBytes
				}
			}
			close(stop)
			wg.Wait()
			st := s.Stats()
			if st.TrimmedEvents == 0 || st.Trims == 0 {
				t.Fatal("nothing was trimmed")
			}
			slack := Seq(8000 + 2*trimEvents)
			if keep.Count > 0 && st.Head-st.Floor > Seq(keep.Count)+slack {
				t.Errorf("%d events kept, the retention is %d", st.Head-st.Floor, keep.Count)
			}
			if keep.Bytes > 0 && st.LogBytes > keep.Bytes+int64(slack)*120 {
				t.Errorf("%d bytes kept, the retention is %d", st.LogBytes, keep.Bytes)
			}
			if st.FileBytes > half+half/2 {
				t.Errorf("the file grew from %d to %d bytes in the second half", half, st.FileBytes)
			}
			if p, err := s.Documents(All, DocKey{}, 1<<30); err != nil || len(p.Docs) != 500 {
				t.Errorf("%d documents, %v", len(p.Docs), err)
			}
		})
	}
}

func readUnderTrim(t *testing.T, s *Store, stop chan struct{}) {
	var after Seq
	var resets, events int
	for {
		p, err := s.Read(All, after, PageLimit{Bytes: 20 << 10})
		var gone *TrimmedError
		switch {
		case errors.As(err, &gone):
			if gone.Floor <= after {
				t.Errorf("reset at %d to floor %d", after, gone.Floor)
				return
			}
			after, resets = gone.Floor, resets+1
			continue
		case err != nil:
			t.Error(err)
			return
		}
		for _, e := range p.Events {
			if e.Seq != after+1 {
				t.Errorf("event %d follows %d", e.Seq, after)
				return
			}
			after, events = e.Seq, events+1
		}
		if p.More {
			continue
		}
		select {
		case <-stop:
			if events == 0 {
				t.Error("nothing was read")
			}
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// Age is measured by the events' times; when the clock cannot be trusted, nothing goes, and the reason is told.
func TestRetentionByAge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tidemark")
	o := quiet()
	var mu sync.Mutex
	now := time.Now()
	o.now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	step := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	o.Retention = Retention{Age: time.Hour}
	s := openTest(t, path, o)
	tick := func() { // what the writer does when it is idle, now
		if err := s.onWriter(t.Context(), func() error { s.idle(); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, s, 300, func(int) Stream { return "old" })
	step(2 * time.Hour)
	fill(t, s, 300, func(int) Stream { return "new" })
	tick()
	if s.Floor() != 300 {
		t.Fatalf("floor %d, want 300", s.Floor())
	}
	step(-3 * time.Hour)
	fill(t, s, 10, func(int) Stream { return "back" })
	tick()
	if why := s.RetentionPaused(); why == "" {
		t.Error("the clock is behind the newest event, and nobody is told")
	}
	evs := readAll(t, s, All, 300, PageLimit{})
	for i := 1; i < len(evs); i++ {
		if evs[i].At < evs[i-1].At {
			t.Fatalf("time runs backwards at %d", evs[i].Seq)
		}
	}
	step(3*time.Hour + 2*time.Hour)
	tick()
	if why := s.RetentionPaused(); why != "" {
		t.Errorf("still paused: %s", why)
	}
	if s.Floor() != 610 {
		t.Errorf("floor %d, want 610", s.Floor())
	}
}

// A snapshot that is being read keeps trimming from the events behind it, for a bounded time.
func TestTrimWaitsForSnapshots(t *testing.T) {
	o := quiet()
	var mu sync.Mutex
	now := time.Now()
	o.now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	s := openTest(t, filepath.Join(t.TempDir(), "a.tidemark"), o)
	fill(t, s, 500, func(int) Stream { return "a" })
	release := s.HoldTrim(0)
	if err := s.Trim(t.Context(), 100); err != nil || s.Floor() != 0 {
		t.Fatalf("floor %d, %v", s.Floor(), err)
	}
	release()
	release()
	if err := s.Trim(t.Context(), 100); err != nil || s.Floor() != 100 {
		t.Fatalf("floor %d, %v", s.Floor(), err)
	}
	defer s.HoldTrim(150)()
	if err := s.Trim(t.Context(), 200); err != nil || s.Floor() != 150 {
		t.Fatalf("floor %d, %v", s.Floor(), err)
	}
	mu.Lock()
	now = now.Add(trimWait)
	mu.Unlock()
	defer s.HoldTrim(180)() // the one that has been there for long does not take this one's time
	if err := s.Trim(t.Context(), 200); err != nil || s.Floor() != 180 {
		t.Fatalf("floor %d, %v", s.Floor(), err)
	}
	if s.Stats().TrimsHeld == 0 {
		t.Error("trimming was never held")
	}
}

// What is kept for a view stays until the view lets it go, for however long, but not on a full disk, where the view cannot go on.
func TestTrimKeepsForViews(t *testing.T) {
	o := quiet()
	var ahead atomic.Int64
	o.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	o.KeepAll = true
	s := openTest(t, filepath.Join(t.TempDir(), "a.tidemark"), o)
	fill(t, s, 500, func(int) Stream { return "a" })
	trims := func(to, want Seq) {
		t.Helper()
		if err := s.Trim(t.Context(), to); err != nil || s.Floor() != want {
			t.Fatalf("floor %d, want %d, %v", s.Floor(), want, err)
		}
	}
	trims(100, 0)
	s.KeepAfter(50)
	ahead.Add(int64(10 * trimWait))
	trims(100, 50)
	release := s.HoldTrim(60)
	s.KeepAfter(80)
	trims(100, 60)
	release()
	trims(100, 80)
	refuse := func(r *Refusal) {
		err := s.onWriter(t.Context(), func() error {
			s.roomCheck = o.now().Add(time.Hour) // nobody finds out that there is room
			s.refuse.Store(r)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	refuse(&Refusal{Code: CodeReadOnly})
	trims(100, 80)
	ahead.Add(int64(2 * trimWait))
	trims(100, 100)
	refuse(nil)
	s.KeepAfter(MaxSeq)
	trims(200, 200)
}

// TestTrimLosesPatience: snapshots of what is the oldest, one after the other, do not keep the log from being trimmed; one that came too late
// keeps nothing.
func TestTrimLosesPatience(t *testing.T) {
	o := quiet()
	var ahead atomic.Int64
	o.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s := openTest(t, filepath.Join(t.TempDir(), "a.tidemark"), o)
	fill(t, s, 500, func(int) Stream { return "a" })
	n := 0
	for ; s.Floor() < 400 && n < 20; n++ {
		defer s.HoldTrim(s.Floor() + Seq(n%2))() // the last one still holds, or lets a single event go
		if err := s.Trim(t.Context(), 400); err != nil {
			t.Fatal(err)
		}
		ahead.Add(int64(trimWait * 2 / 3))
	}
	if n < 4 || n > 6 {
		t.Errorf("%d snapshots held the log up to %d", n, s.Floor())
	}
	defer s.HoldTrim(10)() // is gone
	if err := s.Trim(t.Context(), 450); err != nil || s.Floor() != 450 {
		t.Errorf("floor %d, %v", s.Floor(), err)
	}
}

// Under steady writing the file stays within a bound that depends on the retention and not on what is written, with readers of
// events and documents at work, and with no idle moment in which the views would be flushed anyway.
func TestFileStaysWithinItsBound(t *testing.T) {
	pushes := 400 // of 100 KB, in all 40 MB: ten times what is kept
	if testing.Short() {
		pushes = 200
	}
	for name, keep := range map[string]Retention{"bytes": {Bytes: 4 << 20}, "count": {Count: 4000}} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && keep.Count > 0 {
				t.Skip("the other is enough")
			}
			o := quiet()
			o.Retention, o.TailBytes = keep, 1<<20
			s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() { readUnderTrim(t, s, stop) })
			}
			wg.Go(func() { listUnderTrim(t, s, stop) })
			var most int64
			pad := strings.Repeat("x", 1000)
			err := s.onWriter(t.Context(), func() error {
				for i := range pushes {
					p := &Push{Done: func(*Push) {}}
					for j := range 100 {
						m := note(Stream(fmt.Sprint("s/", j%7)), `"`+pad+`"`)
						if j%10 == 0 {
							m.Key, m.Op = fmt.Sprint("k", (i+j)%200), OpPut
						}
						p.Mutations = append(p.Mutations, m)
					}
					if err := p.prepare(&s.opts.Limits); err != nil {
						return err
					}
					s.step([]*Push{p})
					if s.flushing != nil { // as when the slice has been prepared
						s.flushSlice()
					}
					most = max(most, s.Stats().LogBytes)
				}
				return nil
			})
			close(stop)
			wg.Wait()
			st := s.Stats()
			if err != nil || st.Head != Seq(100*pushes) || st.RetentionFlushes == 0 || st.TrimmedEvents < int64(75*pushes) {
				t.Fatalf("head %d, %d flushes, %d trimmed, %v", st.Head, st.RetentionFlushes, st.TrimmedEvents, err)
			}
			// What is kept, a quarter and 1 MiB of slack, and a group beside.
			if most > 8<<20 {
				t.Errorf("the log had %d bytes", most)
			}
			// Twice that, for pages that are not full and such as a reader still needs; and bbolt takes 16 MiB at once.
			if st.FileBytes > 16<<20+2*8<<20 {
				t.Errorf("the file has %d bytes", st.FileBytes)
			}
		})
	}
}

func listUnderTrim(t *testing.T, s *Store, stop chan struct{}) {
	for {
		var after DocKey
		for more := true; more; {
			p, err := s.Documents(All, after, 64<<10)
			if err != nil {
				t.Error(err)
				return
			}
			after, more = p.Through, p.More
		}
		select {
		case <-stop:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// TestRetentionGoesOnWithoutTicks commits groups of many sizes and lets no tick come in between, as when a server is killed again
// and again: where the checkpoint lies inside a leaf, which only a tick would cut, the retention still takes the views further.
func TestRetentionGoesOnWithoutTicks(t *testing.T) {
	sequential(t)
	const keep = 2 << 20
	o := quiet()
	o.Retention = Retention{Bytes: keep}
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	rnd := rand.New(rand.NewPCG(5, 7))
	pad := strings.Repeat("x", 2000)
	var most int64
	err := s.onWriter(t.Context(), func() error {
		for range 1000 {
			group := make([]*Push, 1+rnd.IntN(3))
			for i := range group {
				p := &Push{Done: func(*Push) {}}
				for range 8 {
					p.Mutations = append(p.Mutations, note(Stream(fmt.Sprint("s/", i)), `"`+pad+`"`))
				}
				if err := p.prepare(&s.opts.Limits); err != nil {
					return err
				}
				group[i] = p
			}
			s.step(group)
			if s.flushing != nil { // as when the slice has been prepared
				s.flushSlice()
			}
			most = max(most, s.Stats().LogBytes)
		}
		return nil
	})
	st := s.Stats()
	if err != nil || st.LongBatches == 0 || st.RetentionFlushes == 0 {
		t.Fatalf("%d long batches, %d flushes, %v", st.LongBatches, st.RetentionFlushes, err)
	}
	if most > keep+slackBytes+512<<10 { // a leaf, a journal and a group beside
		t.Errorf("the log had %d bytes", most)
	}
}

// TestRetentionKeepsUpWithLargeGroups commits groups of many more events than a step of trimming has, and lets no tick come in between.
func TestRetentionKeepsUpWithLargeGroups(t *testing.T) {
	sequential(t)
	const groups = 40
	for name, keyed := range map[string]bool{"events": false, "documents": true} {
		t.Run(name, func(t *testing.T) {
			const keep = 1 << 20
			o := quiet()
			o.Retention = Retention{Bytes: keep}
			s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
			var most int64
			err := s.onWriter(t.Context(), func() error {
				for g := range groups {
					group := make([]*Push, 8)
					for i := range group {
						p := &Push{Done: func(*Push) {}}
						for j := range 1000 {
							m := note(Stream(fmt.Sprint("s/", i)), `"0123456789"`)
							if keyed {
								m.Key, m.Op = fmt.Sprint("k", (g*977+j)%3000), OpPut
							}
							p.Mutations = append(p.Mutations, m)
						}
						if err := p.prepare(&s.opts.Limits); err != nil {
							return err
						}
						group[i] = p
					}
					s.step(group)
					if s.flushing != nil && !keyed { // as when the slice has been prepared in time; else the next group waits for it
						s.flushSlice()
					}
					most = max(most, s.Stats().LogBytes)
				}
				return nil
			})
			st := s.Stats()
			if err != nil || st.Events != 8000*groups || st.Trims <= groups {
				t.Fatalf("%d events, %d trims, %v", st.Events, st.Trims, err)
			}
			if bound := int64(3*(keep+slackBytes) + 2<<20); most > bound { // the views may lag by twice that, and a group comes on top
				t.Errorf("the log had %d bytes, more than %d", most, bound)
			}
		})
	}
}

// TestRetentionOfSmallEventsUnderLargeOnes: what goes behind a group has as many bytes as what came, however many events that takes.
func TestRetentionOfSmallEventsUnderLargeOnes(t *testing.T) {
	sequential(t)
	o := quiet()
	o.Retention = Retention{Bytes: 8 << 20}
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	var most int64
	pad := `"` + strings.Repeat("x", 200<<10) + `"`
	err := s.onWriter(t.Context(), func() error {
		for g := range 120 {
			p := &Push{Done: func(*Push) {}}
			if g < 80 {
				for range 1000 {
					p.Mutations = append(p.Mutations, note("small", `"0123456789"`))
				}
			} else {
				for range 10 {
					p.Mutations = append(p.Mutations, note("large", pad))
				}
			}
			if err := p.prepare(&s.opts.Limits); err != nil {
				return err
			}
			s.step([]*Push{p})
			if s.flushing != nil {
				s.flushSlice()
			}
			most = max(most, s.Stats().LogBytes)
		}
		return nil
	})
	if err != nil || s.Floor() < 80_000 {
		t.Fatalf("floor %d, %v", s.Floor(), err)
	}
	if most > 24<<20 { // what is kept, and views that lag by as much and a quarter, and a group
		t.Errorf("the log had %d bytes", most)
	}
}

// TestRetentionLetsOthersIn trims a log that is far above its retention: between two steps the writer does what else waits for it.
func TestRetentionLetsOthersIn(t *testing.T) {
	path := filepath.Join(memoryDir(t), "a.tidemark")
	s := openTest(t, path, quiet())
	fill(t, s, 10*trimEvents, func(int) Stream { return "a" })
	mustClose(t, s)
	o := quiet()
	o.Retention = Retention{Count: 100}
	s = openTest(t, path, o)
	for s.Floor() < 10*trimEvents-100 {
		var trims int64
		if err := s.onWriter(t.Context(), func() error { trims = s.Stats().Trims; s.retain(); trims = s.Stats().Trims - trims; return nil }); err != nil {
			t.Fatal(err)
		}
		if trims > 1 {
			t.Fatalf("%d steps without a pause", trims)
		}
	}
}

// TestRetentionByAgeFlushes: what is too old goes, whether the views lag as far as lets them be flushed or not.
func TestRetentionByAgeFlushes(t *testing.T) {
	o := quiet()
	var mu sync.Mutex
	now := time.Now()
	o.now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	o.Retention = Retention{Age: time.Minute}
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	err := s.onWriter(t.Context(), func() error { // the queue is never empty for long, so that no tick flushes
		for i := range 20 {
			p := &Push{Mutations: []Mutation{note("a", "1")}, Done: func(*Push) {}}
			if err := p.prepare(&s.opts.Limits); err != nil {
				return err
			}
			s.step([]*Push{p})
			s.retain()
			if s.flushing != nil {
				s.flushSlice()
			}
			mu.Lock()
			now = now.Add(10 * time.Second)
			mu.Unlock()
			if i > 10 && s.Floor() == 0 {
				t.Errorf("nothing has gone after %d s", 10*i)
			}
		}
		return nil
	})
	if err != nil || s.Stats().RetentionFlushes == 0 {
		t.Fatalf("%d flushes, %v", s.Stats().RetentionFlushes, err)
	}
}

// TestTrimStepSmallerThanALeaf: a step that ends inside a leaf because it is small does not wait for a tick, as the rest of a goal does.
func TestTrimStepSmallerThanALeaf(t *testing.T) {
	o := quiet()
	o.Retention = Retention{Count: 100}
	o.long = 1
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	err := s.onWriter(t.Context(), func() error {
		for range 4 {
			p := &Push{Done: func(*Push) {}}
			for range 1000 {
				p.Mutations = append(p.Mutations, note("a", `"0123456789"`))
			}
			if err := p.prepare(&s.opts.Limits); err != nil {
				return err
			}
			s.commit([]*Push{p})
		}
		s.flushTo(s.Head())
		for n := 1; s.Floor() < 2900; n++ {
			before := s.Floor()
			if s.stepEvents = 10; !s.retainStep(false) || s.Floor() == before {
				t.Fatalf("step %d came from %d to %d", n, before, s.Floor())
			}
		}
		return nil
	})
	if err != nil || s.Stats().LongBatches == 0 {
		t.Fatalf("%d long batches, %v", s.Stats().LongBatches, err)
	}
}

// TestTrimInAGap: a log may have no event at the seq that is asked for, nor for very many below it.
func TestTrimInAGap(t *testing.T) {
	o := quiet()
	o.Sparse = true
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	for _, first := range []Seq{1, 1 << 40} {
		for i := range Seq(10) {
			e := Event{Seq: first + i, At: 1, ID: NewID(), Stream: "a", Type: "t"}
			if err := s.Apply(t.Context(), []Event{e}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Trim(t.Context(), 1<<39); err != nil || s.Floor() != 10 {
		t.Errorf("trimmed to %d, %v", s.Floor(), err)
	}
	if err := s.Trim(t.Context(), 1<<40+3); err != nil || s.Floor() != 1<<40+3 {
		t.Errorf("trimmed to %d, %v", s.Floor(), err)
	}
	mustClose(t, s)
	mustCheck(t, s.Path())
}
