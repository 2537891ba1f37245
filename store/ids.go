package store

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
)

// idEntry tells which event an id belongs to, and what the event was: FP is the fingerprint of its content.
type idEntry struct {
	ID  ID
	Seq Seq
	FP  uint64
}

// idView runs fn in a short read transaction, as bolt.DB.View does. Inside a write transaction it must run fn on that one:
// a second transaction of the same goroutine can deadlock.
type idView func(fn func(*bolt.Tx) error) error

// idIndex is the ids view: mutation id → (seq, fingerprint), for ever. What is newer than the last flush is in memory
// ("fresh"); all else is in immutable sorted runs in the bucket, each with a Bloom filter, merged eight into one.
//
// Goroutines: lookup, walk and stats may be called by anybody at any time. add, flush, a prepared flush's write, reap and a merge's
// write belong to the goroutine that owns the write transactions; the commit functions that they return are to be called by it once the
// transaction is committed (in the order of the calls, when there were several), and dropped when it was not: then nothing has
// happened, and the call can be made again.
// A merge's read belongs to one goroutine at a time, any one.
type idIndex struct {
	seed    [2]uint64              // of the filters' hash: what clients cannot know, they cannot make collide
	runs    atomic.Pointer[idRuns] // what is live; replaced as a whole, by commit functions
	nextRun atomic.Uint64
	merging atomic.Bool
	pins    atomic.Int32 // walks under way: what they read is not deleted
	wrong   atomic.Int64 // filters that said perhaps when it was no

	mu    sync.RWMutex
	fresh freshIDs

	// Owned by the writer.
	through Seq      // the ids of all events up to here are in runs
	dead    []uint64 // runs that are no longer, or never became, live
}

// idStats are figures of an idIndex.
type idStats struct {
	Runs, Fresh int
	Entries     uint64 // in runs
	FilterBytes int64  // in memory
	FalseHits   int64  // reads of the file that found nothing
}

// createIDs makes an empty index in the bucket, which must exist and be empty.
func createIDs(tx *bolt.Tx) error {
	return newIDDir().put(tx)
}

// openIDs reads the directory of runs. It takes no time to speak of: filters are read in pieces when they are first asked.
func openIDs(tx *bolt.Tx) (*idIndex, error) {
	d, err := getIDDir(tx)
	if err != nil {
		return nil, err
	}
	x := &idIndex{seed: d.seed, through: d.through, fresh: freshIDs{seed: d.seed}}
	x.runs.Store(newIDRuns(d.runs))
	x.dead, err = strayRuns(tx, d)
	x.nextRun.Store(d.next)
	for _, r := range x.dead {
		x.nextRun.Store(max(x.nextRun.Load(), r+1))
	}
	return x, err
}

// add makes the ids of committed events visible to lookup. Their seqs must be above all that were added before, and the ids
// must not be in the index yet.
func (x *idIndex) add(es []idEntry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fresh.add(es)
}

// lookup finds the event of an id. A miss reads nothing from the file but, once after opening, the pieces of the filters
// that it needs (64 KiB each).
func (x *idIndex) lookup(view idView, id ID) (idEntry, bool, error) {
	x.mu.RLock()
	e, ok := x.fresh.get(&id)
	x.mu.RUnlock()
	if ok {
		return e, true, nil
	}
	for {
		rs := x.runs.Load()
		e, ok, err := x.search(rs, view, id)
		if err != nil && x.runs.Load() != rs {
			continue // merged away meanwhile, and perhaps deleted in part
		}
		return e, ok, err
	}
}

// search asks the runs of one moment. It first touches the filters of all of them, then looks at what they say: so the
// processor fetches them from memory at once and not one after the other.
func (x *idIndex) search(rs *idRuns, view idView, id ID) (idEntry, bool, error) {
	hi, lo := idWords(id)
	h := idHash(x.seed, hi, lo)
	for first := 0; first < len(rs.spans); first += probeRuns {
		spans := rs.spans[first:min(first+probeRuns, len(rs.spans))]
		var probes [probeRuns]idProbe
		for i := range spans {
			if spans[i].covers(hi, lo) {
				probes[i] = rs.list[first+i].filter.touch(h)
			}
		}
		for i := range spans {
			if !probes[i].may(h) {
				continue
			}
			if e, ok, err := x.ask(rs.list[first+i], view, id, h); ok || err != nil {
				return e, ok, err
			}
		}
	}
	return idEntry{}, false, nil
}

