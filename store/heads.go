package store

import (
	"encoding/binary"

	bolt "go.etcd.io/bbolt"
)

// headState is what the heads view knows of one stream.
type headState struct {
	last  Seq    // the newest event
	count uint64 // events ever
	skip1 Seq    // the newest block boundary: an event whose number in the stream is a multiple of skipBlock
	skip2 Seq    // the newest far boundary
	floor Seq    // the highest seq that trimming took from the stream
}

// advance takes the stream one event further and returns the skip links that this event carries.
func (h *headState) advance(seq Seq) (skip1, skip2 Seq) {
	h.last = seq
	h.count++
	if h.count%skipBlock == 0 {
		skip1, h.skip1 = h.skip1, seq
	}
	if h.count%skipFar == 0 {
		skip2, h.skip2 = h.skip2, seq
	}
	return skip1, skip2
}

// headEntry is a stream in the overlay. flushed is the last seq that its bucket entry contains.
type headEntry struct {
	headState
	name    Stream
	flushed Seq
}

// value is the stream's entry in a bucket.
func (h headState) value(name []byte) []byte {
	dst := binary.AppendUvarint(nil, uint64(h.last))
	dst = binary.AppendUvarint(dst, h.count)
	dst = binary.AppendUvarint(dst, uint64(h.skip1))
	dst = binary.AppendUvarint(dst, uint64(h.skip2))
	return sealed(name, binary.AppendUvarint(dst, uint64(h.floor)))
}

func parseHead(name, b []byte) (h headState, err error) {
	d := unsealed(name, b)
	h = headState{
		last: Seq(d.uvarint()), count: d.uvarint(),
		skip1: Seq(d.uvarint()), skip2: Seq(d.uvarint()), floor: Seq(d.uvarint()),
	}
	if d.bad || len(d.b) != 0 {
		return h, corruptView("heads: entry of stream %q", name)
	}
	return h, nil
}

// getHead reads a stream's entry of bucket heads or base-heads; a stream without one is empty.
func getHead(b *bolt.Bucket, name Stream) (headState, error) {
	v := b.Get([]byte(name))
	if v == nil {
		return headState{}, nil
	}
	return parseHead([]byte(name), v)
}

func putHead(b *bolt.Bucket, name Stream, h headState) error {
	return b.Put([]byte(name), h.value([]byte(name)))
}
