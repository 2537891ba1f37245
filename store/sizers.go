package store

import "sync/atomic"

// sizers keep what they know of the documents that were last patched near the limit. There, the sum of the lengths no longer
// says whether a patch has room, and folding a document of a megabyte for each patch of twenty bytes would let one client
// slow everybody down. They belong to the writer goroutine and may be forgotten at any time.
type sizers struct {
	kept []keptSizer // the last used one comes last
	used int

	made, asked atomic.Int64 // figures
}

// keptSizer is a sizer and the state of the document that it has come to.
type keptSizer struct {
	*sizer
	patches int
	last    *byte // of the last patch
	charged int   // what it counts in used
}

// sizersBytes bounds the memory of all sizers, with the documents that they look at.
const sizersBytes = 32 << 20

// of reports whether the sizer has come exactly to a state. Memory that it still points to is used for nothing else, so
// equal addresses are equal bytes.
func (k *keptSizer) of(d *docState) bool {
	if len(d.data) != len(k.doc) || len(d.patches) != k.patches || len(d.data) > 0 && &d.data[0] != &k.doc[0] {
		return false
	}
	return k.patches == 0 || k.last == &d.patches[k.patches-1][0]
}

// find returns the sizer of a state, made anew if there is none.
func (z *sizers) find(d *docState) (*keptSizer, error) {
	for i := range z.kept {
		if z.kept[i].of(d) {
			k := z.kept[i]
			copy(z.kept[i:], z.kept[i+1:])
			z.kept[len(z.kept)-1] = k
			return &z.kept[len(z.kept)-1], nil
		}
	}
	if err := d.fold(); err != nil {
		return nil, err
	}
	s, err := newSizer(d.data)
	if err != nil {
		return nil, err
	}
	z.made.Add(1)
	z.kept = append(z.kept, keptSizer{sizer: s})
	z.charge(&z.kept[len(z.kept)-1])
	return &z.kept[len(z.kept)-1], nil
}

// fits returns the exact length of d's document after one more patch; ok is false when that is above the limit. d may
// have been folded.
func (z *sizers) fits(d *docState, patch []byte, limit int) (size int, ok bool, err error) {
	k, err := z.find(d)
	if err != nil {
		return 0, false, err
	}
	p, err := parsePatch(patch)
	if err != nil {
		return 0, false, err
	}
	z.asked.Add(1)
	if size = k.after(p); size <= limit {
		k.take(p)
		k.patches++
		k.last = &patch[0]
	}
	z.charge(k)
	return size, size <= limit, nil
}

// charge counts what the last used sizer has grown by, and forgets others until the bound holds.
func (z *sizers) charge(k *keptSizer) {
	z.used += k.sizer.used - k.charged
	k.charged = k.sizer.used
	n := 0
	for ; z.used > sizersBytes && n < len(z.kept)-1; n++ {
		z.used -= z.kept[n].charged
	}
	rest := copy(z.kept, z.kept[n:])
	clear(z.kept[rest:])
	z.kept = z.kept[:rest]
}
