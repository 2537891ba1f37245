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
	waiting int      // what they take in memory
	size    int      // upper bound of the folded document, in bytes
	unread  int      // in a group: bytes of the document in the bucket, which data stands for when somebody needs it
}

// docEntry is a document in the overlay. flushed is the last seq that its bucket entry contains.
type docEntry struct {
	docState
	at      DocKey
	flushed Seq
}

// Patches wait until together they are a part of the document's length: then folding costs each of them a few times its own
// length, however large the document is, and a reader never has much more to fold than what he reads.
const (
	patchesPart = 4       // they may be this part of the document
	patchesMin  = 4 << 10 // and this much beside
	patchCost   = 64      // what each of them counts and takes in memory beside its bytes
)

// memory is about what the state takes in memory.
func (d *docState) memory() int { return len(d.data) + d.waiting }

// apply folds one event into the state. It reports false, with the document as it was, when it would exceed limit bytes.
// It keeps a copy of data: the overlay must not keep the frame that a document came in. sizes makes many patches of documents near
// the limit cheap; without them each costs a pass over the document.
func (d *docState) apply(seq Seq, op Op, data []byte, limit int, sizes *sizers) (bool, error) {
	switch op {
	case OpPut:
		doc, err := AppendDocument(nil, data)
		if err != nil || len(doc) > limit {
			return false, err
		}
		*d = docState{exists: true, data: doc, size: len(doc)}
	case OpDelete:
		*d = docState{}
	case OpPatch:
		if ok, err := d.patch(bytes.Clone(data), limit, sizes); err != nil || !ok {
			return false, err
		}
	}
	d.seq = seq
	return true, nil
}

// patch adds a patch to those that wait.
func (d *docState) patch(patch []byte, limit int, sizes *sizers) (bool, error) {
	size := MergeBound(d.size, len(patch))
	if size > limit {
		var ok bool
		var err error
		if sizes != nil {
			size, ok, err = sizes.fits(d, patch, limit)
		} else {
			size, ok, err = d.fits(patch, limit)
		}
		if err != nil || !ok {
			return false, err
		}
	}
	// In place: of the states that share the patches before, only the newest is ever patched, or one that it is taken back to.
	d.patches = append(d.patches, patch)
	d.exists, d.size = true, size
	d.waiting += len(patch) + patchCost
	if d.waiting > patchesMin+len(d.data)/patchesPart {
		return true, d.fold()
	}
	return true, nil
}

// fits is sizers.fits the plain way.
func (d *docState) fits(patch []byte, limit int) (int, bool, error) {
	doc, err := MergePatches(nil, d.data, append(d.patches[:len(d.patches):len(d.patches)], patch))
	return len(doc), len(doc) <= limit, err
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
	d.data, d.patches, d.waiting, d.size = doc, nil, 0, len(doc)
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
	s, err := parseDocInPlace(key, b)
	s.data = bytes.Clone(s.data)
	return s, err
}

func parseDocInPlace(key, b []byte) (docState, error) {
	d := unsealed(key, b)
	s := docState{seq: Seq(d.uvarint())}
	switch d.byte() {
	case 0:
		d.bad = d.bad || len(d.b) != 0
	case 1:
		s.exists, s.data, s.size = true, d.b, len(d.b)
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

// peekDoc is getDoc but for the document itself, of which it tells the length in unread.
func peekDoc(b *bolt.Bucket, at DocKey) (docState, error) {
	k := at.bytes()
	v := b.Get(k)
	if v == nil {
		return docState{}, nil
	}
	s, err := parseDocInPlace(k, v)
	s.unread, s.data = len(s.data), nil
	return s, err
}

func putDoc(b *bolt.Bucket, at DocKey, s docState) error {
	key := at.bytes()
	v, err := s.value(key)
	if err != nil {
		return err
	}
	return b.Put(key, v)
}
