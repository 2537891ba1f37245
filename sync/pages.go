package sync

import (
	"sort"
	"sync"

	"tidemark/store"
)

// run is a stretch of a topic's events, encoded once for everybody: all that the filter has in (after, through]. Its bytes
// grow within their capacity while it is the newest; what is there never changes, so that frames may point into it.
type run struct {
	pages   *pages
	after   store.Seq
	through store.Seq
	bytes   []byte // the events' text, joined with commas
	marks   []mark
	size    int64 // memory, as far as the cache and the budget are concerned
	pins    int   // frames being written that point into it; guarded by pages.mu
	dead    bool  // no longer in the cache; guarded by cache.mu
}

// mark is where an event ends in a run's bytes.
type mark struct {
	seq  store.Seq
	end  uint32
	more bool // the next event of the run may belong to the same atomic push
}

// pages are the encoded runs of one topic, by position; they may overlap.
type pages struct {
	mu      sync.Mutex
	closed  bool // nobody follows the topic any more: nothing of it is kept
	runs    []*run
	flights map[store.Seq]*flight // reads under way, by where they begin
}

// flight is one read of the log that others with the same wish wait for.
type flight struct {
	done    chan struct{}
	after   store.Seq
	through store.Seq
	empty   bool
}

// edge is the key of the flight that reads on from the newest run: whoever has all of that waits for the same one.
const edge = ^store.Seq(0)

// batch is what one events frame is made of.
type batch struct {
	pieces  [][]byte
	pins    []*run
	through store.Seq
	size    int
	events  int
}

var comma = []byte{','}

// maxPieces bounds how many runs one frame is put together from.
const maxPieces = 64

// find returns the newest run that has what follows a cursor. p.mu is held.
func (p *pages) find(after store.Seq) *run {
	i := sort.Search(len(p.runs), func(i int) bool { return p.runs[i].after > after })
	if i == 0 || p.runs[i-1].through <= after {
		return nil
	}
	return p.runs[i-1]
}

// gather puts together what follows a cursor, up to about limit bytes, and pins it; false: it is not here. p.mu is held.
func (p *pages) gather(b *batch, after store.Seq, limit int) bool {
	b.through = after
	for b.size < limit && len(b.pieces) < maxPieces {
		r := p.find(b.through)
		if r == nil || !b.take(r, limit) {
			break
		}
	}
	return b.through > after
}

// take appends what a run has after b.through; false: nothing of it fits any more, or the frame ends within it.
func (b *batch) take(r *run, limit int) (whole bool) {
	from := sort.Search(len(r.marks), func(i int) bool { return r.marks[i].seq > b.through })
	if from == len(r.marks) {
		b.through = r.through
		return true
	}
	start := 0
	if from > 0 {
		start = int(r.marks[from-1].end) + len(comma)
	}
	to := r.cut(from, start, limit-b.size, b.size == 0)
	if to < from {
		return false
	}
	if b.size > 0 {
		b.pieces = append(b.pieces, comma)
	}
	text := r.bytes[start:r.marks[to].end]
	b.pieces = append(b.pieces, text)
	b.size += len(text) + len(comma)
	b.events += to - from + 1
	if len(b.pins) == 0 || b.pins[len(b.pins)-1] != r {
		b.pins = append(b.pins, r)
		r.pins++
	}
	if to < len(r.marks)-1 {
		b.through = r.marks[to].seq
		return false
	}
	b.through = r.through
	return true
}

// cut returns the last event that fits into room bytes without cutting an atomic push in half, at least the first whole push
// when one must be taken; below from: none.
func (r *run) cut(from, start, room int, must bool) int {
	last := len(r.marks) - 1
	rest := int(r.marks[last].end) - start
	if rest <= room || (must && rest <= room+room/4) { // no frame of its own for a small rest
		return last
	}
	to := from - 1 + sort.Search(len(r.marks)-from, func(i int) bool { return int(r.marks[from+i].end)-start > room })
	for to >= from && r.marks[to].more {
		to--
	}
	if to < from && must {
		for to = from; r.marks[to].more; to++ {
		}
	}
	return to
}

// insert adds a run at its place and returns the shorter one that it replaces, if any. p.mu is held.
func (p *pages) insert(r *run) (replaced *run) {
	i := sort.Search(len(p.runs), func(i int) bool { return p.runs[i].after >= r.after })
	if i < len(p.runs) && p.runs[i].after == r.after && p.runs[i].through <= r.through {
		replaced, p.runs[i] = p.runs[i], r
		return replaced
	}
	p.runs = append(p.runs, nil)
	copy(p.runs[i+1:], p.runs[i:])
	p.runs[i] = r
	return nil
}

// remove takes a run out.
func (p *pages) remove(r *run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, have := range p.runs {
		if have == r {
			p.runs = append(p.runs[:i], p.runs[i+1:]...)
			return
		}
	}
}

func (p *pages) newest() *run {
	if len(p.runs) == 0 {
		return nil
	}
	return p.runs[len(p.runs)-1]
}

// pinned counts the bytes of runs that b is the first to pin. p.mu is held.
func (b *batch) pinned() (n int64) {
	for _, r := range b.pins {
		if r.pins == 1 {
			n += r.size
		}
	}
	return n
}

// unpin lets go of runs and returns the bytes that nobody points to any more.
func unpin(rs []*run) (n int64) {
	for _, r := range rs {
		p := r.pages
		p.mu.Lock()
		if r.pins--; r.pins == 0 {
			n += r.size
		}
		p.mu.Unlock()
	}
	return n
}
