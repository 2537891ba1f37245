package store

import (
	"bytes"
	"encoding/binary"

	bolt "go.etcd.io/bbolt"
)

// docState is what the docs view knows of one (stream, key). Values are copied freely: the slices behind them never change.
type docState struct {
	seq     Seq      // the last event with this key
	exists  bool     // there is a document
	data    []byte   // its JSON, before the patches
	patches [][]byte // merge patches that were not folded yet
	size    int      // upper bound of the folded document, in bytes
}

// docEntry is a document in the overlay. flushed is the last seq that its bucket entry contains.
type docEntry struct {
	docState
	at      DocKey
	flushed Seq
}

// maxPatches bounds what a reader has to fold at once.
const maxPatches = 64

// apply folds one event into the state. It reports false, changing nothing, when the document would exceed limit bytes.
// It keeps a copy of data: the overlay must not keep the frame that a document came in.
func (d *docState) apply(seq Seq, op Op, data []byte, limit int) (bool, error) {
	next := *d
	next.seq = seq
	switch op {
	case OpPut:
		doc, err := AppendDocument(nil, data)
		if err != nil {
			return false, err
		}
		next.exists, next.data, next.patches, next.size = true, doc, nil, len(doc)
	case OpDelete:
		next = docState{seq: seq}
	case OpPatch:
		next.exists = true
		next.patches = append(d.patches[:len(d.patches):len(d.patches)], bytes.Clone(data))
		next.size = MergeBound(next.size, len(data))
	}
	if len(next.patches) > maxPatches || next.size > limit {
		if err := next.fold(); err != nil {
			return false, err
		}
	}
	if next.size > limit {
		return false, nil
	}
	*d = next
	return true, nil
}

// fold merges the waiting patches.
func (d *docState) fold() error {
	if len(d.patches) == 0 {
		return nil
	}
	doc, err := MergePatches(nil, d.data, d.patches)
	if err != nil {
		return err
	}
	d.data, d.patches, d.size = doc, nil, len(doc)
	return nil
}

// doc returns the folded document.
func (d docState) doc(at DocKey) (Doc, bool, error) {
	if !d.exists {
		return Doc{Stream: at.Stream, Key: at.Key, Seq: d.seq}, false, nil
	}
	err := d.fold()
	return Doc{Stream: at.Stream, Key: at.Key, Seq: d.seq, Data: d.data}, err == nil, err
}

// bytes is the key of (stream, key) in the buckets: neither part holds a zero byte, so the order is that of DocKey.
func (k DocKey) bytes() []byte {
	b := make([]byte, 0, len(k.Stream)+1+len(k.Key))
	b = append(append(b, k.Stream...), 0)
	return append(b, k.Key...)
}

func parseDocKey(b []byte) (DocKey, bool) {
	before, after, ok := bytes.Cut(b, []byte{0})
	if !ok {
		return DocKey{}, false
	}
	return DocKey{Stream: Stream(before), Key: string(after)}, true
}

func (k DocKey) less(o DocKey) bool {
	if k.Stream != o.Stream {
		return k.Stream < o.Stream
	}
	return k.Key < o.Key
}

// value is the entry in a bucket: seq, whether there is a document, its JSON, folded.
func (d docState) value(key []byte) ([]byte, error) {
	dst := binary.AppendUvarint(nil, uint64(d.seq))
	if !d.exists {
		return sealed(key, append(dst, 0)), nil
	}
	if err := d.fold(); err != nil {
		return nil, err
	}
	return sealed(key, append(append(dst, 1), d.data...)), nil
}

// parseDoc reads an entry; its data is a copy.
func parseDoc(key, b []byte) (docState, error) {
	d := unsealed(key, b)
	s := docState{seq: Seq(d.uvarint())}
	switch d.byte() {
	case 0:
		d.bad = d.bad || len(d.b) != 0
	case 1:
		s.exists, s.data, s.size = true, bytes.Clone(d.b), len(d.b)
		d.bad = d.bad || len(d.b) == 0
	default:
		d.bad = true
	}
	if d.bad {
		return s, corruptView("docs: entry of %q", key)
	}
	return s, nil
}

// getDoc reads an entry of bucket docs or base-docs; a key without one was never written to.
func getDoc(b *bolt.Bucket, at DocKey) (docState, error) {
	k := at.bytes()
	v := b.Get(k)
	if v == nil {
		return docState{}, nil
	}
	return parseDoc(k, v)
}

func putDoc(b *bolt.Bucket, at DocKey, s docState) error {
	key := at.bytes()
	v, err := s.value(key)
	if err != nil {
		return err
	}
	return b.Put(key, v)
}
