package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"
)

// idsFile is an index in a bbolt file of its own.
type idsFile struct {
	testing.TB
	db *bolt.DB
	x  *idIndex
}

func newIDsFile(t testing.TB) *idsFile {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "ids.db"), 0o600, &bolt.Options{NoSync: true, FreelistType: bolt.FreelistMapType, InitialMmapSize: 1 << 32})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	f := &idsFile{TB: t, db: db}
	f.update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucket(bucketIDs); err != nil {
			return err
		}
		return createIDs(tx)
	})
	f.reopen()
	return f
}

func (f *idsFile) update(fn func(*bolt.Tx) error) {
	f.Helper()
	if err := f.db.Update(fn); err != nil {
		f.Fatal(err)
	}
}

// reopen forgets what is in memory only.
func (f *idsFile) reopen() {
	f.Helper()
	if err := f.db.View(func(tx *bolt.Tx) (err error) { f.x, err = openIDs(tx); return err }); err != nil {
		f.Fatal(err)
	}
}

func (f *idsFile) flush(upTo Seq) {
	f.Helper()
	var commit func()
	f.update(func(tx *bolt.Tx) (err error) { commit, err = f.x.flush(tx, upTo); return err })
	commit()
}

// mergeStep reads and writes one slice.
func (f *idsFile) mergeStep(m *idMerge) (more bool) {
	f.Helper()
	if err := m.read(f.db.View); err != nil {
		f.Fatal(err)
	}
	var commit func()
	f.update(func(tx *bolt.Tx) (err error) { commit, more, err = m.write(tx); return err })
	commit()
	return more
}

func (f *idsFile) mergeAll() {
	f.Helper()
	for m := f.x.merge(); m != nil; m = f.x.merge() {
		for f.mergeStep(m) {
		}
		f.reapAll()
	}
}

func (f *idsFile) reapAll() {
	f.Helper()
	for more := true; more; {
		var commit func()
		f.update(func(tx *bolt.Tx) (err error) { commit, more, err = f.x.reap(tx); return err })
		commit()
	}
}

// want checks one id against what it must be; a zero Seq means absent.
func (f *idsFile) want(id ID, e idEntry) {
	f.Helper()
	got, ok, err := f.x.lookup(f.db.View, id)
	if err != nil || ok != (e.Seq != 0) || got != e {
		f.Fatalf("lookup of %s: %v, %v, %v, want %v", id, got, ok, err, e)
	}
}

// idMaker makes entries with rising seqs.
type idMaker struct {
	r   *rand.Rand
	seq Seq
	ms  uint64
}

func newIDMaker(seed uint64) *idMaker {
	return &idMaker{r: rand.New(rand.NewPCG(seed, 1)), ms: 1_700_000_000_000}
}

func (m *idMaker) v4() (e idEntry) {
	binary.BigEndian.PutUint64(e.ID[:], m.r.Uint64())
	binary.BigEndian.PutUint64(e.ID[8:], m.r.Uint64())
	e.ID[6], e.ID[8] = e.ID[6]&0x0f|0x40, e.ID[8]&0x3f|0x80
	return m.place(e)
}

func (m *idMaker) v7() idEntry {
	e := m.v4()
	if m.r.IntN(100) == 0 {
		m.ms++
	}
	binary.BigEndian.PutUint64(e.ID[:], (m.ms-uint64(m.r.IntN(3)))<<16|0x7000|m.r.Uint64N(0x1000))
	return e
}

func (m *idMaker) place(e idEntry) idEntry {
	m.seq++
	e.Seq, e.FP = m.seq, m.r.Uint64()
	return e
}

func TestIDs(t *testing.T) {
	f, m := newIDsFile(t), newIDMaker(1)
	var all []idEntry
	for range 3 * chunkIDs {
		all = append(all, m.v4())
	}
	f.want(all[0].ID, idEntry{})
	f.x.add(all)
	f.want(all[0].ID, all[0])
	f.flush(5000)
	if s := f.x.stats(); s.Runs != 1 || s.Entries != 5000 || s.Fresh != len(all)-5000 || f.x.checkpoint() != 5000 {
		t.Fatalf("after the flush: %+v", s)
	}
	for _, e := range all {
		f.want(e.ID, e)
	}
	f.want(m.v4().ID, idEntry{})
	f.reopen()
	if f.x.checkpoint() != 5000 {
		t.Fatalf("checkpoint %d", f.x.checkpoint())
	}
	for i, e := range all {
		if i >= 5000 {
			e = idEntry{}
		}
		f.want(all[i].ID, e)
	}
}

