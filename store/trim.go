package store

import (
	"context"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Bounds of trimming.
const (
	trimEvents  = 1000             // most events of one step, so that commits between steps wait a few ms at the most
	trimWait    = 30 * time.Second // longest time that a snapshot being read holds trimming up
	clockLag    = time.Minute      // how far the clock may be behind the newest event before trimming by age stops
	retainSteps = 4                // most steps at a time while pushes wait
)

// Trim removes the events up to a seq from the log, in steps between commits: documents, heads and ids stay. It never goes
// beyond the checkpoint or into an atomic push: what it cannot remove yet it leaves.
func (s *Store) Trim(ctx context.Context, to Seq) error {
	for {
		var more bool
		err := s.onWriter(ctx, func() (err error) {
			s.flushTo(to)
			more, err = s.trimStep(to)
			return err
		})
		if err != nil || !more {
			return err
		}
	}
}

// flushTo brings the checkpoint up to a seq where it can.
func (s *Store) flushTo(to Seq) {
	for s.failure() == nil && s.checkpointSeq() < to && s.flushSlice() {
	}
}

func (s *Store) checkpointSeq() Seq {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ckpt.seq
}

// retain trims what the retention does not keep.
func (s *Store) retain() {
	if !s.opts.Retention.enabled() || s.failure() != nil || s.refuse.Load() != nil {
		return
	}
	why := s.clockSuspect()
	s.suspect.Store(&why)
	for range retainSteps {
		to, err := s.retainTo()
		if err == nil && to > 0 {
			var more bool
			if more, err = s.trimStep(to); err == nil && more && s.queue.empty() {
				continue
			}
		}
		if err != nil && s.failure() == nil {
			s.opts.Logger.Error("retention could not trim the log", "err", err)
		}
		return
	}
}

// retainTo returns the seq up to which the retention lets events go, at most one step away; 0: none.
func (s *Store) retainTo() (to Seq, err error) {
	s.mu.RLock()
	floor, ckpt, bytes := s.floor.seq, s.ckpt.seq, s.logBytes
	s.mu.RUnlock()
	r := s.opts.Retention
	head := s.Head()
	oldest := s.opts.now().Add(-r.Age).UnixMilli()
	aging := r.Age > 0 && s.clockSuspect() == ""
	err = s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketLog).Cursor()
		n := 0
		for k, v := c.Seek(seqKey(floor + 1)); k != nil && n < trimEvents && keySeq(k) <= ckpt; k, v = c.Next() {
			var rec record
			if err := parseRecord(keySeq(k), v, &rec); err != nil {
				return err
			}
			keep := uint64(head - rec.Seq + 1)
			if !(r.Count > 0 && keep > r.Count || r.Bytes > 0 && bytes > r.Bytes || aging && rec.At < oldest) {
				return nil
			}
			to = rec.Seq
			bytes -= int64(len(v))
			n++
		}
		return nil
	})
	return to, err
}

// RetentionPaused says why the log is not trimmed by age at the moment, "" when it is.
func (s *Store) RetentionPaused() string {
	if p := s.suspect.Load(); p != nil && s.opts.Retention.Age > 0 {
		return *p
	}
	return ""
}

// clockSuspect says why the clock cannot be trusted with removing events by age; "": it can.
func (s *Store) clockSuspect() string {
	now := s.opts.now()
	if now.UnixMilli() < s.lastAt-clockLag.Milliseconds() {
		return "the clock is behind the newest event"
	}
	wall := now.Round(0).Sub(s.started.Round(0))
	if mono := now.Sub(s.started); wall-mono > clockLag {
		return "the clock jumped ahead"
	}
	return ""
}

// trimStep removes one bounded run of events up to a seq, folding them into the base, in one transaction. It reports
// whether there is more to remove.
func (s *Store) trimStep(to Seq) (more bool, err error) {
	if s.flushing != nil { // it holds floors as they were
		s.flushSlice()
	}
	s.mu.Lock()
	held := s.holds > 0
	if !held {
		s.heldAt = time.Time{}
	} else if s.heldAt.IsZero() {
		s.heldAt = s.opts.now()
	}
	wait := held && s.opts.now().Sub(s.heldAt) < trimWait
	limit := min(to, s.ckpt.seq)
	from, ckpt := s.floor, s.ckpt
	s.mu.Unlock()
	if wait {
		s.counters.trimsHeld.Add(1)
		return false, nil
	}
	if limit <= from.seq {
		return false, nil
	}
	t := trimmer{s: s, floor: from, heads: make(map[Stream]*headState), docs: make(map[DocKey]*docState)}
	err = s.update(func(tx *bolt.Tx) error { return t.run(tx, limit, ckpt) })
	switch {
	case errors.Is(err, errNothing):
		return false, nil
	case errors.Is(err, errNoRoom):
		s.noRoom(&Refusal{Code: CodeReadOnly, Message: "the disk is full"})
		return false, err
	case err != nil:
		return false, err
	}
	s.trimmed(&t)
	return t.floor.seq < limit, nil
}

