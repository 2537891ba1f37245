package store

import (
	bolt "go.etcd.io/bbolt"
)

// walk calls fn for every entry that is in a run: run by run, in each by id. It checks that every run is whole. What is merged
// meanwhile is not deleted before the walk ends.
func (x *idIndex) walk(view idView, fn func(idEntry) error) error {
	x.pins.Add(1)
	defer x.pins.Add(-1)
	for _, r := range x.runs.Load().list {
		if err := walkRun(r, view, fn); err != nil {
			return err
		}
	}
	return nil
}

func walkRun(r *idRun, view idView, fn func(idEntry) error) error {
	c := &idCursor{run: r}
	for {
		e, err := c.peek(view)
		if e == nil || err != nil {
			return err
		}
		if err := fn(*e); err != nil {
			return err
		}
		c.pos++
	}
}

// copyFrom fills an empty index with the entries of src's runs whose seqs are at most upTo, in transactions of about 1 MiB.
// view reads src's file; update writes x's, where nobody else is at work.
func (x *idIndex) copyFrom(src *idIndex, view idView, upTo Seq, update func(func(*bolt.Tx) error) error) error {
	src.pins.Add(1)
	defer src.pins.Add(-1)
	for _, r := range src.runs.Load().list {
		if r.minSeq > upTo {
			continue
		}
		if err := x.copyRun(r, view, upTo, update); err != nil {
			return err
		}
	}
	x.through = upTo
	return update(func(tx *bolt.Tx) error {
		return x.editDir(tx, func(d *idDir) { d.through, d.runs = upTo, x.runs.Load().list })
	})
}

func (x *idIndex) copyRun(r *idRun, view idView, upTo Seq, update func(func(*bolt.Tx) error) error) error {
	b := newRunBuilder(x.nextRun.Add(1)-1, x.seed, r.count)
	flush := func() (err error) {
		var n int
		err = update(func(tx *bolt.Tx) error { n, err = b.write(tx, 1<<20); return err })
		b.wrote(n)
		return err
	}
	err := walkRun(r, view, func(e idEntry) error {
		if e.Seq <= upTo {
			b.add(e)
		}
		if len(b.out) < 16 {
			return nil
		}
		return flush()
	})
	for b.finish(); err == nil && b.pending(0); {
		err = flush()
	}
	if err == nil && b.run.count > 0 {
		b.run.filter.init(b.run.filter.blocks)
		x.runs.Store(newIDRuns(append(x.runs.Load().list, b.run)))
	}
	return err
}