// What a rolled-back transaction wrote has not happened.
func TestIDsRollback(t *testing.T) {
	f, m := newIDsFile(t), newIDMaker(2)
	e := m.v4()
	f.x.add([]idEntry{e})
	full := errors.New("full")
	err := f.db.Update(func(tx *bolt.Tx) error {
		if _, err := f.x.flush(tx, e.Seq); err != nil {
			t.Fatal(err)
		}
		return full
	})
	if err != full {
		t.Fatal(err)
	}
	f.want(e.ID, e)
	f.flush(e.Seq)
	f.want(e.ID, e)
	f.reopen()
	f.want(e.ID, e)
}

// Several steps in one transaction do not undo each other.
func TestIDsStepsShareTransaction(t *testing.T) {
	f, m := newIDsFile(t), newIDMaker(3)
	var all []idEntry
	for range mergeRuns + 1 {
		e := m.v7()
		all = append(all, e)
		f.x.add([]idEntry{e})
		if e.Seq <= mergeRuns {
			f.flush(e.Seq)
		}
	}
	job := f.x.merge()
	if job == nil || f.x.merge() != nil {
		t.Fatal("there must be exactly one merge")
	}
	if err := job.read(f.db.View); err != nil {
		t.Fatal(err)
	}
	var commits [2]func()
	f.update(func(tx *bolt.Tx) (err error) {
		if commits[0], err = f.x.flush(tx, m.seq); err != nil {
			return err
		}
		var more bool
		if commits[1], more, err = job.write(tx); more {
			t.Fatal("a small merge has one slice")
		}
		return err
	})
	commits[0]()
	commits[1]()
	for range 2 {
		if s := f.x.stats(); s.Runs != 2 || s.Entries != mergeRuns+1 || len(f.x.dead) != mergeRuns {
			t.Fatalf("%+v, %d dead", s, len(f.x.dead))
		}
		for _, e := range all {
			f.want(e.ID, e)
		}
		f.reopen()
	}
	f.reapAll()
	f.reopen()
	if len(f.x.dead) != 0 {
		t.Fatalf("%d runs are left over", len(f.x.dead))
	}
}

// A merge that a crash cut off leaves nothing but a run to delete.
func TestIDsMergeCutOff(t *testing.T) {
	f, m := newIDsFile(t), newIDMaker(4)
	want := map[ID]idEntry{}
	for range mergeRuns {
		for range 4000 {
			e := m.v4()
			want[e.ID] = e
			f.x.add([]idEntry{e})
		}
		f.flush(m.seq)
	}
	job := f.x.merge()
	if !f.mergeStep(job) {
		t.Fatal("the merge must take several slices")
	}
	f.reopen()
	if len(f.x.dead) != 1 || f.x.stats().Runs != mergeRuns {
		t.Fatalf("%d dead, %+v", len(f.x.dead), f.x.stats())
	}
	f.mergeAll()
	f.reapAll()
	f.sameAs(want)
	if s := f.x.stats(); s.Runs != 1 || len(f.x.dead) != 0 {
		t.Fatalf("%d dead, %+v", len(f.x.dead), s)
	}
}

// Inputs that lead for long rows, that overlap, and that hold the same ids, are merged as any.
func TestIDsMergeRows(t *testing.T) {
	sequential(t)
	bounded := 0
	for seed := range uint64(10) {
		f, m := newIDsFile(t), newIDMaker(seed)
		want := map[ID]idEntry{}
		var known []ID
		for range mergeRuns {
			run := map[ID]idEntry{}
			base := m.r.Uint64N(4) << 62 // a quarter of the ids, which other inputs may have, too
			for range 3000 {
				e := m.v4()
				binary.BigEndian.PutUint64(e.ID[:], base|m.r.Uint64()>>2)
				if len(known) > 0 && m.r.IntN(20) == 0 {
					e.ID = known[m.r.IntN(len(known))]
				}
				if _, twice := run[e.ID]; twice {
					continue
				}
				run[e.ID] = e
				known = append(known, e.ID)
				if _, older := want[e.ID]; !older {
					want[e.ID] = e
				}
				f.x.add([]idEntry{e})
			}
			f.flush(m.seq)
		}
		job := f.x.merge()
		for more := true; more; {
			more = f.mergeStep(job)
			if job.bounded {
				bounded++
			}
		}
		f.reapAll()
		f.sameAs(want)
	}
	if bounded == 0 {
		t.Error("no input has led")
	}
}

// sameAs compares the runs with a map, by lookup and by walk.
func (f *idsFile) sameAs(want map[ID]idEntry) {
	f.Helper()
	got := map[ID]idEntry{}
	err := f.x.walk(f.db.View, func(e idEntry) error {
		if _, twice := got[e.ID]; twice {
			f.Errorf("%s comes twice", e.ID)
		}
		got[e.ID] = e
		return nil
	})
	if err != nil || !maps.Equal(got, want) {
		f.Fatalf("walk: %d entries, want %d, %v", len(got), len(want), err)
	}
	for id, e := range want {
		f.want(id, e)
	}
}

