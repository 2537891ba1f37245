package store

import (
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
	return s.lag.len() >= events || s.lag.bytes >= bytes
}

// slice is one bounded step of the checkpoint.
type slice struct {
	items []lagItem
	to    checkpoint
	heads []*headEntry
	docs  []*docEntry
}

// flushSlice takes the views' buckets one slice closer to the head, in one transaction with the checkpoint. It reports
// false when there is nothing left to do, or nothing can be written.
//
// An entry may already be newer than its slice: it is written as it is, and later slices, and the fold at the next start,
// skip the events that it contains. So a stream that is written all the time costs one write per turn of the queue.
func (s *Store) flushSlice() bool {
	s.mu.RLock()
	sl := s.nextSlice()
	s.mu.RUnlock()
	if len(sl.items) == 0 {
		return false
	}
	start := time.Now()
	var done func()
	err := s.update(func(tx *bolt.Tx) (err error) {
		done, err = s.writeSlice(tx, &sl)
		return err
	})
	if err != nil {
		sl.undo()
		s.flushFailed(err)
		return false
	}
	done()
	s.dropSlice(&sl)
	took := int64(time.Since(start))
	s.counters.flushSlices.Add(1)
	s.counters.flushedEntries.Add(int64(len(sl.heads) + len(sl.docs)))
	s.counters.flushNanos.Add(took)
	s.counters.flushMaxNanos.Store(max(took, s.counters.flushMaxNanos.Load()))
	s.mergeIDs()
	return true
}

// undo marks the entries of a slice that was not written as still to be written.
func (sl *slice) undo() {
	for _, e := range sl.heads {
		e.flushed = 0
	}
	for _, e := range sl.docs {
		e.flushed = 0
	}
}

func (s *Store) flushFailed(err error) {
	if s.failure() != nil {
		return
	}
	if err == errNoRoom {
		s.noRoom(&Refusal{Code: CodeReadOnly, Message: "the disk is full"})
		return
	}
	s.fail(err)
}

// nextSlice chooses the slice: its events, and the entries that their buckets lack. s.mu is held for reading.
func (s *Store) nextSlice() (sl slice) {
	pol := &s.opts.flush
	sl.to = s.ckpt
	for _, it := range s.lag.pending() {
		if len(sl.items) >= pol.events || len(sl.heads)+len(sl.docs) >= pol.entries {
			break
		}
		sl.items = append(sl.items, it)
		sl.to.seq = it.seq
		sl.to.bytes += int64(it.size)
		if it.head.flushed < it.seq {
			it.head.flushed = it.head.last
			sl.heads = append(sl.heads, it.head)
		}
		if it.doc != nil && it.doc.flushed < it.seq {
			it.doc.flushed = it.doc.seq
			sl.docs = append(sl.docs, it.doc)
		}
	}
	return sl
}

func (s *Store) writeSlice(tx *bolt.Tx, sl *slice) (done func(), err error) {
	heads, docs := tx.Bucket(bucketHeads), tx.Bucket(bucketDocs)
	for _, e := range sl.heads {
		if err := putHead(heads, e.name, e.headState); err != nil {
			return nil, err
		}
	}
	for _, e := range sl.docs {
		if err := putDoc(docs, e.at, e.docState); err != nil {
			return nil, err
		}
	}
	if done, err = s.ids.flush(tx, sl.to.seq); err != nil {
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
				if len(m) == 0 {
					delete(s.docs, d.at.Stream)
				}
			}
		}
	}
	s.lag.drop(len(sl.items))
}
