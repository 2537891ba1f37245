package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// memoryDir is a folder for tests that do not ask whether anything is really on disk: where it can be, it is in memory.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "tidemark-test-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// checkOptions make small slices, so that a short log has several runs, and merges.
func checkOptions() Options {
	o := quiet()
	o.flush = flushPol{target: 100, bound: 1000, events: 90, entries: 60}
	return o
}

// history appends about n events of every kind.
func history(t testing.TB, s *Store, n int) {
	t.Helper()
	for i := 0; i < n; {
		var ms []Mutation
		for range 20 {
			st := Stream([]string{"dense", "dense", "room/1", fmt.Sprintf("wide/%d", i%37), "$ctl"}[i%5])
			key := fmt.Sprintf("k%d", i%23)
			m := Mutation{ID: NewID(), Stream: st, Type: "note", Key: key, Data: fmt.Appendf(nil, `{"i":%d}`, i)}
			switch i % 7 {
			case 0, 1:
				m.Op = OpPut
			case 2, 3, 4:
				m.Op, m.Data = OpPatch, fmt.Appendf(nil, `{"p%d":%d.0,"i":null}`, i%3, i)
			case 5:
				m.Op, m.Data = OpDelete, nil
			case 6:
				m.Key = ""
				m.Bytes, m.Data = i%2 == 0, []byte("7")
			}
			ms = append(ms, m)
			i++
		}
		if _, err := s.AppendWait(t.Context(), &Push{Atomic: i%3 == 0, Mutations: ms, By: "tester"}); err != nil {
			t.Fatal(err)
		}
	}
}

// snapshotFile copies the file as it stands now, views lagging as they do.
func snapshotFile(t testing.TB, s *Store, to string) {
	t.Helper()
	f, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	err = s.db.View(func(tx *bolt.Tx) error { _, err := tx.WriteTo(f); return err })
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// noJournal has what is in the journal put into the log's bucket.
func noJournal(t testing.TB, s *Store) {
	t.Helper()
	if err := s.onWriter(t.Context(), func() error { return s.update(func(*bolt.Tx) error { return nil }) }); err != nil {
		t.Fatal(err)
	}
}

// checkedFile makes a file with a floor, views behind the head, and everything else that Check looks at.
func checkedFile(t testing.TB) string {
	t.Helper()
	dir := memoryDir(t)
	s := openTest(t, filepath.Join(dir, "live"), checkOptions())
	history(t, s, 2000)
	if err := s.Trim(t.Context(), 700); err != nil {
		t.Fatal(err)
	}
	history(t, s, 60)
	for {
		history(t, s, 20)
		noJournal(t, s)
		path := filepath.Join(dir, "file")
		snapshotFile(t, s, path)
		r := mustCheck(t, path)
		if r.Checkpoint < r.Head-10 && r.Checkpoint > r.Floor+500 && lastRunIsSmall(t, path, r.Floor) {
			return path
		}
	}
}

// lastRunIsSmall reports whether the run of ids that is damaged later holds few ids, and none of trimmed events, which nothing can be
// compared with: it is not one that was just merged.
func lastRunIsSmall(t testing.TB, path string, floor Seq) (small bool) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *bolt.Tx) error {
		x, err := openIDs(tx)
		if err == nil {
			runs := x.runs.Load().list
			last := runs[len(runs)-1]
			small = last.minSeq > floor && last.count < maxProblems/2
		}
		return err
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return small
}

func mustCheck(t testing.TB, path string) Report {
	t.Helper()
	r, err := Check(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return r
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}

// damage changes a copy of the file and returns its name.
func damage(t testing.TB, file string, fn func(*bolt.Tx) error) string {
	t.Helper()
	path := filepath.Join(memoryDir(t), "damaged")
	copyFile(t, file, path)
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// relog writes every record anew after edit has changed it or, returning false, dropped it: the chain of checksums and the
// bytes at the checkpoint come out right whatever edit does.
func relog(edit func(r *record) bool) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		floor, err := getFloor(tx)
		if err != nil {
			return err
		}
		ckpt, err := getCheckpoint(tx)
		if err != nil {
			return err
		}
		var all []rawRecord
		crc := floor.crc
		ckpt.bytes = 0
		c := logOf(tx).cursor()
		for seq, v := c.first(); v != nil; seq, v = c.next() {
			var r record
			if err := parseRecord(seq, v, &r); err != nil {
				return err
			}
			r.clone()
			if edit(&r) {
				r.PrevCRC = crc
				b := appendRecord(nil, &r)
				crc = r.chain()
				all = append(all, rawRecord{r.Seq, b})
				if r.Seq <= ckpt.seq {
					ckpt.bytes += int64(len(b))
				}
			}
		}
		if err := tx.DeleteBucket(bucketLog); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(bucketLog); err != nil {
			return err
		}
		var log logWriter
		log.begin(tx)
		for _, e := range all {
			log.add(e.seq, e.v)
		}
		return errors.Join(log.flush(), putCheckpoint(tx, ckpt))
	}
}