// Random histories against a map.
func TestIDsRandom(t *testing.T) {
	seeds, steps := uint64(12), 400
	if testing.Short() {
		seeds, steps = 3, 80
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			f, m := newIDsFile(t), newIDMaker(seed)
			flushed, fresh := map[ID]idEntry{}, []idEntry{}
			var job *idMerge
			for range steps {
				switch n := m.r.IntN(12); {
				case n < 4:
					for range 1 + m.r.IntN(200<<m.r.IntN(4)) {
						e := m.v7()
						if seed%3 == 0 || seed%3 == 1 && m.r.IntN(2) == 0 {
							e.ID = ID(uuid.New())
						}
						fresh = append(fresh, e)
						f.x.add(fresh[len(fresh)-1:])
					}
				case n < 7:
					upTo := f.x.checkpoint() + Seq(m.r.Uint64N(uint64(m.seq-f.x.checkpoint()+1)))
					f.flush(upTo)
					for len(fresh) > 0 && fresh[0].Seq <= upTo {
						flushed[fresh[0].ID], fresh = fresh[0], fresh[1:]
					}
				case n < 10:
					if job == nil {
						job = f.x.merge()
					} else if !f.mergeStep(job) {
						job = nil
					}
				case n < 11:
					f.reapAll()
				case m.r.IntN(8) == 0:
					f.reopen()
					f.x.add(fresh) // as Open does, from the log
					job = nil
				}
				for _, e := range fresh[:min(len(fresh), 20)] {
					f.want(e.ID, e)
				}
				f.want(m.v4().ID, idEntry{})
				f.want(m.v7().ID, idEntry{})
			}
			f.sameAs(flushed)
			f.mergeAll()
			f.sameAs(flushed)
			for _, e := range fresh {
				f.want(e.ID, e)
			}
		})
	}
}

// Lookups and walks go on while runs are flushed, merged and deleted.
func TestIDsConcurrent(t *testing.T) {
	f, m := newIDsFile(t), newIDMaker(5)
	var all []idEntry
	n := 30_000
	if testing.Short() {
		n = 8_000
	}
	for range n {
		all = append(all, m.v4())
	}
	f.x.add(all)
	f.flush(100)
	done := make(chan struct{})
	failed := make(chan error, 4)
	for g := range 3 {
		go func() {
			r := rand.New(rand.NewPCG(uint64(g), 2))
			for {
				select {
				case <-done:
					failed <- nil
					return
				default:
				}
				e := all[r.IntN(len(all))]
				if got, ok, err := f.x.lookup(f.db.View, e.ID); err != nil || !ok || got != e {
					failed <- fmt.Errorf("%v, %v, %w", got, ok, err)
					return
				}
			}
		}()
	}
	go func() {
		for {
			n := 0
			if err := f.x.walk(f.db.View, func(idEntry) error { n++; return nil }); err != nil || n < 100 {
				failed <- fmt.Errorf("walk: %d entries: %w", n, err)
				return
			}
			select {
			case <-done:
				failed <- nil
				return
			default:
			}
		}
	}()
	for s := Seq(100); s <= m.seq; s += 100 {
		f.flush(s)
		f.mergeAll()
	}
	close(done)
	for range 4 {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	f.reapAll()
	f.reopen()
	if len(f.x.dead) > 0 {
		t.Fatalf("%d runs are left over", len(f.x.dead))
	}
}

func TestIDsCopy(t *testing.T) {
	f, m := newIDsFile(t), newIDMaker(6)
	want := map[ID]idEntry{}
	const cut = 23_456
	for range 6 {
		var es []idEntry
		for range 7000 {
			es = append(es, m.v4())
		}
		for _, e := range es {
			if e.Seq <= cut {
				want[e.ID] = e
			}
		}
		f.x.add(es)
		f.flush(m.seq)
	}
	to := newIDsFile(t)
	if err := to.x.copyFrom(f.x, f.db.View, cut, to.db.Update); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		to.sameAs(want)
		if to.x.checkpoint() != cut {
			t.Fatalf("checkpoint %d", to.x.checkpoint())
		}
		to.reopen()
	}
}

