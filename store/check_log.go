package store

import (
	"errors"

	bolt "go.etcd.io/bbolt"
)

// logWalk is where walking the log has come to.
type logWalk struct {
	c       *checker
	prev    record // the record before
	crc     uint32 // what the next record must repeat
	crcKnow bool   // false behind a gap or a damaged record: one problem is not told twice
	bytes   int64
}

// walkLog looks at every record, and folds streams and keys on the way.
func (c *checker) walkLog() error {
	w := logWalk{c: c, crc: c.floor.crc, crcKnow: true}
	w.prev.Seq, w.prev.At = c.floor.seq, c.floor.at
	if err := c.each(bucketLog, w.entry); err != nil {
		return err
	}
	for _, r := range c.log.behind {
		w.record(r.seq, r.v)
	}
	if w.prev.Flags.Has(FlagMore) {
		c.problem(CheckPush, w.prev.Seq, "the atomic push does not end")
	}
	if w.bytes != c.ckpt.bytes {
		c.problem(CheckCheckpoint, 0, "the log has %d bytes up to it, not %d", w.bytes, c.ckpt.bytes)
	}
	return nil
}

func (w *logWalk) entry(k, v []byte) {
	if len(k) != 8 {
		w.c.problem(CheckSeq, 0, "key %x", k)
		return
	}
	e := parseEntry(k, v)
	for i := range e.n {
		w.record(e.first+Seq(i), e.record(i))
	}
}

func (w *logWalk) record(seq Seq, v []byte) {
	c := w.c
	if seq <= c.ckpt.seq {
		w.bytes += int64(len(v))
	}
	c.report.Events++
	w.place(seq)
	var r record
	if err := parseRecord(seq, v, &r); err != nil {
		c.problem(CheckRecord, seq, "%v", errors.Unwrap(err))
		w.crcKnow = false
		if parseRecord(seq, resealed(seq, v), &r) != nil {
			w.prev.Seq, w.prev.Flags = seq, 0
			return // whatever links to it will be reported, too
		}
		w.links(&r)
		w.prev, w.prev.At = r, max(r.At, w.prev.At)
		return
	}
	if w.crcKnow && r.PrevCRC != w.crc {
		c.problem(CheckChain, seq, "it does not follow the event before it")
	}
	if r.At < w.prev.At {
		c.problem(CheckTime, seq, "its time %d is before %d", r.At, w.prev.At)
	}
	w.links(&r)
	w.id(&r)
	c.shape(&r)
	c.report.HeadID = r.ID
	w.prev, w.crc, w.crcKnow = r, r.chain(), true
	w.prev.At = max(r.At, w.prev.At)
}

// place checks that seq comes after the record before.
func (w *logWalk) place(seq Seq) {
	if seq <= w.c.floor.seq {
		w.c.problem(CheckFloor, seq, "it is not above the floor %d", w.c.floor.seq)
		return
	}
	if seq == w.prev.Seq+1 {
		return
	}
	if w.prev.Flags.Has(FlagMore) {
		w.c.problem(CheckPush, w.prev.Seq, "the atomic push is cut")
	}
	if !w.c.identity.sparse {
		w.c.problem(CheckSeq, w.prev.Seq+1, "the event is missing")
		w.crcKnow = false
	}
}

// links checks prev, skips and kprev, and folds the event into its stream and key.
func (w *logWalk) links(r *record) {
	c := w.c
	s := c.stream(r.Stream)
	if r.Prev != s.cur.last {
		c.problem(CheckPrev, r.Seq, "prev is %d, the stream's last event was %d", r.Prev, s.cur.last)
	}
	skip1, skip2 := s.cur.advance(r.Seq)
	if r.Skip1 != skip1 || r.Skip2 != skip2 {
		c.problem(CheckSkip, r.Seq, "skips are %d and %d, not %d and %d", r.Skip1, r.Skip2, skip1, skip2)
	}
	s.match(c)
	if s.listed && s.entry.last < r.Seq && r.Seq <= c.ckpt.seq || !s.listed && r.Seq <= c.ckpt.seq {
		c.problem(CheckHeads, r.Seq, "the checkpoint %d is above it, but the entry of stream %q is not", c.ckpt.seq, r.Stream)
	}
	if r.Key == "" {
		return
	}
	k := c.key(r.Stream, r.Key)
	if r.KPrev != k.last {
		c.problem(CheckKPrev, r.Seq, "kprev is %d, the key's last event was %d", r.KPrev, k.last)
	}
	k.last = r.Seq
	k.matched = k.matched || k.entry == r.Seq
	if k.entry < r.Seq && r.Seq <= c.ckpt.seq {
		c.problem(CheckDocs, r.Seq, "the checkpoint %d is above it, but the entry of key %q is not", c.ckpt.seq, r.Key)
	}
}

