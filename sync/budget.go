package sync

import (
	"context"
	"sync"
)

// Budget bounds the memory of the whole process for what is on its way: pages being written and frames being read. It does
// not grow with the number of slow or greedy peers. All methods may be called concurrently.
type Budget struct {
	limit int64

	mu      sync.Mutex
	used    int64
	inbound int64       // of used, by frames coming in
	waiting []*claim    // frames coming in, oldest first
	parked  []*Session  // sessions that have pages to send, oldest first
	stats   budgetStats // figures
}

type budgetStats struct{ waits, parks int64 }

// claim is a frame that waits for its bytes.
type claim struct {
	n       int64
	granted chan struct{}
}

func newBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Acquire takes n bytes, to be called before memory for a frame of that declared length is allocated. It waits while the
// budget is spent, or half of it by frames: what is only declared must not keep pages from those who read. More than that
// half counts as so much. Who waits must hold nothing of the budget, or all who do might wait for each other.
func (b *Budget) Acquire(ctx context.Context, n int) error {
	b.mu.Lock()
	if len(b.waiting) == 0 && b.fits(b.share(n)) {
		b.take(b.share(n))
		b.mu.Unlock()
		return nil
	}
	c := &claim{n: b.share(n), granted: make(chan struct{})}
	b.waiting = append(b.waiting, c)
	b.stats.waits++
	b.mu.Unlock()
	select {
	case <-c.granted:
		return nil
	case <-ctx.Done():
		b.abandon(c)
		return ctx.Err()
	}
}

func (b *Budget) fits(n int64) bool {
	return b.used == 0 || b.used+n <= b.limit && b.inbound+n <= b.limit/2
}

// share is what a frame counts: no more than frames may have together, or it would wait until nothing at all is on its way.
func (b *Budget) share(n int) int64 { return min(int64(n), b.limit/2) }

// take takes n bytes for a frame. b.mu is held.
func (b *Budget) take(n int64) {
	b.used += n
	b.inbound += n
}

// abandon takes back a claim, which may have been granted meanwhile.
func (b *Budget) abandon(c *claim) {
	b.mu.Lock()
	for i, w := range b.waiting {
		if w == c {
			b.waiting = append(b.waiting[:i], b.waiting[i+1:]...)
			b.grant() // it may have been the first, and too large
			b.mu.Unlock()
			return
		}
	}
	b.mu.Unlock()
	b.Release(int(c.n))
}

// Release gives back what Acquire took.
func (b *Budget) Release(n int) {
	b.mu.Lock()
	b.inbound -= b.share(n)
	b.mu.Unlock()
	b.give(b.share(n))
}

// grant lets in the frames that wait, oldest first, as far as they fit. b.mu is held.
func (b *Budget) grant() {
	for len(b.waiting) > 0 && b.fits(b.waiting[0].n) {
		b.take(b.waiting[0].n)
		close(b.waiting[0].granted)
		b.waiting[0] = nil
		b.waiting = b.waiting[1:]
	}
}

// give returns bytes and passes them on to those who wait: frames coming in first, then one parked session.
func (b *Budget) give(n int64) {
	b.mu.Lock()
	b.used -= n
	b.grant()
	var next []*Session
	if room := b.pageRoom(); len(b.parked) > 0 && room > 0 {
		k := len(b.parked)
		if b.used > 0 { // whoever finds nothing left parks again, behind the others
			k = min(k, 1+int(room/smallBytes))
		}
		next = append(next, b.parked[:k]...)
		clear(b.parked[:k])
		b.parked = b.parked[k:]
	}
	b.mu.Unlock()
	for _, s := range next {
		s.unpark()
	}
}

// charge takes n bytes for a page that exists already.
func (b *Budget) charge(n int64) {
	b.mu.Lock()
	b.used += n
	b.mu.Unlock()
}

// pageRoom is what pages may still take: the last quarter is kept for frames coming in, so that acknowledgements and
// pings get through however many readers stall. b.mu is held.
func (b *Budget) pageRoom() int64 { return b.limit - b.limit/4 - b.used }

// page returns how large the next page may be; 0: s is parked, and woken when there is room again.
func (b *Budget) page(s *Session, want int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch room := b.pageRoom(); {
	case room >= b.limit/8:
		return want
	case room > 0:
		return min(want, smallBytes)
	}
	b.parked = append(b.parked, s)
	b.stats.parks++
	return 0
}

// forget removes a session that ended.
func (b *Budget) forget(s *Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, p := range b.parked {
		if p == s {
			b.parked = append(b.parked[:i], b.parked[i+1:]...)
			return
		}
	}
}

// Used returns the bytes taken now.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