func TestIDsMissIsCheap(t *testing.T) {
	sequential(t)
	f, m := newIDsFile(t), newIDMaker(7)
	for range 5 {
		var es []idEntry
		for range 20_000 {
			es = append(es, m.v4())
		}
		f.x.add(es)
		f.flush(m.seq)
	}
	reads := 0
	view := func(fn func(*bolt.Tx) error) error { reads++; return f.db.View(fn) }
	const n = 100_000
	for range n {
		if _, ok, err := f.x.lookup(view, m.v4().ID); ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if reads > n/100 { // five filters, about 0.1 % each
		t.Errorf("%d of %d misses read the file", reads, n)
	}
	for range n {
		m.ms = 1_800_000_000_000
		if _, ok, err := f.x.lookup(view, m.v7().ID); ok || err != nil {
			t.Fatal(ok, err)
		}
	}
}

func TestTiers(t *testing.T) {
	for _, c := range []struct {
		n    uint64
		tier int
	}{{1, 0}, {tierIDs, 0}, {tierIDs + 1, 1}, {8 * tierIDs, 1}, {8*tierIDs + 1, 2}, {64 * tierIDs, 2}, {64*tierIDs + 1, 3}} {
		if got := (&idRun{count: c.n}).tier(); got != c.tier {
			t.Errorf("%d ids: tier %d, want %d", c.n, got, c.tier)
		}
	}
}

// Whatever is damaged, what is found is right or an error that says where.
func TestIDsDamage(t *testing.T) {
	f, m := newIDsFile(t), newIDMaker(8)
	var es []idEntry
	for range 2 * chunkIDs {
		es = append(es, m.v4())
	}
	f.x.add(es)
	f.flush(m.seq)
	slices.SortFunc(es, func(a, b idEntry) int { return compareID(&a.ID, &b.ID) })
	run := f.x.runs.Load().list[0]
	chunk := chunkKey(es[chunkIDs-1].ID)
	change := func(key []byte, edit func([]byte) []byte) {
		f.update(func(tx *bolt.Tx) error {
			b, err := run.bucket(tx)
			if err != nil {
				return err
			}
			return b.Put(key, edit(slices.Clone(b.Get(key))))
		})
	}
	step := 61
	if testing.Short() {
		step *= 10
	}
	var good []byte
	change(chunk, func(b []byte) []byte { good = b; return b })
	for i := 0; i < len(good); i += step {
		change(chunk, func(b []byte) []byte { b[i] ^= 1 << (i % 8); return b })
		f.wantNamed(es[:chunkIDs], i)
		change(chunk, func([]byte) []byte { return good })
	}
	change(chunk, func(b []byte) []byte { return b[:len(b)/2] })
	f.wantNamed(es[:chunkIDs], -1)
	change(chunk, func([]byte) []byte { return good })

	change(segmentKey(0), func(b []byte) []byte { b[5] ^= 1; return b })
	f.reopen()
	if _, _, err := f.x.lookup(f.db.View, es[0].ID); err == nil {
		t.Error("a damaged filter was believed")
	}
	f.update(func(tx *bolt.Tx) error {
		b, err := run.bucket(tx)
		if err != nil {
			return err
		}
		return b.Delete(chunk)
	})
	if err := f.x.walk(f.db.View, func(idEntry) error { return nil }); err == nil {
		t.Error("a missing chunk was not noticed")
	}
	f.update(func(tx *bolt.Tx) error { return tx.Bucket(bucketIDs).DeleteBucket(runKey(run.id)) })
	err := f.db.View(func(tx *bolt.Tx) error { _, err := openIDs(tx); return err })
	if err == nil {
		t.Error("a missing run was not noticed")
	}
}

// wantNamed looks up ids of which at least one is damaged.
func (f *idsFile) wantNamed(es []idEntry, at int) {
	f.Helper()
	bad := 0
	for i := 0; i < len(es); i += blockIDs / 2 {
		got, ok, err := f.x.lookup(f.db.View, es[i].ID)
		if err == nil && (!ok || got != es[i]) {
			f.Fatalf("damage at byte %d: %v, %v instead of %v", at, got, ok, es[i])
		}
		if err != nil {
			bad++
		}
	}
	if bad == 0 {
		f.Errorf("damage at byte %d was not noticed", at)
	}
}

func TestIDsDirectoryDamage(t *testing.T) {
	f, m := newIDsFile(t), newIDMaker(9)
	f.x.add([]idEntry{m.v4()})
	f.flush(1)
	var dir []byte
	f.update(func(tx *bolt.Tx) error { dir = slices.Clone(tx.Bucket(bucketIDs).Get(idDirKey)); return nil })
	for i := range dir {
		bad := slices.Clone(dir)
		bad[i] ^= 0x10
		if _, err := parseIDDir(bad); err == nil {
			t.Errorf("byte %d", i)
		}
		if _, err := parseIDDir(dir[:i]); err == nil {
			t.Errorf("cut to %d bytes", i)
		}
	}
}
