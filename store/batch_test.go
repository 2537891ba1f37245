package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// Whatever records are written, in whatever groups, the cursor finds each of them from everywhere, before and after some
// have been dropped.
func TestLogBucketIsASortedList(t *testing.T) {
	sequential(t)
	batches, longs, cuts := int64(0), int64(0), 0
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		db, err := bolt.Open(filepath.Join(memoryDir(t), fmt.Sprint(seed)), 0o600, &bolt.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		update := func(fn func(tx *bolt.Tx) error) {
			t.Helper()
			if err := db.Update(fn); err != nil {
				t.Fatal(err)
			}
		}
		update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket(bucketLog); return err })
		var list []rawRecord
		var w logWriter
		seq := Seq(0)
		for range 12 {
			update(func(tx *bolt.Tx) error {
				w.begin(tx)
				n := rnd.IntN(80)
				if rnd.IntN(4) == 0 {
					n = rnd.IntN(4000)
				}
				for range n {
					if seq++; seed%3 == 0 && rnd.IntN(10) == 0 {
						seq += Seq(rnd.IntN(5)) // seqs of another sequencer have holes
					}
					rec := bytes.Repeat([]byte{byte(seq)}, 1+rnd.IntN(40))
					if rnd.IntN(20) == 0 {
						rec = bytes.Repeat([]byte{1}, rnd.IntN(3*4096)+1)
					}
					rec[0] = recordVersion
					list = append(list, rawRecord{seq, rec})
					w.add(seq, rec)
				}
				err := w.flush()
				batches, longs = batches+w.batches, longs+w.longs
				return err
			})
			if rnd.IntN(3) == 0 && len(list) > 0 {
				n := rnd.IntN(len(list))
				update(func(tx *bolt.Tx) error {
					if rnd.IntN(2) == 0 { // where no long leaf is cut
						whole := logOf(tx).wholeLeaves(list[n].seq, longPages*os.Getpagesize())
						before := n
						for n >= 0 && list[n].seq > whole {
							n--
						}
						if before-n > 1<<16 {
							t.Fatalf("%d events stay for the sake of a leaf", before-n)
						}
						if n < 0 {
							return nil
						}
					}
					cut, err := logOf(tx).dropTo(list[n].seq)
					if cut {
						cuts++
					}
					return err
				})
				list = list[n+1:]
			}
			var behind []rawRecord // as if they were in the journal: of these records, none is in the bucket, or all
			more := 0
			for range rnd.IntN(2) * rnd.IntN(30) {
				behind = append(behind, rawRecord{seq + Seq(len(behind)) + 1, []byte{recordVersion}})
			}
			if more = len(behind); more == 0 && len(list) > 0 {
				behind = list[rnd.IntN(len(list)):]
			}
			update(func(tx *bolt.Tx) error {
				compareLog(t, logBucket{tx.Bucket(bucketLog), behind}, append(list[:len(list):len(list)], behind[:more]...), rnd)
				return nil
			})
		}
	}
	if batches == 0 || longs == 0 || cuts == 0 {
		t.Errorf("%d batches, %d of them long, %d cut", batches, longs, cuts)
	}
}

func compareLog(t *testing.T, log logBucket, list []rawRecord, rnd *rand.Rand) {
	t.Helper()
	c := log.cursor()
	same := func(what string, i int, seq Seq, rec []byte) {
		t.Helper()
		switch {
		case i < 0 || i >= len(list):
			if rec != nil {
				t.Fatalf("%s: event %d, want none", what, seq)
			}
		case rec == nil || seq != list[i].seq || !bytes.Equal(rec, list[i].v):
			t.Fatalf("%s: event %d with %d bytes, want %d with %d", what, seq, len(rec), list[i].seq, len(list[i].v))
		}
	}
	seq, rec := c.first()
	for i := 0; i <= len(list); i++ {
		same("next", i, seq, rec)
		if i < len(list) {
			seq, rec = c.next()
		}
	}
	seq, rec = c.last()
	for i := len(list) - 1; i >= -1; i-- {
		same("prev", i, seq, rec)
		if i >= 0 {
			seq, rec = c.prev()
		}
	}
	for range min(len(list), 20) {
		i := rnd.IntN(len(list))
		if got := log.get(list[i].seq); !bytes.Equal(got, list[i].v) {
			t.Fatalf("get %d: %d bytes", list[i].seq, len(got))
		}
		at := list[i].seq
		if i > 0 && list[i-1].seq < at-1 {
			at-- // in a hole
			if log.get(at) != nil {
				t.Fatalf("get %d: there is no such event", at)
			}
		}
		seq, rec = c.seek(at)
		same("seek", i, seq, rec)
		if rnd.IntN(2) == 0 {
			seq, rec = c.next()
			same("next after seek", i+1, seq, rec)
		} else {
			seq, rec = c.prev()
			same("prev after seek", i-1, seq, rec)
		}
	}
	end := Seq(1)
	if n := len(list); n > 0 {
		end = list[n-1].seq + 1
	}
	if head, err := log.head(0); err != nil || len(list) > 0 && head != end-1 {
		t.Fatalf("head %d, %v", head, err)
	}
	if _, rec := c.seek(end); rec != nil {
		t.Fatal("there is something behind the end")
	}
}

