package client

import (
	"context"

	"tidemark/internal/wire"
	"tidemark/store"
)

// Spec says what to subscribe to.
type Spec struct {
	Filter store.Filter
	Since  *store.Cursor // where to go on, as an Update gave it; nil: From says where to begin
	From   From

	// Raw leaves the events undecoded: of each only Seq, Prev and Stream are set, and Data is its whole JSON text as the
	// protocol writes it. For programs that pass events on, or only count them.
	Raw bool
}

// Kind tells what an Update brings.
type Kind uint8

// The kinds of Update.
const (
	KindEvents     Kind = iota // Events, in the order of the log; those of one atomic push never come in two updates
	KindSnapshot               // Docs; First and Last frame it
	KindReset                  // what was confirmed so far does not hold: drop it, for the reason in Reason; Floor, Head
	KindSubscribed             // the server has begun to serve; Floor, Head
	KindLive                   // everything up to the cursor has come; from here on it is live
	KindMoved                  // only the cursor moved
	KindSignal                 // Members[0] sent its Data
	KindPresence               // Members came or changed, Gone left; First: the list begins anew
)

// Update is what a subscription brings. It is valid only until the handler returns, or the iterator goes on: so are its
// events' Data.
type Update struct {
	Kind    Kind
	Events  []store.Event
	Docs    []store.Doc
	First   bool
	Last    bool
	Reason  store.Reset
	Floor   store.Seq
	Head    store.Seq
	Members []Member
	Gone    []store.ID

	// Cursor is where to go on when this update was applied: keep it together with what was applied, or after it. It holds
	// when Placed; otherwise (documents that are not consistent yet) there is nothing to keep.
	Cursor store.Cursor
	Placed bool
}

// Member is one connection that is present on a stream, or that sent a signal.
type Member struct {
	Session store.ID
	By      string
	Data    []byte
}

// Subscription is a running subscription.
type Subscription struct {
	c       *Client
	handler func(*Update)
	ended   chan struct{} // closed when nothing more comes

	// The goroutine that reads the connection owns these, while the server knows the number.
	feed   feed
	raw    bool
	update Update
	futile int          // repairs of a gap since the last unbroken frame
	queue  *updateQueue // of an iterator; nil with a handler

	// Client.mu guards these.
	number uint64 // on this connection; 0: the server does not know it
	paused bool   // the iterator is behind: it asks again when it has caught up
	closed bool
	err    error // why it ended
}

// Subscribe calls handler with everything that the filter's streams bring, across reconnects, until Close. handler runs on
// the goroutine that reads the connection: it must not block, nor wait for an answer from this Client; see Updates for a
// form that may. Gaps are repaired, duplicates left out.
func (c *Client) Subscribe(spec Spec, handler func(*Update)) (*Subscription, error) {
	return c.subscribe(&Subscription{handler: handler, feed: newFeed(&spec), raw: spec.Raw})
}

func (c *Client) subscribe(s *Subscription) (*Subscription, error) {
	s.c, s.ended = c, make(chan struct{})
	c.start()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	c.enlist(s)
	c.nudgeReader()
	return s, nil
}

// enlist gives the subscription a number that was never used before, and asks the server to serve it from where the feed stands.
// Presence lasts only as long as a subscription to exactly its stream, so it is set with each. c.mu is held.
func (c *Client) enlist(s *Subscription) {
	c.lastSub++
	s.number = c.lastSub
	c.subs[s.number] = s
	k := c.conn
	if k == nil || !k.greeted {
		return // the next hello does it
	}
	m := s.feed.request(s.number)
	k.send(&m)
	stream, exact := s.feed.filter.Stream()
	if data := c.presence[stream]; exact && data != nil {
		k.send(&wire.SetPresence{Stream: stream, Data: data})
	}
}

// Close ends the subscription. A call of the handler that is under way may still go on.
func (s *Subscription) Close() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.drop()
	s.end(nil)
}

// drop makes the server forget the subscription's number. c.mu is held.
func (s *Subscription) drop() {
	if s.number == 0 {
		return
	}
	delete(s.c.subs, s.number)
	if k := s.c.conn; k != nil && k.greeted {
		k.send(&wire.Unsubscribe{Sub: s.number})
	}
	s.number = 0
}

// end closes the subscription for good. c.mu is held.
func (s *Subscription) end(err error) {
	if s.closed {
		return
	}
	s.closed, s.err = true, err
	close(s.ended)
}

// Done is closed when the subscription has ended; Err tells why.
func (s *Subscription) Done() <-chan struct{} { return s.ended }

// Err returns why the subscription ended: nil after Close, a *store.Refusal when the server refused it, or the Client's end.
func (s *Subscription) Err() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.err
}

// Stats returns what ought not to have happened. It may be called by the handler, and after Done.
func (s *Subscription) Stats() FeedStats { return s.feed.stats }

// renew subscribes again from where the feed stands, under a new number. c.mu is held.
func (s *Subscription) renew() {
	s.drop()
	s.c.enlist(s)
}

// emit hands an update to the application.
func (s *Subscription) emit(u Update) {
	u.Cursor, u.Placed = s.feed.cursor, s.feed.placed
	s.update = u
	if s.queue != nil {
		s.queue.put(&s.update)
		return
	}
	s.handler(&s.update)
}

// Updates is Subscribe as an iterator: it may take its time, and call and wait for this Client as it likes. It ends when
// ctx does, or with an error that says why nothing more will come. When it falls behind by more than Options.BufferBytes
// the subscription is paused at the server, and goes on from its cursor when it has caught up.
func (c *Client) Updates(ctx context.Context, spec Spec) func(yield func(*Update, error) bool) {
	return func(yield func(*Update, error) bool) {
		s, err := c.subscribe(&Subscription{feed: newFeed(&spec), raw: spec.Raw, queue: newUpdateQueue(c.o.BufferBytes)})
		if err != nil {
			yield(nil, err)
			return
		}
		defer s.Close()
		for {
			u, err := s.next(ctx)
			if !yield(u, err) || err != nil {
				return
			}
		}
	}
}

// next returns the next update of an iterator.
func (s *Subscription) next(ctx context.Context) (*Update, error) {
	for {
		if u := s.queue.take(); u != nil {
			return u, nil
		}
		s.unpause()
		select {
		case <-s.queue.filled:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.ended:
			if u := s.queue.take(); u != nil {
				return u, nil
			}
			return nil, s.Err()
		}
	}
}

// unpause goes on with a subscription whose iterator has caught up.
func (s *Subscription) unpause() {
	s.c.nudgeReader()
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.paused && !s.closed {
		s.paused = false
		s.renew()
	}
}