// trimmed makes a committed step visible.
func (s *Store) trimmed(t *trimmer) {
	s.mu.Lock()
	s.floor = t.floor
	s.ckpt.bytes -= t.bytes
	s.logBytes -= t.bytes
	for name, base := range t.heads {
		if e := s.heads[name]; e != nil {
			e.floor = base.last
		}
	}
	s.tail.dropTo(t.floor.seq)
	s.mu.Unlock()
	s.counters.trims.Add(1)
	s.counters.trimmed.Add(int64(t.events))
}

// trimmer is one step of trimming.
type trimmer struct {
	s      *Store
	floor  floorMark // where the step has come to
	heads  map[Stream]*headState
	docs   map[DocKey]*docState
	bytes  int64
	events int
}

func (t *trimmer) run(tx *bolt.Tx, limit Seq, ckpt checkpoint) error {
	keys, err := t.collect(tx, limit)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return errNothing
	}
	log := tx.Bucket(bucketLog)
	for _, k := range keys {
		if err := log.Delete(k); err != nil {
			return err
		}
	}
	if err := t.writeBase(tx); err != nil {
		return err
	}
	if err := putFloor(tx, t.floor); err != nil {
		return err
	}
	ckpt.bytes -= t.bytes
	return putCheckpoint(tx, ckpt)
}

// collect folds the step's events into base states. An atomic push is taken whole or not at all: what is read of one that
// does not end within the step is left for the next.
func (t *trimmer) collect(tx *bolt.Tx, limit Seq) (keys [][]byte, err error) {
	c := tx.Bucket(bucketLog).Cursor()
	var push []record
	var size int64
	for k, v := c.First(); k != nil && keySeq(k) <= limit; k, v = c.Next() {
		var rec record
		if err := parseRecord(keySeq(k), v, &rec); err != nil {
			return nil, err
		}
		push, size = append(push, rec), size+int64(len(v))
		if rec.Flags.Has(FlagMore) {
			continue
		}
		for i := range push {
			if err := t.fold(tx, &push[i]); err != nil {
				return nil, err
			}
			keys = append(keys, seqKey(push[i].Seq))
		}
		t.bytes += size
		push, size = push[:0], 0
		if t.events >= trimEvents {
			break
		}
	}
	return keys, nil
}

func (t *trimmer) fold(tx *bolt.Tx, r *record) error {
	t.events++
	t.floor = floorMark{seq: r.Seq, crc: r.chain(), id: r.ID, at: r.At}
	h := t.heads[r.Stream]
	if h == nil {
		st, err := getHead(tx.Bucket(bucketBaseHeads), r.Stream)
		if err != nil {
			return err
		}
		h = &st
		t.heads[Stream(cloneString(string(r.Stream)))] = h
	}
	h.advance(r.Seq)
	h.floor = r.Seq
	if r.Key == "" {
		return nil
	}
	at := DocKey{Stream: r.Stream, Key: r.Key}
	d := t.docs[at]
	if d == nil {
		st, err := getDoc(tx.Bucket(bucketBaseDocs), at)
		if err != nil {
			return err
		}
		d = &st
		t.docs[DocKey{Stream: Stream(cloneString(string(r.Stream))), Key: cloneString(r.Key)}] = d
	}
	if _, err := d.apply(r.Seq, r.Op, r.Data, maxDoc); err != nil {
		return &CorruptError{Seq: r.Seq, Err: err}
	}
	return nil
}

// writeBase writes the folded states, and the streams' new floors into the heads view.
func (t *trimmer) writeBase(tx *bolt.Tx) error {
	base, heads, docs := tx.Bucket(bucketBaseHeads), tx.Bucket(bucketHeads), tx.Bucket(bucketBaseDocs)
	for name, h := range t.heads {
		if err := putHead(base, name, *h); err != nil {
			return err
		}
		now, err := getHead(heads, name)
		if err != nil {
			return err
		}
		now.floor = h.last
		if err := putHead(heads, name, now); err != nil {
			return err
		}
	}
	for at, d := range t.docs {
		if err := putDoc(docs, at, *d); err != nil {
			return err
		}
	}
	return nil
}