// reentry writes the record at seq anew as change returns it (nil: it is dropped), and the others of its entry as they were.
func reentry(seq Seq, change func(rec []byte) []byte) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketLog)
		k, v := b.Cursor().Seek(seqKey(seq))
		e := parseEntry(bytes.Clone(k), bytes.Clone(v))
		if err := b.Delete(bytes.Clone(k)); err != nil {
			return err
		}
		var w logWriter
		w.begin(tx)
		for i := range e.n {
			rec := e.record(i)
			if e.first+Seq(i) == seq {
				if rec = change(rec); rec == nil {
					continue
				}
			}
			w.add(e.first+Seq(i), rec)
		}
		return w.flush()
	}
}

// rebatch changes the value of the first batch of at least three records above a seq.
func rebatch(above Seq, change func(v []byte) []byte) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketLog)
		c := b.Cursor()
		for k, v := c.Seek(seqKey(above)); k != nil; k, v = c.Next() {
			if e := parseEntry(k, v); e.n > 2 && e.first > above {
				return b.Put(bytes.Clone(k), change(bytes.Clone(v)))
			}
		}
		return errors.New("there is no such batch")
	}
}

// at makes an edit of the one record at seq.
func at(seq Seq, change func(r *record)) func(*record) bool {
	return func(r *record) bool {
		if r.Seq == seq {
			change(r)
		}
		return true
	}
}

// rewrite changes the first entry of a bucket that fn accepts, by returning what it becomes (nil: it is deleted).
func rewrite(bucket []byte, fn func(k, v []byte) (to []byte, ok bool)) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			to, ok := fn(k, v)
			if !ok {
				continue
			}
			if to == nil {
				return tx.Bucket(bucket).Delete(bytes.Clone(k))
			}
			return tx.Bucket(bucket).Put(bytes.Clone(k), to)
		}
		return errors.New("no such entry")
	}
}

func headEdit(change func(h *headState)) func(k, v []byte) ([]byte, bool) {
	return func(k, v []byte) ([]byte, bool) {
		h, err := parseHead(k, v)
		if err != nil || string(k) != "dense" {
			return nil, false
		}
		change(&h)
		return h.value(k), true
	}
}

func docEdit(change func(d *docState)) func(k, v []byte) ([]byte, bool) {
	return func(k, v []byte) ([]byte, bool) {
		d, err := parseDoc(k, v)
		if err != nil || !d.exists {
			return nil, false
		}
		change(&d)
		b, err := d.value(k)
		return b, err == nil
	}
}

// corruptIDRun changes the entries of the first live run and writes it anew, whole and with right checksums.
func corruptIDRun(edit func(es []idEntry) []idEntry) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		x, err := openIDs(tx)
		if err != nil {
			return err
		}
		run := x.runs.Load().list[len(x.runs.Load().list)-1]
		var es []idEntry
		view := func(fn func(*bolt.Tx) error) error { return fn(tx) }
		if err := walkRun(run, view, func(e idEntry) error { es = append(es, e); return nil }); err != nil {
			return err
		}
		es = edit(es)
		slices.SortFunc(es, func(a, b idEntry) int { return compareID(&a.ID, &b.ID) })
		b := newRunBuilder(x.nextRun.Add(1)-1, x.seed, uint64(len(es)))
		for _, e := range es {
			b.add(e)
		}
		b.finish()
		if _, err := b.write(tx, 1<<30); err != nil {
			return err
		}
		return x.editDir(tx, func(d *idDir) { d.runs[len(d.runs)-1] = b.run })
	}
}

type corruption struct {
	name  string
	wants []string // the invariants that are violated, and no others
	do    func(*bolt.Tx) error
}

