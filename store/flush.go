package store

import (
	"bytes"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// lagItem is an event that is in the overlays but not yet below the checkpoint.
type lagItem struct {
	seq  Seq
	size int32
	head *headEntry
	doc  *docEntry // nil: no key
}

// lagQueue holds the items between checkpoint and head in order. It is guarded by Store.mu.
type lagQueue struct {
	items []lagItem
	first int // items before it are done
	bytes int64
}

func (q *lagQueue) push(it lagItem) {
	q.items = append(q.items, it)
	q.bytes += int64(it.size)
}

func (q *lagQueue) len() int { return len(q.items) - q.first }

func (q *lagQueue) pending() []lagItem { return q.items[q.first:] }

func (q *lagQueue) drop(n int) {
	for i := range q.items[q.first : q.first+n] {
		it := &q.items[q.first+i]
		q.bytes -= int64(it.size)
		*it = lagItem{}
	}
	q.first += n
	if q.first > len(q.items)/2 {
		rest := copy(q.items, q.items[q.first:])
		clear(q.items[rest:])
		q.items, q.first = q.items[:rest], 0
	}
}

func (s *Store) lagOver(events int, bytes int64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.lag.len() >= events || s.lag.bytes >= bytes || s.docBytes >= bytes
}

// slice is one bounded step of the checkpoint. It is chosen and written on the writer goroutine; what is expensive in
// between, sorting and encoding, needs nothing of the store and may be done elsewhere.
type slice struct {
	items []lagItem
	to    checkpoint
	heads []headEntry // copies, as they were when the slice was chosen
	docs  []docEntry
	entry struct { // where the copies came from
		heads []*headEntry
		docs  []*docEntry
	}
	puts  [2][]keyValue // into heads and docs, in the order of keys
	ids   *idFlush
	err   error
	ready chan struct{} // closed when prepared
}

type keyValue struct{ key, value []byte }

// startFlush chooses the next slice and prepares it beside the commits; the writer is woken to write it.
func (s *Store) startFlush() {
	if s.flushing != nil {
		return
	}
	sl := s.nextSlice()
	if sl == nil {
		return
	}
	s.flushing = sl
	s.background.Go(func() {
		sl.prepare(s.ids)
		close(sl.ready)
		select {
		case s.prepared <- struct{}{}:
		default:
		}
	})
}

// flushSlice takes the views' buckets one slice closer to the head, in one transaction with the checkpoint: the slice that
// is being prepared, else the next one. It reports false when there is nothing left to do, or nothing can be written.
//
// An entry may already be newer than its slice: it is written as it is, and later slices, and the fold at the next start,
// skip the events that it contains. So a stream that is written all the time costs one write per turn of the queue.
func (s *Store) flushSlice() bool {
	sl := s.flushing
	if sl != nil {
		<-sl.ready
		s.flushing = nil
		if sl.to.seq > s.flushable() { // the disk is full since it was chosen
			sl.undo()
			sl = nil
		}
	}
	if sl == nil {
		if sl = s.nextSlice(); sl == nil {
			return false
		}
		sl.prepare(s.ids)
	}
	start := time.Now()
	var done func()
	err := s.maintain(func(tx *bolt.Tx) (err error) {
		done, err = sl.write(tx)
		return err
	})
	if err != nil {
		sl.undo()
		s.flushFailed(err)
		return false
	}
	done()
	s.dropSlice(sl)
	took := int64(time.Since(start))
	s.adapt(time.Duration(took))
	s.counters.flushSlices.Add(1)
	s.counters.flushedEntries.Add(int64(len(sl.heads) + len(sl.docs)))
	s.counters.flushNanos.Add(took)
	s.counters.flushMaxNanos.Store(max(took, s.counters.flushMaxNanos.Load()))
	s.mergeIDs()
	return true
}

// A commit that comes while a slice is written waits for it, so a slice should take about this long: entries that are
// scattered over a large view cost a page each, clustered ones next to nothing.
const sliceTime = 20 * time.Millisecond

// sliceBytes bounds the documents of a slice, whatever their number.
const sliceBytes = 8 << 20

// adapt chooses how many entries the next slice may have from how long this one took.
func (s *Store) adapt(took time.Duration) {
	least := max(1, s.opts.flush.entries/16)
	switch {
	case s.sliceEntries < least: // it was made so small on a full disk
		s.sliceEntries = min(4*s.sliceEntries, least)
	case took > sliceTime:
		s.sliceEntries = max(s.sliceEntries*2/3, least)
	case took < sliceTime/2:
		s.sliceEntries = min(s.sliceEntries*5/4+1, s.opts.flush.entries)
	}
}

// undo marks the entries of a slice that was not written as still to be written.
func (sl *slice) undo() {
	for _, e := range sl.entry.heads {
		e.flushed = 0
	}
	for _, e := range sl.entry.docs {
		e.flushed = 0
	}
}

func (s *Store) flushFailed(err error) {
	if s.failure() != nil {
		return
	}
	if err == errNoRoom { // a smaller one may find room
		s.sliceEntries = max(s.sliceEntries/4, 1)
		s.noRoom(&Refusal{Code: CodeReadOnly, Message: "the disk is full"})
		return
	}
	s.fail(err)
}

// flushable is how far the checkpoint may go: where the next transaction leaves the end of the log's bucket. (Entries of the views may know
// of events beyond it, as always.) Only the writer changes what the journal holds, and this is the writer.
func (s *Store) flushable() Seq {
	if s.refuse.Load() != nil && len(s.waiting) > 0 {
		return s.waiting[0].seq - 1
	}
	return s.Head()
}

// nextSlice chooses the events of the next slice, and the entries that their buckets lack; nil: nothing is left.
func (s *Store) nextSlice() *slice {
	pol := &s.opts.flush
	s.mu.RLock()
	defer s.mu.RUnlock()
	sl := &slice{to: s.ckpt, ready: make(chan struct{})}
	size, last := 0, s.flushable()
	sl.items = make([]lagItem, 0, min(s.lag.len(), pol.events))
	for _, it := range s.lag.pending() {
		if it.seq > last || len(sl.items) >= pol.events || len(sl.heads)+len(sl.docs) >= s.sliceEntries || size >= sliceBytes {
			break
		}
		sl.items = append(sl.items, it)
		sl.to.seq = it.seq
		sl.to.bytes += int64(it.size)
		if it.head.flushed < it.seq {
			it.head.flushed = it.head.last
			sl.heads = append(sl.heads, *it.head)
			sl.entry.heads = append(sl.entry.heads, it.head)
		}
		if it.doc != nil && it.doc.flushed < it.seq {
			it.doc.flushed = it.doc.seq
			sl.docs = append(sl.docs, *it.doc)
			size += it.doc.memory()
			sl.entry.docs = append(sl.entry.docs, it.doc)
		}
	}
	if len(sl.items) == 0 {
		return nil
	}
	return sl
}

// prepare encodes the slice's entries and its run of ids.
func (sl *slice) prepare(ids *idIndex) {
	for i := range sl.heads {
		e := &sl.heads[i]
		sl.puts[0] = append(sl.puts[0], keyValue{[]byte(e.name), e.headState.value([]byte(e.name))})
	}
	for i := range sl.docs {
		e := &sl.docs[i]
		key := e.at.bytes()
		v, err := e.docState.value(key)
		if err != nil {
			sl.err = err
			return
		}
		sl.puts[1] = append(sl.puts[1], keyValue{key, v})
	}
	for _, puts := range sl.puts {
		slices.SortFunc(puts, func(a, b keyValue) int { return bytes.Compare(a.key, b.key) })
	}
	sl.ids = ids.prepare(sl.to.seq)
}

func (sl *slice) write(tx *bolt.Tx) (done func(), err error) {
	if sl.err != nil {
		return nil, sl.err
	}
	for i, name := range [][]byte{bucketHeads, bucketDocs} {
		b := tx.Bucket(name)
		for _, kv := range sl.puts[i] {
			if err := b.Put(kv.key, kv.value); err != nil {
				return nil, err
			}
		}
	}
	if done, err = sl.ids.write(tx); err != nil {
		return nil, err
	}
	return done, putCheckpoint(tx, sl.to)
}

// dropSlice removes from the overlays what their buckets now contain.
func (s *Store) dropSlice(sl *slice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ckpt = sl.to
	for _, it := range sl.items {
		if h := it.head; h.last <= sl.to.seq && s.heads[h.name] == h {
			delete(s.heads, h.name)
		}
		if d := it.doc; d != nil && d.seq <= sl.to.seq {
			if m := s.docs[d.at.Stream]; m[d.at.Key] == d {
				delete(m, d.at.Key)
				s.docOrder.remove(d.at)
				s.docBytes -= int64(d.memory())
				if len(m) == 0 {
					delete(s.docs, d.at.Stream)
				}
			}
		}
	}
	s.lag.drop(len(sl.items))
}
