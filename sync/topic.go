package sync

import (
	"sync"
	"sync/atomic"

	"tidemark/store"
)

// topic is one filter that somebody follows: how far it has come, who waits for more, who hears signals, and the pages of it
// that were encoded lately.
type topic struct {
	filter store.Filter
	head   atomic.Uint64 // the newest event of the filter that is known of
	refs   int           // guarded by registry.mu
	stamp  uint64        // the last commit that touched it; the watcher's own
	pages  pages

	mu      sync.Mutex
	waiters []*waiter // who has everything: woken, and taken out, by the next event
	spare   []*waiter // the other half of a double buffer
	seats   []*sub    // who hears signals and presence; exact filters only
	present *presence // nil: nobody ever was
}

// waiter is what waits at the edge of a topic: a subscription, or a goroutine in Engine.Wait.
type waiter struct {
	at   store.Seq     // everything up to here is known to it
	pos  int           // 1 + its index in topic.waiters; 0: it does not wait
	sub  *sub          // or
	come chan struct{} // closed when there is more
}

func (t *topic) news() store.Seq { return store.Seq(t.head.Load()) }

// begin tells of the head that the log gave for the topic's filter. For many streams that is the head of all: it is taken only while nothing
// is known, for those who have read as far as there is something would wait for what never comes.
func (t *topic) begin(head store.Seq) {
	if t.filter.Wide() {
		t.head.CompareAndSwap(0, uint64(head))
		return
	}
	t.raise(head)
}

// raise tells of an event of the topic.
func (t *topic) raise(seq store.Seq) {
	for {
		have := t.head.Load()
		if have >= uint64(seq) || t.head.CompareAndSwap(have, uint64(seq)) {
			return
		}
	}
}

// arm makes w wait for what comes after at; false: there is something already.
func (t *topic) arm(w *waiter, at store.Seq) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.news() > at {
		return false
	}
	if w.at = at; w.pos == 0 {
		t.waiters = append(t.waiters, w)
		w.pos = len(t.waiters)
	}
	return true
}

// disarm ends the waiting of w.
func (t *topic) disarm(w *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.pos == 0 {
		return
	}
	last := t.waiters[len(t.waiters)-1]
	t.waiters[w.pos-1], last.pos = last, w.pos
	t.waiters[len(t.waiters)-1] = nil
	t.waiters = t.waiters[:len(t.waiters)-1]
	w.pos = 0
}

// rouse takes out everybody who waits. The list goes back with rested.
func (t *topic) rouse() []*waiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	ws := t.waiters
	for _, w := range ws {
		w.pos = 0
	}
	t.waiters, t.spare = t.spare[:0], nil
	return ws
}

func (t *topic) rested(ws []*waiter) {
	clear(ws)
	t.mu.Lock()
	if t.spare == nil {
		t.spare = ws[:0]
	}
	t.mu.Unlock()
}

// wake tells one waiter that there is more.
func (w *waiter) wake() {
	if w.sub == nil {
		close(w.come)
		return
	}
	w.sub.session.rouse(w.sub)
}

// sit adds a subscription to those who hear signals and presence.
func (t *topic) sit(s *sub) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seats = append(t.seats, s)
	s.seat = len(t.seats)
}

func (t *topic) leave(s *sub) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.seat == 0 {
		return
	}
	last := t.seats[len(t.seats)-1]
	t.seats[s.seat-1], last.seat = last, s.seat
	t.seats[len(t.seats)-1] = nil
	t.seats = t.seats[:len(t.seats)-1]
	s.seat = 0
}

// seated returns who sits there now, in scratch memory of the caller.
func (t *topic) seated(into []*sub) []*sub {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(into, t.seats...)
}
