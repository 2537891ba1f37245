package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// Whatever records are written, in whatever groups, the cursor finds each of them from everywhere, before and after some
// have been dropped.
func TestLogBucketIsASortedList(t *testing.T) {
	batches, cuts := int64(0), 0
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
				for range rnd.IntN(80) {
					if seq++; seed%3 == 0 && rnd.IntN(10) == 0 {
						seq += Seq(rnd.IntN(5)) // seqs of another sequencer have holes
					}
					rec := bytes.Repeat([]byte{byte(seq)}, 1+rnd.IntN(40))
					if rnd.IntN(20) == 0 {
						rec = bytes.Repeat([]byte{1}, rnd.IntN(3*4096)+1)
					}
					rec[0] = recordVersion
					list = append(list, rawRecord{seq, rec})
					if err := w.add(seq, rec); err != nil {
						return err
					}
				}
				err := w.flush()
				batches += w.batches
				return err
			})
			if rnd.IntN(3) == 0 && len(list) > 0 {
				n := rnd.IntN(len(list))
				update(func(tx *bolt.Tx) error {
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
	if batches == 0 || cuts == 0 {
		t.Errorf("%d batches, %d of them cut", batches, cuts)
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
	var w batchWriter
	for _, rec := range []string{"\x01abc", "\x01", "\x01defghi"} {
		w.add([]byte(rec))
	}
	f.Add(uint64(9), w.value(nil))
	f.Add(uint64(2), w.value(nil))
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
		if e.n > 1 && size+batchHead+e.n*batchEnd != len(v) {
			t.Fatalf("%d bytes in records, %d in all", size, len(v))
		}
	})
}