// id looks the event up by its id, as every push does.
func (w *logWalk) id(r *record) {
	c := w.c
	if c.ids == nil || r.Seq > c.ckpt.seq || r.Flags.Has(FlagStub) {
		return
	}
	e, ok, err := c.ids.lookup(c.view, r.ID)
	switch {
	case err != nil:
		c.problem(CheckIDs, r.Seq, "%v", err)
	case !ok:
		c.problem(CheckIDs, r.Seq, "its id is not known")
	case e.Seq != r.Seq:
		c.problem(CheckIDs, r.Seq, "its id leads to event %d", e.Seq)
	default:
		if fp := r.fingerprint(); fp != e.FP {
			c.problem(CheckIDs, r.Seq, "its fingerprint is another")
		}
	}
}

// view reads in the check's own transaction.
func (c *checker) view(fn func(*bolt.Tx) error) error { return fn(c.tx) }

// shape checks what no mutation could have brought into the log.
func (c *checker) shape(r *record) {
	if r.Flags.Has(FlagStub) {
		return
	}
	m := Mutation{ID: r.ID, Stream: r.Stream, Type: r.Type, Key: r.Key, Op: r.Op, Data: r.Data, Bytes: r.Flags.Has(FlagBytes)}
	if refusal := m.Refusal(&Limits{Data: maxDoc, Doc: maxDoc}); refusal != nil {
		c.problem(CheckShape, r.Seq, "%s", refusal.Message)
	}
	if r.Flags.Has(FlagControl) != r.Stream.Reserved() {
		c.problem(CheckShape, r.Seq, "stream %q does not go with flags %b", r.Stream, r.Flags)
	}
	if r.Data == nil || m.Bytes {
		return
	}
	if out, rest, err := CompactValue(nil, r.Data); err != nil || len(rest) > 0 || len(out) != len(r.Data) {
		c.problem(CheckShape, r.Seq, "data is not compact JSON: %v", err)
	}
}

// compareIDs walks the runs: none may know an id that no event has, or hide one behind its filter.
func (c *checker) compareIDs() error {
	if c.ids == nil {
		return nil
	}
	trimmed := uint64(0)
	for _, run := range c.ids.runs.Load().list {
		err := walkRun(run, c.view, func(e idEntry) error {
			c.report.IDs++
			if e.Seq <= c.floor.seq {
				trimmed++
			}
			c.filter(run, e)
			c.entry(e)
			return c.step()
		})
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		if err != nil {
			c.problem(CheckIDs, 0, "%v", err)
		}
	}
	if !c.identity.sparse && trimmed != uint64(c.floor.seq) {
		c.problem(CheckIDs, 0, "%d ids of the %d events that were trimmed", trimmed, c.floor.seq)
	}
	c.floorID()
	return nil
}

// entry checks that the log has the entry's event.
func (c *checker) entry(e idEntry) {
	if e.Seq > c.ckpt.seq || e.Seq == 0 {
		c.problem(CheckIDs, e.Seq, "the id %s is of an event above the checkpoint %d", e.ID, c.ckpt.seq)
		return
	}
	if e.Seq <= c.floor.seq {
		return
	}
	// walkLog has found each event's id at its place, so an entry is wrong only if its event has another id.
	if id, ok := peekID(c.log.get(e.Seq)); !ok || id != e.ID {
		c.problem(CheckIDs, e.Seq, "the id %s is not its id", e.ID)
	}
}

// peekID returns the id of a record without checking anything but lengths.
func peekID(b []byte) (ID, bool) {
	if len(b) < 4+recordMin {
		return ID{}, false
	}
	d := decoder{b: b[3:]}
	d.uvarint()
	for _, bit := range []byte{hasSkip1, hasSkip2} {
		if b[2]&bit != 0 {
			d.uvarint()
		}
	}
	return d.id(), !d.bad
}

// filter checks that the run's filter lets the entry be found.
func (c *checker) filter(run *idRun, e idEntry) {
	hi, lo := idWords(e.ID)
	h := idHash(c.ids.seed, hi, lo)
	may := run.filter.may(h)
	if run.filter.unread(h) {
		var err error
		if may, err = run.askFile(c.view, h); err != nil {
			c.problem(CheckFilter, e.Seq, "%v", err)
			return
		}
	}
	if !may {
		c.problem(CheckFilter, e.Seq, "run %d denies the id %s", run.id, e.ID)
	}
}

// floorID checks that the floor's event, which is no longer in the log, is known by its id.
func (c *checker) floorID() {
	if c.floor.seq == 0 {
		return
	}
	if e, ok, err := c.ids.lookup(c.view, c.floor.id); err != nil || !ok || e.Seq != c.floor.seq {
		c.problem(CheckFloor, c.floor.seq, "the id %s leads to event %d (%v)", c.floor.id, e.Seq, err)
	}
}
