package client

import (
	"errors"

	"tidemark/internal/wire"
	"tidemark/store"
)

// errGap means that the server's events do not form a chain, even when asked for again.
var errGap = errors.New("client: events are missing, and the server does not send them")

// subscription returns the subscription that a message belongs to; nil when it has ended meanwhile.
func (k *conn) subscription(number uint64) *Subscription {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.c.subs[number]
}

// events hands events on. A broken chain is repaired by subscribing again from before the gap; when that brings the same
// gap again, by connecting again.
func (k *conn) events(m *wire.Events) error {
	s := k.subscription(m.Sub)
	if s == nil || !k.mayFeed(s) {
		return nil
	}
	if stream, exact := s.feed.filter.Stream(); exact {
		for i := range m.Events {
			m.Events[i].Stream = stream
		}
	}
	fresh, broken := s.feed.events(m.Events)
	if len(fresh) > 0 {
		k.progress = true
		s.emit(Update{Kind: KindEvents, Events: fresh})
	}
	if !broken {
		s.futile = 0
		return nil
	}
	if s.futile++; s.futile > 1 && len(fresh) == 0 {
		return errGap
	}
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if !s.closed {
		s.renew()
	}
	return nil
}

// subscriptionMessage hands on what else belongs to one subscription. Unknown messages are ignored.
func (k *conn) subscriptionMessage(m wire.Message) {
	s := k.subscription(subOf(m))
	if s == nil || !k.mayFeed(s) {
		return
	}
	switch m := m.(type) {
	case *wire.Subscribed:
		s.feed.subscribed(m, k.log())
		s.emit(Update{Kind: KindSubscribed, Floor: m.Floor, Head: m.Head})
	case *wire.Live:
		k.progress = true
		s.feed.liveAt(m)
		s.emit(Update{Kind: KindLive})
	case *wire.Reset:
		s.feed.reset(m)
		s.emit(Update{Kind: KindReset, Reason: m.Reason, Floor: m.Floor, Head: m.Head})
	case *wire.Snapshot:
		k.progress = true
		if stream, exact := s.feed.filter.Stream(); exact {
			for i := range m.Docs {
				m.Docs[i].Stream = stream
			}
		}
		first := s.feed.snapshot(m)
		s.emit(Update{Kind: KindSnapshot, Docs: m.Docs, First: first, Last: m.Done})
	case *wire.Signal:
		s.emit(Update{Kind: KindSignal, Members: []Member{{m.Session, m.By, m.Data}}})
	case *wire.Presence:
		u := Update{Kind: KindPresence, First: m.Full, Gone: m.Gone}
		for _, p := range m.Set {
			u.Members = append(u.Members, Member(p))
		}
		s.emit(u)
	}
}

// log returns the log id that the server's welcome named.
func (k *conn) log() store.ID {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.c.log
}

// subOf returns the number of the subscription that a message belongs to; 0: none.
func subOf(m wire.Message) uint64 {
	switch m := m.(type) {
	case *wire.Subscribed:
		return m.Sub
	case *wire.Live:
		return m.Sub
	case *wire.Reset:
		return m.Sub
	case *wire.Snapshot:
		return m.Sub
	case *wire.Signal:
		return m.Sub
	case *wire.Presence:
		return m.Sub
	}
	return 0
}

// pong moves the cursors of all live subscriptions.
func (k *conn) pong(m *wire.Pong) {
	k.c.mu.Lock()
	var moved []*Subscription
	for _, s := range k.c.subs {
		moved = append(moved, s)
	}
	k.c.mu.Unlock()
	for _, s := range moved {
		if before := s.feed.cursor; !s.full() {
			if s.feed.pong(m); s.feed.cursor != before {
				s.emit(Update{Kind: KindMoved})
			}
		}
	}
}

func (s *Subscription) full() bool { return s.queue != nil && s.queue.full() }

// mayFeed makes sure that an iterator can take more. While it is behind, the reader waits, if nobody else depends on it;
// otherwise the subscription is paused at the server, and what is under way for it is not looked at. A snapshot is never
// paused, for it would have to begin again: it may exceed the bound when the reader cannot wait.
func (k *conn) mayFeed(s *Subscription) bool {
	for s.full() {
		switch {
		case k.alone(s):
			if !k.pause(s) {
				return false
			}
		case s.feed.partial:
			return true
		default:
			k.c.mu.Lock()
			s.drop()
			s.paused = !s.closed
			k.c.mu.Unlock()
			if !s.full() { // caught up just now, perhaps before it could see that it was paused
				s.unpause()
			}
			return false
		}
	}
	return true
}

// alone reports whether nothing but this subscription needs the reader.
func (k *conn) alone(s *Subscription) bool {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.c.out.empty() && len(k.c.subs) == 1 && k.c.subs[s.number] == s
}

// pause waits until something has changed; false when the subscription or the connection has ended.
func (k *conn) pause(s *Subscription) bool {
	k.c.blocked.Store(true)
	defer k.c.blocked.Store(false)
	if !s.full() || !k.alone(s) {
		return true
	}
	select {
	case <-k.c.nudge:
		return true
	case <-s.ended:
		return false
	case <-k.c.ctx.Done():
		return false
	case <-k.broken:
		return false
	}
}