// probeRuns is how many filters are touched at once: about as many as there are with ten million ids.
const probeRuns = 16

// ask looks into the file: for the filter if that has not been read, then for the id.
func (x *idIndex) ask(r *idRun, view idView, id ID, h idSum) (e idEntry, ok bool, err error) {
	if r.filter.unread(h) {
		may, err := r.askFile(view, h)
		if !may || err != nil {
			return e, false, err
		}
	}
	if e, ok, err = r.find(view, id); !ok && err == nil {
		x.wrong.Add(1)
	}
	return e, ok, err
}

// idFlush is a run that is ready to be written.
type idFlush struct {
	x    *idIndex
	upTo Seq
	n    int         // entries, the oldest of the queue
	b    *runBuilder // nil: there are none
}

// prepare sorts and encodes the ids of all events up to upTo that are in memory. It can be called by any goroutine and takes
// most of the time of a flush (about 0.5 µs an id), but no other may be prepared or written before this one is committed or given up.
func (x *idIndex) prepare(upTo Seq) *idFlush {
	x.mu.RLock()
	n, _ := slices.BinarySearchFunc(x.fresh.all(), upTo+1, func(e idEntry, s Seq) int { return cmp.Compare(e.Seq, s) })
	es := slices.Clone(x.fresh.all()[:n])
	x.mu.RUnlock()
	fl := &idFlush{x: x, upTo: upTo, n: n}
	if n == 0 {
		return fl
	}
	slices.SortFunc(es, func(a, b idEntry) int { return compareID(&a.ID, &b.ID) })
	fl.b = newRunBuilder(x.nextRun.Add(1)-1, x.seed, uint64(n))
	for _, e := range es {
		fl.b.add(e)
	}
	fl.b.finish()
	return fl
}

// write puts the run into the writer's transaction.
func (fl *idFlush) write(tx *bolt.Tx) (commit func(), err error) {
	if fl.b != nil {
		if _, err := fl.b.write(tx, math.MaxInt); err != nil {
			return nil, err
		}
	}
	x := fl.x
	err = x.editDir(tx, func(d *idDir) {
		d.through = max(d.through, fl.upTo)
		if fl.b != nil {
			d.runs = append(d.runs, fl.b.run)
		}
	})
	return func() {
		x.through = max(x.through, fl.upTo)
		if fl.b != nil {
			x.runs.Store(newIDRuns(append(slices.Clip(x.runs.Load().list), fl.b.run)))
			x.forget(fl.n)
		}
	}, err
}

// flush prepares and writes in one go.
func (x *idIndex) flush(tx *bolt.Tx, upTo Seq) (commit func(), err error) {
	return x.prepare(upTo).write(tx)
}

// editDir changes the directory as the transaction has it, so that several steps fit one transaction.
func (x *idIndex) editDir(tx *bolt.Tx, edit func(*idDir)) error {
	d, err := getIDDir(tx)
	if err != nil {
		return err
	}
	d.next = x.nextRun.Load()
	edit(&d)
	return d.put(tx)
}

// forget drops from memory the n oldest entries, which are in a published run by now.
func (x *idIndex) forget(n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fresh.drop(n)
}

// checkpoint returns the seq up to which the ids of all events are in runs. For the writer.
func (x *idIndex) checkpoint() Seq { return x.through }

func (x *idIndex) stats() idStats {
	s := idStats{FalseHits: x.wrong.Load()}
	for _, r := range x.runs.Load().list {
		s.Runs++
		s.FilterBytes += r.filter.resident()
		s.Entries += r.count
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	s.Fresh = x.fresh.len()
	return s
}

// compareID is bytes.Compare, which takes twice as long.
func compareID(a, b *ID) int {
	if c := cmp.Compare(binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(b[:8])); c != 0 {
		return c
	}
	return cmp.Compare(binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[8:]))
}

func idWords(id ID) (hi, lo uint64) {
	return binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
}

// idsBucket is where the view lives.
func idsBucket(tx *bolt.Tx) (*bolt.Bucket, error) {
	if b := tx.Bucket(bucketIDs); b != nil {
		return b, nil
	}
	return nil, corruptIDs("the bucket is missing")
}

func corruptIDs(format string, a ...any) error {
	return corruptView("ids: "+format, a...)
}
