package store

import (
	"math/bits"
	"slices"

	bolt "go.etcd.io/bbolt"
)

const (
	mergeRuns  = 8
	tierIDs    = 1 << 15   // runs up to here are tier 0; each tier above holds runs up to eight times as long
	mergeSlice = 512 << 10 // bytes put in one transaction
	reapValues = 16        // values deleted in one transaction: about 1 MiB
)

// idMerge makes one run of eight. Its steps alternate: read prepares a slice outside of any write transaction, write puts
// it into one. A crash in between leaves a run that is not in the directory; the next open finds and reap deletes it.
type idMerge struct {
	x      *idIndex
	inputs []*idRun
	from   []*idCursor
	b      *runBuilder

	lead    *idCursor // that the last entry came from
	row     int       // how many came from it in a row
	bounded bool      // below bound, the next ones are its, too
	bound   *idEntry  // nil: the others are at their ends
}

// tier of a run: 0 up to tierIDs ids, 1 up to eight times as many, and so on.
func (r *idRun) tier() int { return (bits.Len64((r.count-1)/tierIDs) + 2) / 3 }

// merge returns the next merge to do, nil when there is none or one is under way. A merge that fails for what it reads is not
// tried again before the next open.
func (x *idIndex) merge() *idMerge {
	in := pickRuns(x.runs.Load().list)
	if in == nil || !x.merging.CompareAndSwap(false, true) {
		return nil
	}
	m := &idMerge{x: x, inputs: in}
	var n uint64
	for _, r := range in {
		n += r.count
		m.from = append(m.from, &idCursor{run: r})
	}
	m.b = newRunBuilder(x.nextRun.Add(1)-1, x.seed, n)
	return m
}

// pickRuns chooses the oldest eight runs of the lowest tier that has so many.
func pickRuns(list []*idRun) []*idRun {
	tiers := map[int][]*idRun{}
	best := -1
	for _, r := range list {
		t := r.tier()
		if tiers[t] = append(tiers[t], r); len(tiers[t]) >= mergeRuns && (best < 0 || t < best) {
			best = t
		}
	}
	if best < 0 {
		return nil
	}
	return tiers[best][:mergeRuns]
}

// read prepares the next slice. It reads one chunk per transaction.
func (m *idMerge) read(view idView) error {
	for !m.b.done && len(m.b.out)*chunkIDs*24 < mergeSlice {
		e, err := m.take(view)
		if err != nil {
			return err
		}
		if e == nil {
			m.b.finish()
			break
		}
		m.b.add(*e)
	}
	return nil
}

// take returns the lowest entry of all inputs; of equal ids, the one that was first in the log.
func (m *idMerge) take(view idView) (low *idEntry, err error) {
	if m.bounded {
		e, err := m.lead.peek(view)
		if err != nil {
			return nil, err
		}
		if e != nil && (m.bound == nil || compareID(&e.ID, &m.bound.ID) < 0) {
			m.lead.pos++
			return e, nil
		}
		m.bounded = false
	}
	var at *idCursor
	for _, c := range m.from {
		e, err := c.peek(view)
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		d := -1
		if low != nil {
			d = compareID(&e.ID, &low.ID)
		}
		switch {
		case d < 0 || d == 0 && e.Seq < low.Seq:
			if d == 0 {
				at.pos++
			}
			low, at = e, c
		case d == 0:
			c.pos++
		}
	}
	if at != nil {
		at.pos++
	}
	return low, m.follow(at, view)
}

// leadRow is how many entries in a row come from one input before it is taken for one that goes on so. Random ids seldom do.
const leadRow = 4

// follow is told which input the last entry came from. Runs of time-ordered ids hardly overlap: below where the others stand, the
// next entries are that input's, and need no comparison with each of them.
func (m *idMerge) follow(at *idCursor, view idView) error {
	if at != m.lead {
		m.lead, m.row = at, 0
	}
	if m.row++; at == nil || m.row < leadRow {
		return nil
	}
	m.bounded, m.bound = true, nil
	for _, c := range m.from {
		if c == at {
			continue
		}
		e, err := c.peek(view)
		if err != nil {
			return err
		}
		if e != nil && (m.bound == nil || compareID(&e.ID, &m.bound.ID) < 0) {
			m.bound = e
		}
	}
	return nil
}

// write puts the slice into the writer's transaction. more is false when it was the last one: then the transaction also
// makes the new run live, in the place of the old ones.
func (m *idMerge) write(tx *bolt.Tx) (commit func(), more bool, err error) {
	n, err := m.b.write(tx, mergeSlice)
	if err != nil {
		return nil, false, err
	}
	if m.b.pending(n) {
		return func() { m.b.wrote(n) }, true, nil
	}
	err = m.x.editDir(tx, func(d *idDir) { d.runs = m.replace(d.runs) })
	return m.publish, false, err
}

// publish makes the new run live in memory. Its filter stays in the file until it is asked, which with time-ordered ids it
// may never be.
func (m *idMerge) publish() {
	m.b.run.filter.init(m.b.run.filter.blocks)
	m.x.runs.Store(newIDRuns(m.replace(m.x.runs.Load().list)))
	for _, r := range m.inputs {
		m.x.dead = append(m.x.dead, r.id)
	}
	m.x.merging.Store(false)
}

// giveUp leaves the inputs as they are, and what was written of the new run to be deleted.
func (m *idMerge) giveUp() {
	m.x.dead = append(m.x.dead, m.b.run.id)
	m.x.merging.Store(false)
}

// replace returns a list of runs with the new one in the place of the inputs.
func (m *idMerge) replace(list []*idRun) (out []*idRun) {
	for _, r := range list {
		switch slices.IndexFunc(m.inputs, func(in *idRun) bool { return in.id == r.id }) {
		case -1:
			out = append(out, r)
		case 0:
			out = append(out, m.b.run)
		}
	}
	return out
}

// reap deletes a slice of what is no longer live. more tells whether there is more to delete.
func (x *idIndex) reap(tx *bolt.Tx) (commit func(), more bool, err error) {
	if len(x.dead) == 0 || x.pins.Load() > 0 {
		return func() {}, false, nil
	}
	top, err := idsBucket(tx)
	if err != nil {
		return nil, false, err
	}
	empty, err := reapRun(top, runKey(x.dead[0]))
	if err != nil || !empty {
		return func() {}, true, err
	}
	return func() { x.dead = x.dead[1:] }, len(x.dead) > 1, nil
}

// reapRun deletes some values of a run, and the run when none is left.
func reapRun(top *bolt.Bucket, key []byte) (empty bool, err error) {
	b := top.Bucket(key)
	if b == nil {
		return true, nil
	}
	c := b.Cursor()
	k, _ := c.First()
	for n := 0; k != nil && n < reapValues; n++ {
		if err := c.Delete(); err != nil {
			return false, err
		}
		k, _ = c.First()
	}
	if k != nil {
		return false, nil
	}
	return true, top.DeleteBucket(key)
}
