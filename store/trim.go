package store

import (
	"context"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Bounds of trimming.
const (
	trimEvents = 1000             // about how many events a step removes, so that what waits between two steps waits a few ms at the most
	trimBytes  = 8 << 20          // the same in bytes of records, and of documents that they change
	trimWait   = 30 * time.Second // longest time that a snapshot being read holds trimming up; several together: twice that
	slackBytes = 1 << 20          // what the log may be above its retention before the views are flushed for its sake
	clockLag   = time.Minute      // how far the clock may be behind the newest event before trimming by age stops
)

// trimGoal says what is to go: events up to a seq, and beyond that as many as make a number of bytes. Unless exact, what shares a
// long leaf of the log with an event that stays is left for later.
type trimGoal struct {
	to    Seq
	bytes int64
	exact bool
	cheap bool // only where the log is cut at little cost, however far that is
}

// Trim removes the events up to a seq from the log, in steps between commits: documents, heads and ids stay. It never goes
// beyond the checkpoint or what KeepAfter lets go, nor into an atomic push: what it cannot remove yet it leaves.
func (s *Store) Trim(ctx context.Context, to Seq) error {
	for {
		var more bool
		err := s.onWriter(ctx, func() (err error) {
			s.flushTo(to)
			more, err = s.trimStep(trimGoal{to: to, exact: true})
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

// retain finds out anew what the retention lets go, and removes a step's worth of it; trimMore goes on. Behind each group retainBehind
// removes more, so that retention keeps up with any load.
func (s *Store) retain() {
	if !s.opts.Retention.enabled() || s.failure() != nil {
		return
	}
	why := s.clockSuspect()
	s.suspect.Store(&why)
	if r := s.opts.Retention; r.Age > 0 && why == "" {
		seq, err := s.olderThan(s.opts.now().Add(-r.Age).UnixMilli())
		if err != nil {
			s.opts.Logger.Error("retention could not read the log", "err", err)
			return
		}
		s.agedTo = seq
	}
	s.trimMore()
}

// trimMore removes a step's worth, and has the writer come again when there is more: what else waits for it gets its turn in between.
func (s *Store) trimMore() {
	if s.retainStep(true) && s.queue.empty() {
		select {
		case s.trimAgain <- struct{}{}:
		default:
		}
	}
}

// retainBehind removes, behind a group that has added so much, what the retention lets go: a step's worth, and more until twice its events
// and as many bytes are gone.
func (s *Store) retainBehind(added logSize) {
	before := s.logSize()
	for s.retainStep(false) {
		if gone := before.minus(s.logSize()); gone.seqs >= 2*added.seqs && gone.bytes >= added.bytes {
			return
		}
	}
}

// logSize is how large a log is, or a part of it.
type logSize struct{ seqs, bytes int64 }

func (a logSize) minus(b logSize) logSize { return logSize{a.seqs - b.seqs, a.bytes - b.bytes} }

func (s *Store) logSize() logSize {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return logSize{int64(s.Head() - s.floor.seq), s.logBytes}
}

// retainStep removes a step's worth of what the retention lets go; false: there is no more. A full disk does not end it: what
// is trimmed leaves free pages in the file, and a step needs only a few of them. When there are none it is tried again later.
// Behind each commit it leaves what would cut a long leaf; retain, four times a second, does not.
func (s *Store) retainStep(exact bool) bool {
	r := s.opts.Retention
	if !r.enabled() || s.failure() != nil || s.opts.now().Before(s.trimCheck) {
		return false
	}
	s.mu.RLock()
	floor, ckpt, size := s.floor.seq, s.ckpt.seq, s.logBytes
	s.mu.RUnlock()
	goal := trimGoal{to: s.agedTo, exact: exact}
	if head := s.Head(); r.Count > 0 && uint64(head) > r.Count {
		goal.to = max(goal.to, head-Seq(r.Count))
	}
	if r.Bytes > 0 && size > r.Bytes {
		goal.bytes = size - r.Bytes
	}
	if goal.to <= floor && goal.bytes == 0 {
		return false
	}
	if ckpt <= floor {
		s.flushForRetention()
		return false
	}
	full := s.refuse.Load() != nil
	more, err := s.trimStep(goal)
	switch {
	case errors.Is(err, errNoRoom):
		s.trimCheck = s.opts.now().Add(roomRetry)
	case err == nil && full && s.Floor() > floor:
		s.counters.trimsFull.Add(1)
	}
	if err != nil && err != errNoRoom && s.failure() == nil {
		s.opts.Logger.Error("retention could not trim the log", "err", err)
	}
	if err == nil {
		s.flushForRetention()
	}
	return more && err == nil
}

// flushForRetention starts a slice of the views when they lack more than the retention is to keep: trimming never passes the checkpoint.
func (s *Store) flushForRetention() {
	if s.lagKept(1) || s.agedTo > s.checkpointSeq() {
		s.counters.retentionFlushes.Add(1)
		s.startFlush()
	}
}

// lagKept reports whether the views lack so many times what the retention is to keep, and a quarter.
func (s *Store) lagKept(times int64) bool {
	r := s.opts.Retention
	s.mu.RLock()
	events, bytes := uint64(int64(s.lag.len())/times), s.lag.bytes/times
	s.mu.RUnlock()
	return r.Bytes > 0 && bytes-r.Bytes > max(r.Bytes/4, slackBytes) ||
		r.Count > 0 && events > r.Count && events-r.Count > max(r.Count/4, trimEvents)
}

// olderThan returns the seq of the newest event from before a time; 0: none. Times never run backwards along the log.
func (s *Store) olderThan(at int64) (seq Seq, err error) {
	low, high := s.Floor(), s.Head()
	err = s.viewLog(func(_ *bolt.Tx, log logBucket) error {
		c := log.cursor()
		for low < high {
			mid := low + (high-low+1)/2
			found, v := c.seek(mid)
			var rec record
			if v == nil {
				high = mid - 1
				continue
			}
			if err := parseRecord(found, v, &rec); err != nil {
				return err
			}
			if rec.At < at {
				low, seq = max(mid, min(found, high)), found
			} else {
				high = mid - 1
			}
		}
		return nil
	})
	return seq, err
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
func (s *Store) trimStep(goal trimGoal) (more bool, err error) {
	if s.flushing != nil { // it holds floors as they were
		s.flushSlice()
	}
	s.mu.RLock()
	from, ckpt, copying := s.floor, s.ckpt, s.copies > 0
	most := s.trimMost()
	limit, patient := s.trimLimit(most)
	s.mu.RUnlock()
	if most <= from.seq {
		s.held(false)
		return false, nil
	}
	if copying || limit <= from.seq {
		s.held(!copying)
		s.counters.trimsHeld.Add(1)
		return false, nil
	}
	want := min(goal.to, most)
	goal.to = min(want, limit)
	if goal.to <= from.seq && goal.bytes == 0 {
		return false, nil
	}
	var t trimmer
	for {
		t = trimmer{s: s, floor: from, heads: make(map[Stream]*headState), docs: make(map[DocKey]*docState)}
		err = s.maintain(func(tx *bolt.Tx) error { return t.run(tx, goal, limit, ckpt) })
		if !errors.Is(err, errNoRoom) || !t.inLeaf {
			break
		}
		goal.cheap = true
	}
	switch {
	case errors.Is(err, errNothing):
		if goal.cheap {
			return false, errNoRoom
		}
		return false, nil
	case errors.Is(err, errNoRoom):
		s.stepEvents = max(s.stepEvents/2, trimEvents/64)
		s.noRoom(&Refusal{Code: CodeReadOnly, Message: "the disk is full"})
		return false, err
	case err != nil:
		return false, err
	}
	s.stepEvents = min(2*s.stepEvents, trimEvents)
	s.trimmed(&t)
	short := t.floor.seq < want || t.bytes < goal.bytes
	if patient || !short {
		s.held(short && limit < most)
	}
	return t.floor.seq < goal.to || t.bytes < goal.bytes, nil
}

// trimMost is how far trimming may go at the most: to the checkpoint, and to where KeepAfter wants the rest, unless there has been no
// room for it to go on. s.mu is held.
func (s *Store) trimMost() Seq {
	if s.refuse.Load() != nil && s.opts.now().Sub(s.keep.since) >= 2*trimWait {
		return s.ckpt.seq
	}
	return min(s.ckpt.seq, s.keep.after)
}

// trimLimit is how far trimming may go now: to most, and, while it is patient, not beyond what a snapshot still needs. s.mu is held.
func (s *Store) trimLimit(most Seq) (limit Seq, patient bool) {
	limit, now := most, s.opts.now()
	if !s.heldAt.IsZero() && now.Sub(s.heldAt) >= 2*trimWait {
		return limit, false
	}
	for h := range s.holds {
		if h.after >= s.floor.seq && now.Sub(h.since) < trimWait { // else it came too late, or takes too long
			limit = min(limit, h.after)
		}
	}
	return limit, true
}

// held notes whether snapshots keep trimming from its goal. However many follow each other: after twice trimWait it goes there.
func (s *Store) held(now bool) {
	if !now {
		s.heldAt = time.Time{}
	} else if s.heldAt.IsZero() {
		s.heldAt = s.opts.now()
	}
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
	if t.cut {
		s.counters.batchesCut.Add(1)
	}
}

// errNothing: there is nothing to trim.
var errNothing = errors.New("store: nothing to trim")

// trimmer is one step of trimming.
type trimmer struct {
	s      *Store
	floor  floorMark // where the step has come to
	heads  map[Stream]*headState
	docs   map[DocKey]*docState
	bytes  int64
	events int
	loaded int  // bytes of records and documents that were looked at
	to     Seq  // where the step ends
	most   Seq  // where it ends at the latest, if it is inside an atomic push there
	inLeaf bool // where much is written anew
	cut    bool // inside a batch of records
}

func (t *trimmer) run(tx *bolt.Tx, goal trimGoal, limit Seq, ckpt checkpoint) error {
	t.step(tx, goal, limit)
	if err := t.collect(tx); err != nil {
		return err
	}
	if t.events == 0 {
		return errNothing
	}
	cut, err := logOf(tx).dropTo(t.floor.seq)
	if err != nil {
		return err
	}
	t.cut = cut
	if err := t.writeBase(tx); err != nil {
		return err
	}
	if err := putFloor(tx, t.floor); err != nil {
		return err
	}
	ckpt.bytes -= t.bytes
	return putCheckpoint(tx, ckpt)
}

// step finds out where the step ends: best where the log is cut at little cost, behind a push. Where there is no such place, the cut is
// dear (inLeaf), unless what is left of the goal lies within one leaf and can wait.
func (t *trimmer) step(tx *bolt.Tx, goal trimGoal, limit Seq) {
	log, long := logOf(tx), longPages*tx.DB().Info().PageSize
	var all bool
	t.to, all = t.reach(log, goal, limit)
	t.most = limit
	if goal.bytes == 0 {
		t.most = min(goal.to, limit)
	}
	whole := log.wholeLeaves(t.to, long)
	oneLeaf := whole <= t.floor.seq
	for ; whole > t.floor.seq; whole = log.wholeLeaves(whole-1, long) {
		if log.endsPush(whole) {
			t.to = whole
			return
		}
	}
	if goal.cheap {
		t.to = log.nextLeaf(t.to, t.most)
		return
	}
	if t.inLeaf = true; all && oneLeaf && !goal.exact {
		t.to = 0
	}
}

// reach is how far a step would come that does not mind where it ends: to an event, and whether that is all of the goal.
func (t *trimmer) reach(log logBucket, goal trimGoal, limit Seq) (to Seq, all bool) {
	events, size := 0, int64(0)
	c := log.b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if events >= t.s.stepEvents || size >= trimBytes {
			return to, false
		}
		e := parseEntry(k, v)
		for i := range e.n {
			seq := e.first + Seq(i)
			if seq > limit || seq > goal.to && size >= goal.bytes {
				return to, true
			}
			to, events, size = seq, events+1, size+int64(len(e.record(i)))
		}
	}
	return to, true
}

// collect folds the step's events into base states. An atomic push is taken whole or not at all: what is read of one that
// does not end within the step is left for the next, unless it is all that there is.
func (t *trimmer) collect(tx *bolt.Tx) error {
	c := logOf(tx).cursor()
	var push []record
	var size int64
	for seq, v := c.first(); v != nil && (seq <= t.to || t.events == 0 && len(push) > 0 && seq <= t.most); seq, v = c.next() {
		var rec record
		if err := parseRecord(seq, v, &rec); err != nil {
			return err
		}
		push, size = append(push, rec), size+int64(len(v))
		if rec.Flags.Has(FlagMore) {
			continue
		}
		for i := range push {
			if err := t.fold(tx, &push[i]); err != nil {
				return err
			}
		}
		t.bytes += size
		push, size = push[:0], 0
		if t.loaded >= trimBytes {
			break
		}
	}
	return nil
}

func (t *trimmer) fold(tx *bolt.Tx, r *record) error {
	t.events++
	t.loaded += len(r.Data)
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
		t.loaded += len(st.data)
		t.docs[DocKey{Stream: Stream(cloneString(string(r.Stream))), Key: cloneString(r.Key)}] = d
	}
	if _, err := d.apply(r.Seq, r.Op, r.Data, maxDoc, nil); err != nil {
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
