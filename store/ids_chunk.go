package store

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"slices"
)

// A run is stored in chunks of at most 2,048 entries, sorted, each the value of one key; a chunk is a head and blocks of 128 entries. A
// lookup reads the head and one block; each has a checksum that also covers where it belongs, so that what is whole but in the
// wrong place is found out, too. Layout: docs/storage.md.
const (
	blockIDs    = 128
	chunkBlocks = 16
	chunkIDs    = blockIDs * chunkBlocks

	chunkHead  = 1 + 1 + 8 + 4 + 16 // version, blocks, run, number of the first block, last id of the chunk before
	chunkFence = 16 + 4             // last id of a block, its end behind the head
	blockHead  = 1 + 1 + 2 + 8      // shared bytes of ids, bytes of a seq, entries, lowest seq

	chunkVersion = 1
)

// idChunk is the head of a chunk.
type idChunk struct {
	run    uint64
	first  uint32 // number of its first block in the run
	before ID     // last id of the chunk before; zero for the first
	blocks int
	fences []byte
	body   []byte
}

// appendChunk encodes 1 to chunkIDs sorted entries.
func appendChunk(dst []byte, run uint64, first uint32, before ID, es []idEntry) []byte {
	be := binary.BigEndian
	start, n := len(dst), (len(es)+blockIDs-1)/blockIDs
	dst = slices.Grow(dst, chunkHead+n*(chunkFence+32)+4+len(es)*(len(ID{})+8+8)) // more than it takes
	dst = append(dst, chunkVersion, byte(n))
	dst = be.AppendUint64(dst, run)
	dst = be.AppendUint32(dst, first)
	dst = append(dst, before[:]...)
	fences := len(dst)
	dst = append(dst, make([]byte, n*chunkFence+4)...)
	body := len(dst)
	for i := range n {
		b := es[i*blockIDs : min((i+1)*blockIDs, len(es))]
		dst = appendBlock(dst, run, first+uint32(i), b)
		f := dst[fences+i*chunkFence:]
		copy(f, b[len(b)-1].ID[:])
		be.PutUint32(f[16:], uint32(len(dst)-body))
	}
	be.PutUint32(dst[body-4:], crc32.Checksum(dst[start:body-4], castagnoli))
	return dst
}

// parseChunk checks the head of a chunk. The result points into b.
func parseChunk(b []byte) (c idChunk, ok bool) {
	be := binary.BigEndian
	if len(b) < chunkHead || b[0] != chunkVersion {
		return c, false
	}
	c.blocks = int(b[1])
	head := chunkHead + c.blocks*chunkFence
	if c.blocks == 0 || c.blocks > chunkBlocks || len(b) < head+4 || crc32.Checksum(b[:head], castagnoli) != be.Uint32(b[head:]) {
		return c, false
	}
	c.run, c.first, c.before = be.Uint64(b[2:]), be.Uint32(b[10:]), ID(b[14:30])
	c.fences, c.body = b[chunkHead:head], b[head+4:]
	end := 0
	for i := range c.blocks {
		if c.end(i) < end || c.end(i) > len(c.body) {
			return c, false
		}
		end = c.end(i)
	}
	return c, true
}

// last is the highest id of block i, end where its bytes end.
func (c *idChunk) last(i int) ID { return ID(c.fences[i*chunkFence:][:16]) }
func (c *idChunk) end(i int) int {
	return int(binary.BigEndian.Uint32(c.fences[i*chunkFence+16:]))
}

// block returns the bytes of block i.
func (c *idChunk) block(i int) []byte {
	start := 0
	if i > 0 {
		start = c.end(i - 1)
	}
	return c.body[start:c.end(i)]
}

// blockSum is the checksum of a block at its place.
func blockSum(run uint64, n uint32, b []byte) uint32 {
	var at [12]byte
	binary.BigEndian.PutUint64(at[:], run)
	binary.BigEndian.PutUint32(at[8:], n)
	return crc32.Update(crc32.Checksum(at[:], castagnoli), castagnoli, b)
}

// appendBlock encodes sorted entries in columns: the bytes that all ids begin with, the rest of each id, the fingerprints, the
// seqs in as many bytes as the widest distance from the lowest needs.
func appendBlock(dst []byte, run uint64, n uint32, es []idEntry) []byte {
	be := binary.BigEndian
	start := len(dst)
	shared := sharedBytes(&es[0].ID, &es[len(es)-1].ID)
	low, high := es[0].Seq, es[0].Seq
	for i := range es {
		low, high = min(low, es[i].Seq), max(high, es[i].Seq)
	}
	width := (bits.Len64(uint64(high-low)) + 7) / 8
	dst = append(dst, byte(shared), byte(width))
	dst = be.AppendUint16(dst, uint16(len(es)))
	dst = be.AppendUint64(dst, uint64(low))
	dst = append(dst, es[0].ID[:shared]...)
	for i := range es {
		dst = append(dst, es[i].ID[shared:]...)
	}
	for i := range es {
		dst = be.AppendUint64(dst, es[i].FP)
	}
	for i := range es {
		for d, w := uint64(es[i].Seq-low), width; w > 0; w-- {
			dst = append(dst, byte(d>>(8*w-8)))
		}
	}
	return be.AppendUint32(dst, blockSum(run, n, dst[start:]))
}

func sharedBytes(a, b *ID) int {
	n := 0
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return n
}

// idBlock is a block whose checksum and shape are right.
type idBlock struct {
	n, shared, width int
	low              Seq
	prefix           []byte
	ids, fps, seqs   []byte
}

// parseBlock checks the bytes of block n of a run. The result points into b.
func parseBlock(b []byte, run uint64, n uint32) (k idBlock, ok bool) {
	be := binary.BigEndian
	if len(b) < blockHead+4 || be.Uint32(b[len(b)-4:]) != blockSum(run, n, b[:len(b)-4]) {
		return k, false
	}
	k.shared, k.width, k.n = int(b[0]), int(b[1]), int(be.Uint16(b[2:]))
	k.low = Seq(be.Uint64(b[4:]))
	b = b[blockHead : len(b)-4]
	if k.shared > 16 || k.width > 8 || k.n == 0 || k.n > blockIDs || len(b) != k.shared+k.n*(16-k.shared+8+k.width) {
		return k, false
	}
	k.prefix, b = b[:k.shared], b[k.shared:]
	k.ids, b = b[:k.n*(16-k.shared)], b[k.n*(16-k.shared):]
	k.fps, k.seqs = b[:k.n*8], b[k.n*8:]
	return k, true
}

// entry decodes entry i.
func (k *idBlock) entry(i int) (e idEntry) {
	copy(e.ID[:], k.prefix)
	copy(e.ID[k.shared:], k.ids[i*(16-k.shared):])
	e.FP = binary.BigEndian.Uint64(k.fps[i*8:])
	for _, b := range k.seqs[i*k.width:][:k.width] {
		e.Seq = e.Seq<<8 | Seq(b)
	}
	e.Seq += k.low
	return e
}

// find looks for an id by bisection.
func (k *idBlock) find(id ID) (idEntry, bool) {
	lo, hi := 0, k.n
	for lo < hi {
		m := (lo + hi) / 2
		e := k.entry(m)
		switch c := compareID(&e.ID, &id); {
		case c == 0:
			return e, true
		case c < 0:
			lo = m + 1
		default:
			hi = m
		}
	}
	return idEntry{}, false
}