// A commit in long leaves writes each of them in one call, and of what was there before one page.
func TestLongLeaves(t *testing.T) {
	db, err := bolt.Open(filepath.Join(memoryDir(t), "a"), 0o600, &bolt.Options{NoSync: true, PageSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var w logWriter
	seq := Seq(0)
	add := func(n, size int) (writes int64) {
		t.Helper()
		tx, err := db.Begin(true)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
		if _, err := tx.CreateBucketIfNotExists(bucketLog); err != nil {
			t.Fatal(err)
		}
		w.begin(tx)
		for range n {
			seq++
			w.add(seq, bytes.Repeat([]byte{recordVersion}, size))
		}
		if err := w.flush(); err != nil {
			t.Fatal(err)
		}
		before := db.Stats().TxStats
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		after := db.Stats().TxStats
		return after.GetWrite() - before.GetWrite()
	}
	add(1000, 250)
	for range 10 {
		// 250 KB: four leaves of 64 KiB, the one with the end of the commit before, that with the end of this one, the branch, the buckets, the
		// free list and the meta page.
		if writes := add(1000, 250); writes > 10 || w.longs != 4 {
			t.Errorf("%d writes, %d long batches", writes, w.longs)
		}
	}
	if writes := add(40, 250); w.longs != 0 || writes > 12 {
		t.Errorf("a short commit: %d writes, %d long batches", writes, w.longs)
	}
	must := func(whole bool, at Seq) {
		t.Helper()
		err := db.View(func(tx *bolt.Tx) error {
			got := logOf(tx).wholeLeaves(at, longPages*4096)
			if (got == at) != whole || got > at {
				t.Errorf("whole leaves up to %d: %d", at, got)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	must(false, 1100) // in the middle of a long leaf
	err = db.View(func(tx *bolt.Tx) error {
		end := logOf(tx).wholeLeaves(1500, longPages*4096)
		must(true, end)
		must(false, end-1)
		must(false, end+1)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	must(true, seq)
	must(true, seq-1) // in the last leaf, which is short
}

// holes makes single free pages in the file of a store.
func holes(t *testing.T, s *Store, n int) {
	t.Helper()
	name := []byte("holes")
	steps := []func(tx *bolt.Tx) error{
		func(tx *bolt.Tx) error {
			b, err := tx.CreateBucket(name)
			for i := 0; err == nil && i < 4*n; i++ {
				b.FillPercent = 1
				err = b.Put(seqKey(Seq(i)), make([]byte, 1800)) // two to a page
			}
			return err
		},
		func(tx *bolt.Tx) error {
			b := tx.Bucket(name)
			for i := range 4 * n {
				if i%4 < 2 { // every other page
					if err := b.Delete(seqKey(Seq(i))); err != nil {
						return err
					}
				}
			}
			return nil
		},
	}
	for _, fn := range steps {
		if err := s.onWriter(t.Context(), func() error { return s.update(fn) }); err != nil {
			t.Fatal(err)
		}
	}
}

// bulk is so much that it goes into long leaves.
func bulk(n int) (ms []Mutation) {
	for i := range n {
		ms = append(ms, note("a", fmt.Sprintf(`"%0500d"`, i)))
	}
	return ms
}

// Where only single pages are free and the file cannot grow, the store goes on in short batches, whatever finds out that
// there is no room: a large group, or a slice of the views with what the journal holds.
func TestSinglePagesOnFullDisk(t *testing.T) {
	for name, span := range map[string]int{"group": -1, "journal": 16} {
		t.Run(name, func(t *testing.T) {
			o := quiet()
			o.journal.span, o.reserve = span, -1
			s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
			holes(t, s, 400)                              // more, and the list of them would need pages in a row
			err := s.onWriter(t.Context(), func() error { // at once, so that nothing else is written
				if err := onlySingles(s); err != nil {
					return err
				}
				if span > 0 {
					for range 3 {
						if v := commitNow(t, s, bulk(50)); v.Refusal != nil {
							t.Errorf("there is room in the journal: %v", v.Refusal)
						}
					}
					s.flushSlice()
					if s.refuse.Load() == nil {
						t.Error("there were pages in a row for the journal")
					}
					s.tryRoom()
				}
				for range 5 {
					if v := commitNow(t, s, bulk(50)); v.Refusal != nil {
						t.Error(v.Refusal)
					}
					if v := commitNow(t, s, bulk(100)); v.Refusal != nil {
						t.Error(v.Refusal)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if st := s.Stats(); st.LongBatches != 0 || st.DiskFull != 0 || span < 0 && st.RetriedShort != 1 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// onlySingles lets no page more be used than there are, and uses up the free ones that are in rows of four and more: the last leaf
// of short batches may need two. It runs on the writer goroutine.
func onlySingles(s *Store) error {
	err := s.db.View(func(tx *bolt.Tx) error {
		s.db.MaxSize = int(tx.Size()) + s.db.AllocSize // bbolt counts what it would take ahead
		return nil
	})
	if err != nil {
		return err
	}
	n := 0
	for pages := 16; pages > 2; pages /= 2 {
		for err = error(nil); err == nil; n++ {
			err = s.update(func(tx *bolt.Tx) error {
				all, err := tx.CreateBucketIfNotExists([]byte("ballast"))
				if err != nil {
					return err
				}
				b, err := all.CreateBucket(seqKey(Seq(n)))
				if err != nil {
					return err
				}
				return b.Put([]byte{1}, make([]byte, pages*4096-100))
			})
		}
		if !errors.Is(err, errNoRoom) {
			return err
		}
	}
	s.logWriter.long.full, s.logWriter.long.short = false, false // nobody has tried long leaves
	return nil
}

// commitNow commits a push on the writer goroutine and returns its first verdict.
func commitNow(t *testing.T, s *Store, ms []Mutation) Verdict {
	t.Helper()
	p := &Push{Mutations: ms, Done: func(*Push) {}}
	if err := p.prepare(&s.opts.Limits); err != nil {
		t.Fatal(err)
	}
	s.commit([]*Push{p})
	return p.Verdicts[0]
}

// A file that grows although many single pages of it are free has them used up first.
func TestSinglePagesAreUsed(t *testing.T) {
	sequential(t)
	o := quiet()
	o.journal.span = -1
	s := openTest(t, filepath.Join(memoryDir(t), "a.tidemark"), o)
	push(t, s, bulk(400)...)
	if s.Stats().LongBatches == 0 {
		t.Fatal("no long batches")
	}
	holes(t, s, 3000)
	free := s.freeInFile()
	for range 10 {
		push(t, s, bulk(400)...)
	}
	if now := s.freeInFile(); now > free-1<<20 {
		t.Errorf("%d bytes of the file are free, and %d before: %+v", now, free, s.Stats())
	}
	for i := 0; s.freeInFile() >= fewFree; i++ {
		if push(t, s, bulk(400)...); i > 100 {
			t.Fatalf("%d bytes are still free", s.freeInFile())
		}
	}
	before := s.Stats().LongBatches
	push(t, s, bulk(400)...)
	push(t, s, bulk(400)...)
	if s.Stats().LongBatches == before {
		t.Error("long leaves are not used again")
	}
}

// Trimming by retention ends behind a push and, where one is in reach, behind a leaf; and it gets everywhere.
func TestTrimInLongLeaves(t *testing.T) {
	sequential(t)
	for _, atomic := range []int{1, 10, 900} {
		t.Run(fmt.Sprint(atomic), func(t *testing.T) {
			path := filepath.Join(memoryDir(t), "a.tidemark")
			s := openTest(t, path, quiet())
			for range 6 {
				var pushes []*Push
				var wait sync.WaitGroup
				for range 1800 / atomic {
					p := &Push{Mutations: bulk(atomic), Atomic: atomic > 1}
					wait.Add(1)
					p.Done = func(*Push) { wait.Done() }
					pushes = append(pushes, p)
				}
				for _, p := range pushes {
					if err := s.Append(t.Context(), p); err != nil {
						t.Fatal(err)
					}
				}
				wait.Wait()
			}
			noJournal(t, s)
			steps, cut := 0, 0
			step := func(goal trimGoal) (more bool) {
				t.Helper()
				before := s.Stats().BatchesCut
				err := s.onWriter(t.Context(), func() (err error) {
					s.flushTo(s.Head())
					more, err = s.trimStep(goal)
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				steps, cut = steps+1, cut+int(s.Stats().BatchesCut-before)
				if f := uint64(s.Floor()); f%uint64(atomic) != 0 {
					t.Fatalf("the floor %d is inside a push", f)
				}
				return more
			}
			if atomic == 1 {
				if step(trimGoal{bytes: 1000}); s.Floor() != 0 {
					t.Errorf("a leaf was cut for the sake of 1,000 bytes: floor %d", s.Floor())
				}
				if step(trimGoal{bytes: 1000, exact: true}); s.Floor() != 2 {
					t.Errorf("1,000 bytes are two events, and the floor is %d", s.Floor())
				}
				cut = 0
			}
			for step(trimGoal{to: s.Head() - 100}) {
				if steps > 100 {
					t.Fatalf("it stands still at %d", s.Floor())
				}
			}
			if atomic == 1 && cut > 0 {
				t.Errorf("%d of %d steps cut a batch", cut, steps)
			}
			if f := s.Floor(); f < s.Head()-1000 {
				t.Errorf("floor %d of %d", f, s.Head())
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			mustCheck(t, path)
		})
	}
}

// Events that are pushed together are kept together, and trimming removes exactly those that it should.
func TestTrimInsideABatch(t *testing.T) {
	path := filepath.Join(memoryDir(t), "a.tidemark")
	s := openTest(t, path, quiet())
	var ms []Mutation
	for i := range 40 {
		ms = append(ms, note(Stream(fmt.Sprintf("s/%d", i%3)), fmt.Sprint(i)))
	}
	push(t, s, ms...)
	noJournal(t, s)
	if st := s.Stats(); st.Batches == 0 {
		t.Fatalf("no batch: %+v", st)
	}
	if err := s.Trim(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.BatchesCut != 1 || st.Floor != 7 {
		t.Errorf("floor %d, %d batches cut", st.Floor, st.BatchesCut)
	}
	for range 2 {
		cold(t, s)
		if es := readAll(t, s, All, 7, PageLimit{}); len(es) != 33 || es[0].Seq != 8 || es[32].Seq != 40 {
			t.Errorf("%d events: %+v", len(es), es)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		mustCheck(t, path)
		s = openTest(t, path, quiet())
	}
}

// No bytes make a cursor leave the entry, loop, or overlook it.
func FuzzLogEntry(f *testing.F) {
	batch := appendEntry(nil, []rawRecord{{1, []byte("\x01abc")}, {2, []byte("\x01")}, {3, []byte("\x01defghi")}})
	f.Add(uint64(9), batch)
	f.Add(uint64(2), batch)
	f.Add(uint64(1), []byte{batchMark})
	f.Add(uint64(70000), []byte{batchMark, 0xff, 0xff, 0, 0})
	f.Add(uint64(3), []byte{batchMark, 0, 2, 0, 5, 0, 3, 1, 2, 3})
	f.Fuzz(func(t *testing.T, seq uint64, v []byte) {
		e := parseEntry(seqKey(Seq(seq)), v)
		if e.n < 1 || uint64(e.first)+uint64(e.n)-1 != seq {
			t.Fatalf("%d records from %d on under %d", e.n, e.first, seq)
		}
		size := 0
		for i := range e.n {
			rec := e.record(i)
			if rec == nil {
				t.Fatal("a record that looks like the end")
			}
			size += len(rec)
		}
		if e.n == 1 && size != len(v) || e.n > 1 && e.end(e.n-1)+batchHead+e.n*batchEnd != len(v) {
			t.Fatalf("%d bytes in %d records, %d in all", size, e.n, len(v))
		}
		if e.n > 1 && e.rises() && size+batchHead+e.n*batchEnd != len(v) {
			t.Fatalf("%d bytes in records whose ends rise, %d in all", size, len(v))
		}
	})
}
