package store

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// catchUp folds the log from the checkpoint to its end into the overlays, and fills the tail. It is the last step of
// Open; nobody else sees the store yet.
func (s *Store) catchUp(tx *bolt.Tx) error {
	c := logBucket{tx.Bucket(bucketLog), s.waiting}.cursor()
	f := logFolder{s: s, tx: tx}
	if err := f.begin(&c); err != nil {
		return err
	}
	for seq, v := c.seek(s.ckpt.seq + 1); v != nil; seq, v = c.next() {
		if err := f.event(seq, v); err != nil {
			return err
		}
	}
	f.endRun()
	s.head.Store(uint64(f.prev.Seq))
	s.lastCRC, s.lastAt = f.crc, f.prev.At
	return s.warmTail(&c)
}

// logFolder takes records of the log, in order, into the overlays.
type logFolder struct {
	s     *Store
	tx    *bolt.Tx
	prev  record // the record before
	crc   uint32 // what the next record must be chained to
	run   []Event
	bytes int
	ids   []idEntry
}

// begin finds the record at the checkpoint: the next one is chained to it.
func (f *logFolder) begin(c *logCursor) error {
	s := f.s
	f.crc = s.floor.crc
	f.prev.Seq, f.prev.At, f.prev.ID = s.floor.seq, s.floor.at, s.floor.id
	if s.ckpt.seq < s.floor.seq {
		return corruptView("meta: checkpoint %d is below the floor %d", s.ckpt.seq, s.floor.seq)
	}
	if s.ckpt.seq == s.floor.seq {
		return nil
	}
	seq, v := c.seek(s.ckpt.seq)
	if v == nil || seq != s.ckpt.seq {
		return &CorruptError{Seq: s.ckpt.seq, Err: errors.New("the event at the checkpoint is missing")}
	}
	if err := parseRecord(s.ckpt.seq, v, &f.prev); err != nil {
		return err
	}
	f.crc = f.prev.chain()
	return nil
}

const foldRun = 1024

func (f *logFolder) event(seq Seq, v []byte) error {
	var r record
	if err := parseRecord(seq, v, &r); err != nil {
		return err
	}
	if err := f.linked(&r); err != nil {
		return err
	}
	r.clone()
	if err := f.fold(&r, len(v)); err != nil {
		return err
	}
	f.prev, f.crc = r, r.chain()
	f.run = append(f.run, r.Event)
	f.bytes += len(v) + eventOverhead
	if len(f.run) == foldRun {
		f.endRun()
	}
	return nil
}

// linked checks the record's place behind the one before it.
func (f *logFolder) linked(r *record) error {
	switch {
	case !f.s.identity.sparse && r.Seq != f.prev.Seq+1:
		return &CorruptError{Seq: f.prev.Seq + 1, Err: errors.New("the event is missing")}
	case r.PrevCRC != f.crc:
		return &CorruptError{Seq: r.Seq, Err: errors.New("it does not follow the event before it")}
	case r.At < f.prev.At:
		return &CorruptError{Seq: r.Seq, Err: fmt.Errorf("its time %d is before %d", r.At, f.prev.At)}
	}
	return nil
}

// fold takes one event into the overlays, unless the entries' buckets contain it already.
func (f *logFolder) fold(r *record, size int) error {
	s := f.s
	g := group{s: s, tx: f.tx}
	h := g.loadHead(r.Stream)
	if h.last < r.Seq {
		h.advance(r.Seq)
	}
	item := lagItem{seq: r.Seq, size: int32(size), head: s.headOverlay(h)}
	if r.Key != "" {
		d := g.loadDoc(DocKey{Stream: r.Stream, Key: r.Key})
		if g.err == nil {
			g.fetch(d)
		}
		if d.seq < r.Seq {
			if _, err := d.apply(r.Seq, r.Op, r.Data, maxDoc, nil); err != nil {
				return &CorruptError{Seq: r.Seq, Err: err}
			}
		}
		item.doc = s.docOverlay(d)
	}
	if g.err != nil {
		return g.err
	}
	s.lag.push(item)
	s.logBytes += int64(size)
	f.ids = append(f.ids, idEntry{ID: r.ID, Seq: r.Seq, FP: r.fingerprint()})
	return nil
}

// maxDoc: what was accepted once is never refused by a fold, whatever the limit is now.
const maxDoc = 1 << 40

func (f *logFolder) endRun() {
	if len(f.run) == 0 {
		return
	}
	f.s.tail.add(f.run, f.bytes)
	f.s.ids.add(f.ids)
	f.run, f.bytes, f.ids = nil, 0, nil
}

// warmRecords is how many records below the checkpoint are read into an empty tail: enough for the ordinary short
// disconnect over a restart, and read in a few milliseconds.
const warmRecords = 4096

// warmTail puts events below the checkpoint in front of those above it.
func (s *Store) warmTail(c *logCursor) error {
	if above := s.lag.pending(); len(above) > 0 && s.tail.runs[0].first() != above[0].seq {
		return nil // the tail was too small for those above: what came in front of it would leave a hole
	}
	var run []Event
	bytes := 0
	back := c.prev
	if _, v := c.seek(s.ckpt.seq + 1); v == nil {
		back = c.last
	}
	seq, v := back()
	for ; v != nil && len(run) < warmRecords && s.tail.bytes+bytes < s.tail.limit/2; seq, v = c.prev() {
		var r record
		if err := parseRecord(seq, v, &r); err != nil {
			return err
		}
		r.clone()
		run = append(run, r.Event)
		bytes += len(v) + eventOverhead
	}
	if len(run) == 0 {
		return nil
	}
	for i, j := 0, len(run)-1; i < j; i, j = i+1, j-1 {
		run[i], run[j] = run[j], run[i]
	}
	s.tail.runs = append([]tailRun{newTailRun(run, bytes)}, s.tail.runs...)
	s.tail.bytes += bytes
	return nil
}
