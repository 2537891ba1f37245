package store

import (
	"encoding/binary"
	"errors"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// idRun is an immutable sorted run: a bucket of its own, in which chunks and filter segments are values.
type idRun struct {
	id             uint64
	count          uint64
	min, max       ID
	minSeq, maxSeq Seq
	blocks         uint32
	filter         idFilter
}

// idRuns are the live runs of one moment, with what a lookup asks first side by side.
type idRuns struct {
	list  []*idRun
	spans []idSpan
}

// idSpan is the range of ids of a run. New time-ordered ids are above nearly all of them.
type idSpan struct{ minHi, minLo, maxHi, maxLo uint64 }

var (
	runPrefix = []byte("run")

	// errRunGone: the run's bucket is not in the transaction, because it was merged and deleted since, or is lost.
	errRunGone = errors.New("the run is missing")
)

// The first byte of a key in a run's bucket.
const (
	keyChunk  = 'b' // then the chunk's last id
	keyFilter = 'f' // then the segment's number, 4 bytes
)

func newIDRuns(list []*idRun) *idRuns {
	rs := &idRuns{list: list, spans: make([]idSpan, len(list))}
	for i, r := range list {
		s := &rs.spans[i]
		s.minHi, s.minLo = idWords(r.min)
		s.maxHi, s.maxLo = idWords(r.max)
	}
	return rs
}

func (s *idSpan) covers(hi, lo uint64) bool {
	return (hi > s.minHi || hi == s.minHi && lo >= s.minLo) && (hi < s.maxHi || hi == s.maxHi && lo <= s.maxLo)
}

func runKey(id uint64) []byte { return binary.BigEndian.AppendUint64(slices.Clip(runPrefix), id) }

func chunkKey(last ID) []byte { return append([]byte{keyChunk}, last[:]...) }

func segmentKey(i int) []byte { return binary.BigEndian.AppendUint32([]byte{keyFilter}, uint32(i)) }

// bucket finds the run in a transaction.
func (r *idRun) bucket(tx *bolt.Tx) (*bolt.Bucket, error) {
	top, err := idsBucket(tx)
	if err != nil {
		return nil, err
	}
	if b := top.Bucket(runKey(r.id)); b != nil {
		return b, nil
	}
	return nil, corruptIDs("run %d: %w", r.id, errRunGone)
}

// find reads the one block that can hold the id.
func (r *idRun) find(view idView, id ID) (e idEntry, found bool, err error) {
	err = view(func(tx *bolt.Tx) error {
		c, err := r.chunk(tx, chunkKey(id))
		if err != nil {
			return err
		}
		last := c.last(c.blocks - 1)
		if compareID(&c.before, &id) >= 0 && c.first > 0 || compareID(&last, &id) < 0 {
			return corruptIDs("run %d: chunk at block %d is not where its ids are", r.id, c.first)
		}
		i := 0
		for last = c.last(0); compareID(&last, &id) < 0; last = c.last(i) {
			i++
		}
		k, ok := parseBlock(c.block(i), r.id, c.first+uint32(i))
		if !ok {
			return corruptIDs("run %d: block %d: checksum does not match", r.id, c.first+uint32(i))
		}
		e, found = k.find(id)
		return nil
	})
	return e, found, err
}

// chunk reads the head of the first chunk at or after key.
func (r *idRun) chunk(tx *bolt.Tx, key []byte) (c idChunk, err error) {
	b, err := r.bucket(tx)
	if err != nil {
		return c, err
	}
	k, v := b.Cursor().Seek(key)
	if len(k) == 0 || k[0] != keyChunk {
		return c, corruptIDs("run %d: a chunk is missing", r.id)
	}
	c, ok := parseChunk(v)
	if !ok || c.run != r.id {
		return c, corruptIDs("run %d: chunk %x: head is not what was written", r.id, k[1:])
	}
	return c, nil
}

// askFile reads the segment of the filter that tells about an id, and asks it.
func (r *idRun) askFile(view idView, h idSum) (may bool, err error) {
	i, s := r.filter.segment(h), new(idSegment)
	err = view(func(tx *bolt.Tx) error {
		b, err := r.bucket(tx)
		if err != nil {
			return err
		}
		if !decodeSegment(s, b.Get(segmentKey(i)), r.id, i, r.filter.segmentBytes(i)) {
			return corruptIDs("run %d: filter segment %d: checksum does not match", r.id, i)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	r.filter.segs[i].Store(s)
	return r.filter.may(h), nil
}

// appendSegment encodes segment i of the run's filter.
func (r *idRun) appendSegment(dst []byte, i int) []byte {
	start := len(dst)
	s := r.filter.segs[i].Load()
	dst = slices.Grow(dst, r.filter.segmentBytes(i)+4)
	for _, w := range s[:r.filter.segmentBytes(i)/8] {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return binary.BigEndian.AppendUint32(dst, blockSum(r.id, ^uint32(i), dst[start:]))
}

func decodeSegment(s *idSegment, b []byte, run uint64, i, size int) bool {
	if len(b) != size+4 || binary.BigEndian.Uint32(b[size:]) != blockSum(run, ^uint32(i), b[:size]) {
		return false
	}
	for j := range size / 8 {
		s[j] = binary.LittleEndian.Uint64(b[j*8:])
	}
	return true
}

// idCursor reads a whole run in order, one chunk per transaction, and checks that nothing is missing.
type idCursor struct {
	run  *idRun
	buf  []idEntry
	pos  int
	last ID // of the chunk that was read last
	n    uint64
	next uint32 // number of the block that must come next
}

// peek returns the entry at the cursor, nil at the end.
func (c *idCursor) peek(view idView) (*idEntry, error) {
	if c.pos < len(c.buf) {
		return &c.buf[c.pos], nil
	}
	if c.n == c.run.count {
		return nil, nil
	}
	if err := view(c.read); err != nil {
		return nil, err
	}
	return &c.buf[0], nil
}

// read decodes the next chunk.
func (c *idCursor) read(tx *bolt.Tx) error {
	key := []byte{keyChunk}
	if c.next > 0 {
		key = append(chunkKey(c.last), 0)
	}
	ch, err := c.run.chunk(tx, key)
	if err != nil {
		return err
	}
	if ch.first != c.next || ch.before != c.last {
		return corruptIDs("run %d: block %d is missing", c.run.id, c.next)
	}
	c.buf, c.pos = c.buf[:0], 0
	for i := range ch.blocks {
		k, ok := parseBlock(ch.block(i), c.run.id, ch.first+uint32(i))
		if !ok {
			return corruptIDs("run %d: block %d: checksum does not match", c.run.id, ch.first+uint32(i))
		}
		for j := range k.n {
			c.buf = append(c.buf, k.entry(j))
		}
	}
	c.last, c.next = ch.last(ch.blocks-1), c.next+uint32(ch.blocks)
	c.n += uint64(len(c.buf))
	if done := c.n == c.run.count; c.n > c.run.count || done != (c.last == c.run.max) {
		return corruptIDs("run %d: it does not end where the directory says", c.run.id)
	}
	return nil
}