// corruptions are one for each way in which the file, of which r is the report, could break.
func corruptions(t testing.TB, file string, r Report) []corruption {
	patched := patchedKeys(t, file)
	mid := r.Floor + (r.Checkpoint-r.Floor)/2
	setFloor := func(change func(f *floorMark)) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			f, err := getFloor(tx)
			if err != nil {
				return err
			}
			change(&f)
			return putFloor(tx, f)
		}
	}
	setCheckpoint := func(change func(c *checkpoint)) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			c, err := getCheckpoint(tx)
			if err != nil {
				return err
			}
			change(&c)
			return putCheckpoint(tx, c)
		}
	}
	first := func(match func(r *record) bool, change func(r *record)) func(*bolt.Tx) error {
		done := false
		return relog(func(r *record) bool {
			if !done && r.Seq > mid && match(r) {
				change(r)
				done = true
			}
			return true
		})
	}
	lost := []string{ // what a batch that cannot be read leaves behind
		CheckRecord, CheckSeq, CheckCheckpoint, CheckIDs, CheckPrev, CheckKPrev, CheckSkip, CheckHeads, CheckDocs, CheckPush,
	}
	return []corruption{
		{"a flipped bit in a record", []string{CheckRecord, CheckDocs}, func(tx *bolt.Tx) error {
			return reentry(mid, func(v []byte) []byte { v[len(v)-6] ^= 1; return v })(tx)
		}},
		{"a record cut short", []string{CheckRecord, CheckCheckpoint, CheckIDs, CheckPrev, CheckKPrev, CheckSkip, CheckHeads, CheckDocs, CheckPush}, func(tx *bolt.Tx) error {
			return reentry(mid, func(v []byte) []byte { return v[:10] })(tx)
		}},
		{"a record under another seq", []string{CheckRecord, CheckDocs}, func(tx *bolt.Tx) error {
			return reentry(r.Head, func(v []byte) []byte { return resealed(r.Head-1, v) })(tx)
		}},
		{"an event missing at the head's end of a push", []string{CheckSeq, CheckPush, CheckPrev, CheckKPrev, CheckHeads, CheckDocs, CheckIDs, CheckCheckpoint, CheckSkip}, func(tx *bolt.Tx) error {
			return reentry(mid, func([]byte) []byte { return nil })(tx)
		}},
		{"an event with a wrong chain", []string{CheckChain}, func(tx *bolt.Tx) error {
			return reentry(r.Head, func(v []byte) []byte { v[len(v)-8] ^= 0x80; return resealed(r.Head, v) })(tx)
		}},
		{"a batch that tells of too few records", lost, rebatch(mid, func(v []byte) []byte { v[2]--; return v })},
		{"a batch that is cut short", lost, rebatch(mid, func(v []byte) []byte { return v[:len(v)-5] })},
		{"a batch that tells a wrong place of a record", lost, rebatch(mid, func(v []byte) []byte { v[4]++; return v })},
		{"a batch of one record", lost, rebatch(mid, func(v []byte) []byte { v[2] = 1; return v })},
		{"an entry of the log under a short key", []string{CheckSeq}, func(tx *bolt.Tx) error { return tx.Bucket(bucketLog).Put([]byte{0}, []byte{1}) }},
		{"a clock that ran backwards", []string{CheckTime}, relog(at(mid, func(r *record) { r.At -= 1e6 }))},
		{"a wrong prev", []string{CheckPrev}, relog(at(mid, func(r *record) { r.Prev -= min(r.Prev, 1) }))},
		{"a wrong skip link", []string{CheckSkip}, first(func(r *record) bool { return r.Skip1 != 0 }, func(r *record) { r.Skip1-- })},
		{"a missing skip link", []string{CheckSkip}, first(func(r *record) bool { return r.Skip1 != 0 }, func(r *record) { r.Skip1 = 0 })},
		{"a wrong kprev", []string{CheckKPrev}, first(func(r *record) bool { return r.Op == OpPut && r.KPrev > 1 }, func(r *record) { r.KPrev-- })},
		{"an atomic push without an end", []string{CheckPush}, relog(at(r.Head, func(r *record) { r.Flags |= FlagMore }))},
		{"a put without data", []string{CheckShape, CheckIDs, CheckDocs}, first(func(r *record) bool { return r.Op == OpPut }, func(r *record) { r.Data = nil })},
		{"data that is no JSON", []string{CheckShape}, relog(at(r.Head-1, func(r *record) { r.Op, r.Flags, r.Data = OpNone, r.Flags&^FlagBytes, []byte(`{"a":}`) }))},
		{"a control flag on a client's stream", []string{CheckShape}, relog(at(mid, func(r *record) { r.Flags ^= FlagControl }))},
		{"an event with other content", []string{CheckIDs}, first(func(r *record) bool { return r.Op == OpNone }, func(r *record) { r.Type = "other" })},
		{"an event with another id", []string{CheckIDs}, relog(at(mid, func(r *record) { r.ID[15] ^= 1 }))},
		{"two events with one id", []string{CheckIDs}, func(tx *bolt.Tx) error {
			var id ID
			return relog(func(r *record) bool {
				if r.Seq == mid {
					id = r.ID
				}
				if r.Seq == mid+1 {
					r.ID = id
				}
				return true
			})(tx)
		}},
		{"a head's last event", []string{CheckHeads}, rewrite(bucketHeads, headEdit(func(h *headState) { h.last-- }))},
		{"a head's count", []string{CheckHeads}, rewrite(bucketHeads, headEdit(func(h *headState) { h.count++ }))},
		{"a head's skip link", []string{CheckHeads}, rewrite(bucketHeads, headEdit(func(h *headState) { h.skip1-- }))},
		{"a head's floor", []string{CheckHeads}, rewrite(bucketHeads, headEdit(func(h *headState) { h.floor++ }))},
		{"a head missing", []string{CheckHeads}, rewrite(bucketHeads, func(k, _ []byte) ([]byte, bool) { return nil, string(k) == "room/1" })},
		{"a head of no stream", []string{CheckHeads}, func(tx *bolt.Tx) error {
			return putHead(tx.Bucket(bucketHeads), "nobody", headState{last: mid, count: 1})
		}},
		{"a head that is garbage", []string{CheckHeads}, rewrite(bucketHeads, func(k, _ []byte) ([]byte, bool) { return []byte{0xff}, string(k) == "room/1" })},
		{"a document's content", []string{CheckDocs}, rewrite(bucketDocs, docEdit(func(d *docState) { d.data = []byte(`{"no":1}`) }))},
		{"a document's seq", []string{CheckDocs}, rewrite(bucketDocs, docEdit(func(d *docState) { d.seq++ }))},
		{"a document deleted", []string{CheckDocs}, rewrite(bucketDocs, docEdit(func(d *docState) { d.exists = false }))},
		{"a document's entry missing", []string{CheckDocs}, rewrite(bucketDocs, func(_, _ []byte) ([]byte, bool) { return nil, true })},
		{"a document at no key", []string{CheckDocs}, func(tx *bolt.Tx) error {
			return putDoc(tx.Bucket(bucketDocs), DocKey{"dense", "nobody"}, docState{seq: mid, exists: true, data: []byte("1")})
		}},
		{"a document that is garbage", []string{CheckDocs}, rewrite(bucketDocs, func(_, _ []byte) ([]byte, bool) { return []byte{1, 9}, true })},
		{"a base head above the floor", []string{CheckBaseHeads, CheckFloor, CheckHeads, CheckPrev}, rewrite(bucketBaseHeads, headEdit(func(h *headState) { h.last, h.floor = r.Floor+1, r.Floor+1 }))},
		{"a base head's count", []string{CheckBaseHeads, CheckHeads, CheckSkip}, rewrite(bucketBaseHeads, headEdit(func(h *headState) { h.count = 0 }))},
		{"a base document newer than its stream", []string{CheckBaseDocs, CheckKPrev, CheckDocs}, rewrite(bucketBaseDocs, docEdit(func(d *docState) { d.seq = r.Floor + 5 }))},
		{"a base document that is no JSON", []string{CheckBaseDocs, CheckDocs}, rewrite(bucketBaseDocs, docEdit(func(d *docState) { d.data = []byte(`{"a":1,"a":2}`) }))},
		{"a base document of a patched key", []string{CheckDocs}, rewrite(bucketBaseDocs, func(k, v []byte) ([]byte, bool) {
			if !patched[string(k)] {
				return nil, false
			}
			return docEdit(func(d *docState) { d.data = []byte(`{"other":1}`) })(k, v)
		})},
		{"an id lost", []string{CheckIDs}, corruptIDRun(func(es []idEntry) []idEntry { return es[1:] })},
		{"an id too many", []string{CheckIDs}, corruptIDRun(func(es []idEntry) []idEntry { return append(es, idEntry{NewID(), mid, 1}) })},
		{"an id of an event to come", []string{CheckIDs}, corruptIDRun(func(es []idEntry) []idEntry { return append(es, idEntry{NewID(), r.Checkpoint + 1, 1}) })},
		{"an id's seq", []string{CheckIDs}, corruptIDRun(func(es []idEntry) []idEntry { es[0].Seq--; return es })},
		{"an id's fingerprint", []string{CheckIDs}, corruptIDRun(func(es []idEntry) []idEntry { es[0].FP++; return es })},
		{"a filter that denies its ids", []string{CheckFilter, CheckIDs}, emptyFilter},
		{"ids behind the checkpoint", []string{CheckIDs}, func(tx *bolt.Tx) error {
			d, err := getIDDir(tx)
			if err != nil {
				return err
			}
			d.through--
			return d.put(tx)
		}},
		{"the directory of ids", []string{CheckIDs}, func(tx *bolt.Tx) error { return tx.Bucket(bucketIDs).Put(idDirKey, []byte("none")) }},
		{"a checkpoint above the head", []string{CheckCheckpoint, CheckHeads, CheckDocs, CheckIDs}, setCheckpoint(func(c *checkpoint) { c.seq = r.Head + 1 })},
		{"a checkpoint below the floor", []string{CheckCheckpoint, CheckIDs}, setCheckpoint(func(c *checkpoint) { c.seq = r.Floor - 1 })},
		{"the bytes at the checkpoint", []string{CheckCheckpoint}, setCheckpoint(func(c *checkpoint) { c.bytes++ })},
		{"the checksum at the floor", []string{CheckChain}, setFloor(func(f *floorMark) { f.crc++ })},
		{"the floor's event", []string{CheckFloor}, setFloor(func(f *floorMark) { f.id = NewID() })},
		{"a floor too low", []string{CheckFloor, CheckSeq, CheckBaseHeads, CheckIDs}, setFloor(func(f *floorMark) { f.seq-- })},
		{"a floor in the future", []string{CheckTime}, setFloor(func(f *floorMark) { f.at += 1e9 })},
		{"an ancestor cut above the head", []string{CheckMeta}, func(tx *bolt.Tx) error { return putLineage(tx, []ancestor{{NewID(), r.Head + 1}}) }},
		{"an ancestor that is the log itself", []string{CheckMeta}, func(tx *bolt.Tx) error { return putLineage(tx, []ancestor{{r.Log, 1}}) }},
		{"the journal's key", []string{CheckJournal}, journalEdit(func(_ *journal, v []byte) { v[3] ^= 4 })},
		{"an entry of the journal without the one before it", []string{CheckJournal}, journalEdit(func(j *journal, v []byte) {
			copy(v[journalBlock-pageHeader-pageElement-len(journalEntryName):], j.entry([]rawRecord{{r.Head + 2, []byte{1}}}))
		})},
		{"a journal of another size", []string{CheckJournal}, func(tx *bolt.Tx) error {
			return tx.Bucket(bucketJournal).Put(journalEntryName, make([]byte, 100))
		}},
		{"no identity", []string{CheckMeta}, func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Delete(metaIdentity) }},
		{"a bucket missing", []string{CheckMeta}, func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketBaseDocs) }},
	}
}

