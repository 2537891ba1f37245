package store

import (
	"context"
	"errors"

	bolt "go.etcd.io/bbolt"
)

// copier makes a copy of a log up to a seq: log, ids and base are copied in pages, each read in a transaction of its own,
// and the other views are folded anew. So the source may be written to meanwhile (but not trimmed), and grows no more than
// its writers make it: a long read transaction would pin every page that they free.
type copier struct {
	ctx      context.Context
	view     func(func(*bolt.Tx, logBucket) error) error // short read transactions on the source
	dst      *bolt.DB
	progress func(done, total int64)

	// What the copy is to be.
	identity identity
	lineage  []ancestor
	floor    floorMark
	upTo     Seq

	ids     *idIndex // the source's
	inRuns  Seq      // the ids up to here are in its runs
	loose   []idEntry
	bytes   int64 // of the records copied
	events  int64
	headID  ID
	reached Seq
}

// Sizes of the pages read, and of what is written at once.
const (
	copyPage  = 256 << 10
	copyBatch = 4 << 20
	copyDocs  = 32 << 20 // of documents that a batch changes
)

func (c *copier) run(dst *bolt.DB) error {
	c.dst = dst
	c.reached, c.headID = c.floor.seq, c.floor.id
	for _, step := range []func() error{c.begin, c.base, c.log, c.copyIDs} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) begin() error {
	return c.dst.Update(func(tx *bolt.Tx) error {
		if err := initBuckets(tx, c.identity); err != nil {
			return err
		}
		if err := putLineage(tx, c.lineage); err != nil {
			return err
		}
		return putFloor(tx, c.floor)
	})
}

// read runs fn on the source, unless the work was given up.
func (c *copier) read(fn func(*bolt.Tx) error) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	return c.view(func(tx *bolt.Tx, _ logBucket) error { return fn(tx) })
}

// base copies what trimming left behind; the views begin as the base.
func (c *copier) base() error {
	if err := c.bucket(bucketBaseHeads, bucketHeads); err != nil {
		return err
	}
	return c.bucket(bucketBaseDocs, bucketDocs)
}

type copied struct{ k, v []byte }

