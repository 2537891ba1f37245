package store

import (
	"math/bits"
	"sync/atomic"
)

// idFilter is a blocked Bloom filter: an id has one bit in each of the eight words of one block (a cache line), so that
// asking costs one memory access. At 16 bits an id about one in a thousand answers is a false "perhaps". It is kept in
// segments, which are the unit of reading it from the file; a segment that has not been read is nil.
type idFilter struct {
	blocks uint64
	segs   []atomic.Pointer[idSegment]
}

const (
	filterWords     = 8         // of 64 bits in a block
	filterIDs       = 4 * 8     // ids for which a block is meant: 16 bits each
	segmentBlocks   = 1 << 10   // 64 KiB
	segmentMaxBytes = 64 * 1024 // of blocks
)

type idSegment [segmentBlocks * filterWords]uint64

// idSum is the hash of an id: which block, and which bits in it.
type idSum struct{ block, bits uint64 }

func idHash(seed [2]uint64, hi, lo uint64) idSum {
	a, b := bits.Mul64(hi^seed[0], lo^seed[1])
	a ^= b
	c, d := bits.Mul64(a^seed[1], (lo+seed[0])|1)
	return idSum{a, c ^ d}
}

func filterBlocks(ids uint64) uint64 { return max(1, (ids+filterIDs-1)/filterIDs) }

func (f *idFilter) init(blocks uint64) {
	f.blocks = blocks
	f.segs = make([]atomic.Pointer[idSegment], (blocks+segmentBlocks-1)/segmentBlocks)
}

// fill gives an empty filter its memory, for building.
func (f *idFilter) fill() {
	for i := range f.segs {
		f.segs[i].Store(new(idSegment))
	}
}

// segmentBytes is how much of segment i is used.
func (f *idFilter) segmentBytes(i int) int {
	return int(min(segmentBlocks, f.blocks-uint64(i)*segmentBlocks)) * filterWords * 8
}

func (f *idFilter) place(h idSum) uint64 {
	n, _ := bits.Mul64(h.block, f.blocks)
	return n
}

func (f *idFilter) segment(h idSum) int { return int(f.place(h) / segmentBlocks) }

// idProbe is a filter that has been touched for an id.
type idProbe struct {
	words *[filterWords]uint64 // nil: the id is not in the run's range
	first uint64               // the first of them, shifted
}

// unreadWords stand for a segment that has not been read: everything may be in it.
var unreadWords = [filterWords]uint64{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}

// touch begins to fetch the block that tells about an id.
func (f *idFilter) touch(h idSum) idProbe {
	n := f.place(h)
	w := &unreadWords
	if s := f.segs[n/segmentBlocks].Load(); s != nil {
		w = (*[filterWords]uint64)(s[n%segmentBlocks*filterWords:])
	}
	return idProbe{w, w[0] >> (h.bits & 63)}
}

// may reports whether the id can be in the run. It has no branch that depends on the filter's content but the last.
func (p *idProbe) may(h idSum) bool {
	w, b := p.words, h.bits
	if w == nil {
		return false
	}
	return p.first&(w[1]>>(b>>6&63))&(w[2]>>(b>>12&63))&(w[3]>>(b>>18&63))&
		(w[4]>>(b>>24&63))&(w[5]>>(b>>30&63))&(w[6]>>(b>>36&63))&(w[7]>>(b>>42&63))&1 != 0
}

// may reports whether an id can be in the run, as far as has been read.
func (f *idFilter) may(h idSum) bool {
	p := f.touch(h)
	return p.may(h)
}

// unread reports whether the segment that tells about an id has to be read from the file.
func (f *idFilter) unread(h idSum) bool { return f.segs[f.segment(h)].Load() == nil }

// add adds ids to a filter that is being built. It touches the blocks of several before it changes the first one: a large filter is
// not in the processor's cache, and so they are fetched together.
func (f *idFilter) add(seed [2]uint64, es []idEntry) {
	var sums [16]idSum
	var probes [16]idProbe
	for len(es) > 0 {
		n := min(len(es), len(sums))
		for i := range n {
			hi, lo := idWords(es[i].ID)
			sums[i] = idHash(seed, hi, lo)
			probes[i] = f.touch(sums[i])
		}
		for i := range n {
			w := probes[i].words
			for j, b := 0, sums[i].bits; j < filterWords; j, b = j+1, b>>6 {
				w[j] |= 1 << (b & 63)
			}
		}
		es = es[n:]
	}
}

// resident is the memory of what has been read.
func (f *idFilter) resident() (n int64) {
	for i := range f.segs {
		if f.segs[i].Load() != nil {
			n += segmentMaxBytes
		}
	}
	return n
}
