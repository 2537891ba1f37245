package store

import (
	bolt "go.etcd.io/bbolt"
)

// runBuilder encodes a run from sorted entries and hands it out in slices that fit a write transaction.
type runBuilder struct {
	run  *idRun
	seed [2]uint64
	es   []idEntry // of the chunk that is being filled
	last ID        // of the chunk before
	out  []idChunkOut
	done bool
	segs int // filter segments written
}

type idChunkOut struct {
	key, value []byte
}

// newRunBuilder begins a run of at most count ids.
func newRunBuilder(id uint64, seed [2]uint64, count uint64) *runBuilder {
	b := &runBuilder{run: &idRun{id: id}, seed: seed}
	b.run.filter.init(filterBlocks(count))
	b.run.filter.fill()
	return b
}

// add takes the next entry; ids must rise.
func (b *runBuilder) add(e idEntry) {
	r := b.run
	if r.count == 0 {
		r.min, r.minSeq = e.ID, e.Seq
	}
	r.count++
	r.max, r.minSeq, r.maxSeq = e.ID, min(r.minSeq, e.Seq), max(r.maxSeq, e.Seq)
	if b.es = append(b.es, e); len(b.es) == chunkIDs {
		b.cut()
	}
}

// cut encodes the entries that have come together.
func (b *runBuilder) cut() {
	b.run.filter.add(b.seed, b.es)
	last := b.es[len(b.es)-1].ID
	v := appendChunk(nil, b.run.id, b.run.blocks, b.last, b.es)
	b.out = append(b.out, idChunkOut{chunkKey(last), v})
	b.run.blocks += uint32((len(b.es) + blockIDs - 1) / blockIDs)
	b.es, b.last = b.es[:0], last
}

// finish ends the run.
func (b *runBuilder) finish() {
	if len(b.es) > 0 {
		b.cut()
	}
	b.done = true
}

// pending reports whether there is something to write beyond the next n values.
func (b *runBuilder) pending(n int) bool {
	return n < len(b.out) || !b.done || b.segs+n-len(b.out) < len(b.run.filter.segs)
}

// write puts about max bytes into the run's bucket and returns how many values these are, for wrote.
func (b *runBuilder) write(tx *bolt.Tx, max int) (n int, err error) {
	top, err := idsBucket(tx)
	if err != nil {
		return 0, err
	}
	bucket, err := top.CreateBucketIfNotExists(runKey(b.run.id))
	if err != nil {
		return 0, err
	}
	bucket.FillPercent = 1
	for size := 0; size < max; n++ {
		key, value := b.value(n)
		if key == nil {
			break
		}
		if err := bucket.Put(key, value); err != nil {
			return n, err
		}
		size += len(value)
	}
	return n, nil
}

// value is the n-th of what is pending: chunks, then, when the run is complete, filter segments.
func (b *runBuilder) value(n int) (key, value []byte) {
	if n < len(b.out) {
		return b.out[n].key, b.out[n].value
	}
	i := b.segs + n - len(b.out)
	if !b.done || i >= len(b.run.filter.segs) {
		return nil, nil
	}
	return segmentKey(i), b.run.appendSegment(nil, i)
}

// wrote tells that the first n of what was pending are committed.
func (b *runBuilder) wrote(n int) {
	k := min(n, len(b.out))
	b.out = b.out[k:]
	b.segs += n - k
}