// bucket copies a bucket of the source to the same one and to another.
func (c *copier) bucket(name, view []byte) error {
	for page, after, err := c.page(name, nil); ; page, after, err = c.page(name, after) {
		if err != nil || len(page) == 0 {
			return err
		}
		err = c.dst.Update(func(tx *bolt.Tx) error {
			for _, to := range [][]byte{name, view} {
				b := tx.Bucket(to)
				b.FillPercent = 0.9
				for _, e := range page {
					if err := b.Put(e.k, e.v); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// page reads entries of a bucket after a key, in memory of their own.
func (c *copier) page(name, after []byte) (page []copied, last []byte, err error) {
	err = c.read(func(tx *bolt.Tx) error {
		cur := tx.Bucket(name).Cursor()
		k, v := cur.Seek(after)
		if after != nil && string(k) == string(after) {
			k, v = cur.Next()
		}
		buf := make([]byte, 0, copyPage)
		for k != nil && len(buf)+len(k)+len(v) <= cap(buf) || k != nil && len(page) == 0 {
			start := len(buf)
			buf = append(append(buf, k...), v...)
			mid, end := start+len(k), len(buf)
			page = append(page, copied{buf[start:mid:mid], buf[mid:end:end]})
			k, v = cur.Next()
		}
		return nil
	})
	if len(page) > 0 {
		last = page[len(page)-1].k
	}
	return page, last, err
}

// log copies the records and folds them into the views, batch by batch.
func (c *copier) log() error {
	for after := c.floor.seq; ; {
		var batch []rawRecord
		for size := 0; size < copyBatch && after < c.upTo; {
			page, err := c.records(after)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				size += len(e.v)
			}
			batch, after = append(batch, page...), page[len(page)-1].seq
		}
		if len(batch) == 0 {
			return nil
		}
		for len(batch) > 0 {
			err := c.dst.Update(func(tx *bolt.Tx) (err error) { batch, err = c.write(tx, batch); return err })
			if err != nil {
				return err
			}
		}
		if c.progress != nil {
			c.progress(int64(c.reached-c.floor.seq), int64(c.upTo-c.floor.seq))
		}
	}
}

// records reads records after a seq, in memory of their own.
func (c *copier) records(after Seq) (page []rawRecord, err error) {
	if err := c.ctx.Err(); err != nil {
		return nil, err
	}
	err = c.view(func(_ *bolt.Tx, log logBucket) error {
		cur := log.cursor()
		buf := make([]byte, 0, copyPage)
		for seq, v := cur.seek(after + 1); v != nil && seq <= c.upTo; seq, v = cur.next() {
			if len(buf)+len(v) > cap(buf) && len(page) > 0 {
				break
			}
			start := len(buf)
			buf = append(buf, v...)
			page = append(page, rawRecord{seq, buf[start:len(buf):len(buf)]})
		}
		return nil
	})
	return page, err
}

// write puts records into the copy, with the views as they are after them, and returns those that are too much for one
// transaction because of the documents that they change.
func (c *copier) write(tx *bolt.Tx, batch []rawRecord) (rest []rawRecord, err error) {
	f := viewFolder{tx: tx, heads: make(map[Stream]*headState), docs: make(map[DocKey]*docState)}
	var log logWriter
	log.begin(tx)
	for i, e := range batch {
		var r record
		if err := parseRecord(e.seq, e.v, &r); err != nil {
			return nil, err
		}
		if err := f.fold(&r); err != nil {
			return nil, err
		}
		if r.Seq > c.inRuns && !r.Flags.Has(FlagStub) {
			c.loose = append(c.loose, idEntry{ID: r.ID, Seq: r.Seq, FP: r.fingerprint()})
		}
		c.bytes += int64(len(e.v))
		c.events++
		c.reached, c.headID = r.Seq, r.ID
		log.add(e.seq, e.v)
		if f.loaded > copyDocs {
			rest = batch[i+1:]
			break
		}
	}
	if err := errors.Join(log.flush(), f.write()); err != nil {
		return nil, err
	}
	return rest, putCheckpoint(tx, checkpoint{seq: c.reached, bytes: c.bytes})
}

// copyIDs copies the runs, and makes one more of the ids that were only in the log.
func (c *copier) copyIDs() error {
	var x *idIndex
	err := c.dst.View(func(tx *bolt.Tx) (err error) { x, err = openIDs(tx); return err })
	if err != nil {
		return err
	}
	if err := x.copyFrom(c.ids, c.read, min(c.inRuns, c.upTo), c.dst.Update); err != nil {
		return err
	}
	x.add(c.loose)
	return c.dst.Update(func(tx *bolt.Tx) error {
		if _, err := x.flush(tx, c.reached); err != nil {
			return err
		}
		return putCheckpoint(tx, checkpoint{seq: c.reached, bytes: c.bytes})
	})
}

// viewFolder folds records into the buckets of the views, without overlays.
type viewFolder struct {
	tx     *bolt.Tx
	heads  map[Stream]*headState
	docs   map[DocKey]*docState
	loaded int // bytes of documents in memory
}

func (f *viewFolder) fold(r *record) error {
	h := f.heads[r.Stream]
	if h == nil {
		st, err := getHead(f.tx.Bucket(bucketHeads), r.Stream)
		if err != nil {
			return err
		}
		h = &st
		f.heads[r.Stream] = h
	}
	h.advance(r.Seq)
	if r.Key == "" {
		return nil
	}
	at := DocKey{Stream: r.Stream, Key: r.Key}
	d := f.docs[at]
	if d == nil {
		st, err := getDoc(f.tx.Bucket(bucketDocs), at)
		if err != nil {
			return err
		}
		d = &st
		f.docs[at] = d
		f.loaded += len(st.data)
	}
	f.loaded += len(r.Data)
	if _, err := d.apply(r.Seq, r.Op, r.Data, maxDoc, nil); err != nil {
		return &CorruptError{Seq: r.Seq, Err: err}
	}
	return nil
}

func (f *viewFolder) write() error {
	for name, h := range f.heads {
		if err := putHead(f.tx.Bucket(bucketHeads), name, *h); err != nil {
			return err
		}
	}
	for at, d := range f.docs {
		if err := putDoc(f.tx.Bucket(bucketDocs), at, *d); err != nil {
			return err
		}
	}
	return nil
}