// journalEdit changes the value of the journal's bucket.
func journalEdit(edit func(j *journal, v []byte)) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		j, err := findJournal(tx, 0)
		if err != nil {
			return err
		}
		b := tx.Bucket(bucketJournal)
		v := bytes.Clone(b.Get(journalEntryName))
		edit(j, v)
		return b.Put(journalEntryName, v)
	}
}

// patchedKeys are the keys whose documents are still folded on top of their base.
func patchedKeys(t testing.TB, file string) map[string]bool {
	patched, settled := map[string]bool{}, map[string]bool{}
	for _, r := range rawLog(t, file) {
		k := string(DocKey{r.Stream, r.Key}.bytes())
		switch {
		case r.Op == OpPut || r.Op == OpDelete:
			settled[k] = true
			delete(patched, k)
		case r.Op == OpPatch && !settled[k]:
			patched[k] = true
		}
	}
	return patched
}

// rawLog reads every event of a file, the server's own, too.
func rawLog(t testing.TB, file string) (out []Event) {
	t.Helper()
	db, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *bolt.Tx) error {
		c := logOf(tx).cursor()
		for seq, v := c.first(); v != nil; seq, v = c.next() {
			var r record
			if err := parseRecord(seq, v, &r); err != nil {
				return err
			}
			r.clone()
			out = append(out, r.Event)
		}
		return nil
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return out
}

