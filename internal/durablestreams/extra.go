package durablestreams

import (
	"encoding/binary"

	"tidemark/store"
)

// Tags of this protocol in the tagged section of a record (docs/storage.md).
const (
	tagProducer = 16 // epoch, sequence (uvarints), id of the producer
	tagLabel    = 17 // the writer's own sequence (Stream-Seq)
)

// claim is what a request says about its place among the requests of its producer.
type claim struct {
	id         string // "": the request names no producer
	epoch, seq uint64
}

// appendExtra appends what a push must remember beside its data.
func appendExtra(dst []byte, c claim, label string) []byte {
	if c.id != "" {
		v := binary.AppendUvarint(binary.AppendUvarint(nil, c.epoch), c.seq)
		dst = appendTag(dst, tagProducer, append(v, c.id...))
	}
	if label != "" {
		dst = appendTag(dst, tagLabel, []byte(label))
	}
	return dst
}

func appendTag(dst []byte, tag uint64, value []byte) []byte {
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, tag), uint64(len(value)))
	return append(dst, value...)
}

// parseExtra reads what appendExtra wrote and passes over the tags of others. What is cut short is taken as far as it goes:
// the record's checksum has vouched for it.
func parseExtra(b []byte) (c claim, label string) {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return c, label
		}
		size, m := binary.Uvarint(b[n:])
		if m <= 0 || size > uint64(len(b)-n-m) {
			return c, label
		}
		value := b[n+m : n+m+int(size)]
		b = b[n+m+int(size):]
		switch tag {
		case tagProducer:
			c = parseProducer(value)
		case tagLabel:
			label = string(value)
		}
	}
	return c, label
}

func parseProducer(v []byte) claim {
	epoch, n := binary.Uvarint(v)
	if n <= 0 {
		return claim{}
	}
	seq, m := binary.Uvarint(v[n:])
	if m <= 0 {
		return claim{}
	}
	return claim{id: string(v[n+m:]), epoch: epoch, seq: seq}
}

// mark is the newest word of one producer on one stream, or of the writers' own sequence.
type mark struct {
	Epoch uint64    `json:"epoch,omitempty"`
	Seq   uint64    `json:"seq,omitempty"`
	Label string    `json:"label,omitempty"`
	At    store.Seq `json:"at"` // the event that it came with
}
