package store

import (
	"iter"
	"slices"
	"sort"
)

// docOrder holds the documents of the overlay in the order of their keys, in blocks: a page of documents costs what it
// brings and not what is in memory, and a new document moves a part of a block. It is guarded by Store.mu.
type docOrder struct {
	blocks [][]*docEntry // none is empty
}

// orderBlock is the most entries of a block.
const orderBlock = 512

// block returns the index of the last block that begins at or below a key; 0 if none does.
func (o *docOrder) block(at DocKey) int {
	return max(0, sort.Search(len(o.blocks), func(i int) bool { return at.less(o.blocks[i][0].at) })-1)
}

// within returns where in a block the first entry stands that is not below a key.
func within(b []*docEntry, at DocKey) int {
	return sort.Search(len(b), func(i int) bool { return !b[i].at.less(at) })
}

// add takes in an entry whose key is not there yet.
func (o *docOrder) add(e *docEntry) {
	if len(o.blocks) == 0 {
		o.blocks = append(o.blocks, []*docEntry{e})
		return
	}
	n := o.block(e.at)
	i := within(o.blocks[n], e.at)
	if len(o.blocks[n]) == orderBlock {
		if i == orderBlock { // keys that rise leave full blocks behind
			o.blocks = slices.Insert(o.blocks, n+1, []*docEntry{e})
			return
		}
		o.split(n)
		if i > orderBlock/2 {
			n, i = n+1, i-orderBlock/2
		}
	}
	o.blocks[n] = slices.Insert(o.blocks[n], i, e)
}

// split makes two of a full block.
func (o *docOrder) split(n int) {
	lower, upper := o.blocks[n][:orderBlock/2], o.blocks[n][orderBlock/2:]
	o.blocks = slices.Insert(o.blocks, n+1, slices.Clone(upper))
	clear(upper)
	o.blocks[n] = lower
}

// remove takes out the entry of a key.
func (o *docOrder) remove(at DocKey) {
	n := o.block(at)
	i := within(o.blocks[n], at)
	o.blocks[n] = slices.Delete(o.blocks[n], i, i+1)
	if len(o.blocks[n]) == 0 {
		o.blocks = slices.Delete(o.blocks, n, n+1)
	}
}

// from yields the entries from a key on.
func (o *docOrder) from(at DocKey) iter.Seq[*docEntry] {
	return func(yield func(*docEntry) bool) {
		n := o.block(at)
		for ; n < len(o.blocks); n++ {
			for _, e := range o.blocks[n][within(o.blocks[n], at):] {
				if !yield(e) {
					return
				}
			}
		}
	}
}