func emptyFilter(tx *bolt.Tx) error {
	x, err := openIDs(tx)
	if err != nil {
		return err
	}
	list := x.runs.Load().list
	r := list[len(list)-1]
	r.filter.fill()
	b, err := r.bucket(tx)
	if err != nil {
		return err
	}
	return b.Put(segmentKey(0), r.appendSegment(nil, 0))
}

// TestCheckFinds seeds one corruption after the other into a good file, with all checksums made right again where that
// is possible, and wants each found by the name of its invariant, and no other invariant accused.
func TestCheckFinds(t *testing.T) {
	file := checkedFile(t)
	good := mustCheck(t, file)
	covered := map[string]bool{CheckPages: true} // TestCheckPages
	for i, c := range corruptions(t, file, good) {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && i%4 != 0 {
				t.Skip("a quarter of them is enough for -short")
			}
			r, err := Check(t.Context(), damage(t, file, c.do), nil)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Invariant == c.wants[0] }) {
				t.Errorf("%s was not found: %v", c.wants[0], r.Problems)
			}
			for _, p := range r.Problems {
				if !slices.Contains(c.wants, p.Invariant) {
					t.Errorf("also reported: %v", p)
				}
			}
			if r.Err() == nil {
				t.Error("no error")
			}
		})
		covered[c.wants[0]] = true
	}
	for _, name := range []string{CheckPages, CheckMeta, CheckFloor, CheckCheckpoint, CheckRecord, CheckSeq, CheckChain, CheckTime,
		CheckPrev, CheckSkip, CheckKPrev, CheckPush, CheckShape, CheckHeads, CheckDocs, CheckIDs, CheckFilter, CheckBaseHeads, CheckBaseDocs,
		CheckJournal} {
		if !covered[name] {
			t.Errorf("no corruption for %s", name)
		}
	}
}

func TestCheckCleanFile(t *testing.T) {
	path := filepath.Join(memoryDir(t), "a.tidemark")
	s, err := Open(path, checkOptions())
	if err != nil {
		t.Fatal(err)
	}
	history(t, s, 1500)
	if _, err := Check(t.Context(), path, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("check of an open file: %v", err)
	}
	head, mark, log := s.Head(), s.Mark(s.Head()), s.LogID()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	calls := 0
	r, err := Check(t.Context(), path, func(done, total int64) {
		if calls++; done > total {
			t.Errorf("progress %d of %d", done, total)
		}
	})
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	if r.Head != head || r.HeadID != mark || r.Log != log || r.Events != int64(head) || r.IDs != int64(head) || r.Checkpoint != head || r.Docs == 0 || r.Streams == 0 || calls == 0 {
		t.Errorf("report %+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ctx, path, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled check: %v", err)
	}
	if _, err := Check(t.Context(), path+".none", nil); err == nil {
		t.Error("a file that is not there is fine")
	}
}

// TestCheckPages damages a page itself; bbolt's own check names it. Only damage that cannot crash is tried in this process.
func TestCheckPages(t *testing.T) {
	file := checkedFile(t)
	path := filepath.Join(memoryDir(t), "damaged")
	copyFile(t, file, path)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	// A page that nobody refers to any more: behind the last one, the high-water mark says that it is in use.
	older, newer, err := readMetas(f, os.Getpagesize(), os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []metaPage{older, newer} {
		bumpHighWater(m.page)
		if _, err := f.WriteAt(m.page, m.at); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(fi.Size()+int64(len(newer.page))), f.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := Check(t.Context(), path, nil)
	if err != nil || len(r.Problems) == 0 || r.Problems[0].Invariant != CheckPages {
		t.Errorf("report %+v, %v", r, err)
	}
}

// bumpHighWater makes a meta page say that one more page is in use, with a right checksum.
func bumpHighWater(page []byte) {
	m := page[metaAt : metaAt+metaLen]
	binary.NativeEndian.PutUint64(m[metaHigh:], binary.NativeEndian.Uint64(m[metaHigh:])+1)
	h := fnv.New64a()
	h.Write(m[:metaSum])
	binary.NativeEndian.PutUint64(m[metaSum:], h.Sum64())
}
