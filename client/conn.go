package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
)

// maxControl bounds the messages, other than pushes, that wait to be written, against signals that come faster than the
// line carries them.
const maxControl = 1024

// helloRoom is how much of a hello is filled with subscriptions; the rest is asked for one by one.
const helloRoom = wire.MaxHello - 8<<10

// helloWait is how long the server may take to say welcome, in silence.
const helloWait = 5 * time.Second

// errSilent means that the server said nothing for too long.
var errSilent = errors.New("client: the server is silent")

// places holds the undecoded events of one frame, so that an idle connection keeps none.
var places = sync.Pool{New: func() any { return new([]store.Event) }}

// conn is one connection. Its reader is the goroutine of Client.run; a second goroutine writes.
type conn struct {
	c      *Client
	began  time.Time
	nc     net.Conn
	in     *frameReader
	wake   chan struct{}   // there may be something to write
	ctx    context.Context // ends with the reader
	cancel context.CancelFunc
	broken chan struct{} // the writer has ended
	writer sync.WaitGroup

	// The reader owns these.
	progress       bool
	gaveUp         bool // because of what the server said
	reconnectAfter time.Duration
	done           []*entry
	places         *[]store.Event // of the raw frame in hand; nil: none

	// Who writes owns these, and holds writing.
	writing sync.Mutex
	buf     []byte
	rest    []byte             // of buf, what is still to be written
	raw     syscall.RawConn    // nil: a write may block
	attempt func(uintptr) bool // tryWrite
	taken   int                // by the last attempt
	sleeps  time.Time          // until when the write goroutine sleeps

	// Client.mu guards these.
	control  []wire.Message
	pongs    [][]byte
	limits   wire.Limits
	greeted  bool // hello was queued, so subscriptions may be
	welcomed bool
	waking   bool  // a ping is under way for the sake of its pong
	leaving  bool  // the server said goodbye: it takes no more pushes
	closing  bool  // Close was called
	failed   error // why the writer closed the connection
	times    timetable
}

func newConn(c *Client, nc net.Conn, rest []byte) *conn {
	k := &conn{c: c, began: time.Now(), nc: nc, wake: make(chan struct{}, 1), broken: make(chan struct{})}
	k.ctx, k.cancel = context.WithCancel(context.WithoutCancel(c.ctx))
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			k.raw, k.attempt = raw, k.tryWrite
		}
	}
	k.in = newFrameReader(nc, c.o.MaxMessage, rest, k.ping)
	return k
}

// serve says hello and reads until the connection ends.
func (k *conn) serve() error {
	k.greet()
	k.writer.Go(k.write)
	err := k.read()
	k.cancel()
	k.nc.Close()
	k.writer.Wait()
	k.detach()
	return err
}

// greet makes this the Client's connection, with everything that is subscribed to.
func (k *conn) greet() {
	c := k.c
	c.n++
	hello := &wire.Hello{Client: c.id, N: c.n, App: c.o.App}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, k.greeted = k, true
	hello.Log = c.log
	k.times = timetable{heartbeat: helloWait, tick: time.Now().Add(helloWait), tries: backoff{min: c.o.BackoffMin, max: c.o.BackoffMax}}
	k.control = append(k.control, hello)
	room := helloRoom
	for n, s := range c.subs {
		m := s.feed.request(n)
		if m.Cursor.Log == hello.Log {
			m.Cursor.Log = store.ID{}
		}
		if room -= 200 + len(m.Filter.String()); room > 0 {
			hello.Subs = append(hello.Subs, m)
		} else {
			k.control = append(k.control, &m)
		}
	}
	for stream, data := range c.presence {
		k.control = append(k.control, &wire.SetPresence{Stream: stream, Data: data})
	}
}

// detach puts what was not answered back into the queue.
func (k *conn) detach() {
	c := k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = nil
	c.stats.resent.Add(uint64(c.out.unanswered))
	c.out.lost()
	c.tell(&c.changed)
}

// send queues a message other than a push. Client.mu is held.
func (k *conn) send(m wire.Message) {
	k.control = append(k.control, m)
	k.wakeWriter()
}

func (k *conn) wakeWriter() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// ping answers a WebSocket ping, from the writer's side so that the reader never waits for a slow line.
func (k *conn) ping(payload []byte) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if len(k.pongs) < 16 {
		k.pongs = append(k.pongs, append([]byte(nil), payload...))
	}
	k.wakeWriter()
}

// read decodes and dispatches messages until the connection ends.
func (k *conn) read() error {
	for {
		text, err := k.in.next()
		if err != nil {
			return k.readError(err)
		}
		k.c.stats.read.Add(uint64(len(text)))
		if err := k.message(text); err != nil {
			k.gaveUp = true
			return err
		}
	}
}

// message decodes one message and does what it asks for. After an error nothing more can be made of the connection.
func (k *conn) message(text []byte) error {
	m, err := k.decode(text)
	if err != nil {
		return fmt.Errorf("client: from the server: %w", err)
	}
	err = k.take(m)
	if k.places != nil {
		places.Put(k.places)
		k.places = nil
	}
	return err
}

// useful reports whether the next try may come soon. What the Client gave the connection up for the next one may well bring
// at once, whatever else works beside it, so that such a connection must have lasted for a while.
func (k *conn) useful() bool {
	return k.progress && (!k.gaveUp || time.Since(k.began) >= k.c.o.BackoffMax)
}

// decode reads one message; of events for a raw subscription only their places.
func (k *conn) decode(text []byte) (wire.Message, error) {
	scan, ok := wire.ScanEvents(text)
	if !ok {
		return wire.DecodeServer(text)
	}
	if s := k.subscription(scan.Sub); s == nil || !s.raw {
		return wire.DecodeServer(text)
	}
	k.places = places.Get().(*[]store.Event)
	evs := (*k.places)[:0]
	for e := (wire.RawEvent{}); scan.Next(&e); {
		evs = append(evs, store.Event{Seq: e.Seq, Prev: e.Prev, Stream: e.Stream, Data: e.JSON})
	}
	*k.places = evs
	return &wire.Events{Sub: scan.Sub, Events: evs}, scan.Err()
}

// readError prefers the writer's reason for closing the connection.
func (k *conn) readError(err error) error {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.failed != nil {
		return k.failed
	}
	return err
}

// take does what one message asks for.
func (k *conn) take(m wire.Message) error {
	switch m := m.(type) {
	case *wire.Ack:
		return k.settle(func(done []*entry) ([]*entry, error) { return k.c.out.ack(m, done) })
	case *wire.Events:
		return k.events(m)
	case *wire.Welcome:
		k.welcome(m)
		return k.settle(nothing)
	case *wire.Pong:
		k.pong(m)
		return k.settleStuck()
	case *wire.Authenticated:
		k.authenticated(m.ExpiresAt)
	case *wire.Error:
		return k.refused(m)
	case *wire.Goodbye:
		k.goodbye(m)
	default:
		k.subscriptionMessage(m)
	}
	return nil
}

func (k *conn) welcome(m *wire.Welcome) {
	c := k.c
	c.mu.Lock()
	k.welcomed, k.limits = true, m.Limits.WithDefaults()
	c.log = m.Log
	now := time.Now()
	k.times.heartbeat = max(time.Duration(m.HeartbeatMS)*time.Millisecond, time.Second)
	k.times.tick, k.times.pinged = now.Add(k.times.heartbeat), now
	k.times.expires(now, m.ExpiresAt, c.o.Token != nil)
	c.tell(&c.changed)
	c.mu.Unlock()
	k.wakeWriter()
	c.stats.connections.Add(1)
	c.state(State{Phase: Connected, Welcome: Welcome{m.Server, m.Log, m.Session, m.Head, m.By}})
}

func (k *conn) goodbye(m *wire.Goodbye) {
	k.reconnectAfter = time.Duration(m.ReconnectAfterMS) * time.Millisecond
	k.c.mu.Lock()
	k.leaving = true
	k.c.mu.Unlock()
}

// settleStuck gives the answers that wakeReader has woken the reader for.
func (k *conn) settleStuck() error {
	k.c.mu.Lock()
	woken := k.waking
	k.waking = false
	k.c.mu.Unlock()
	if !woken {
		return nil
	}
	return k.settle(nothing)
}

// nothing is no answer from the server.
func nothing(done []*entry) ([]*entry, error) { return done, nil }

// settle takes answers to pushes, adds those that need no server, and tells the application outside of the lock. What the
// application sends from there is queued first and written together.
func (k *conn) settle(take func([]*entry) ([]*entry, error)) error {
	c := k.c
	c.mu.Lock()
	done, err := take(k.done[:0])
	if len(done) > 0 {
		k.progress = true
		k.times.tries.reset()
	}
	if err == nil {
		done = c.out.unstick(k.limits, done)
	}
	if c.out.held {
		k.times.retryLater(time.Now())
	}
	c.answers = true
	c.mu.Unlock()
	for _, e := range done {
		e.answer()
		e.release()
	}
	c.mu.Lock()
	c.answers = false
	if c.out.bytes < c.o.OutboxBytes/2 {
		c.tell(&c.room)
	}
	if c.out.empty() {
		c.tell(&c.empty)
	}
	c.mu.Unlock()
	k.writeNow()
	clear(done)
	k.done = done
	return err
}

// refused takes an error: about a push, a subscription, a token, or the connection as a whole.
func (k *conn) refused(m *wire.Error) error {
	switch _, isPush := m.Ref.Int(); {
	case isPush:
		return k.settle(func(done []*entry) ([]*entry, error) { return k.c.out.refused(m, done) })
	case m.Ref == authRef:
		k.tokenRefused()
	case m.Sub != 0:
		if m.Later || m.Code.Later() {
			return m // come back later with everything
		}
		k.c.mu.Lock()
		defer k.c.mu.Unlock()
		if s := k.c.subs[m.Sub]; s != nil {
			delete(k.c.subs, m.Sub)
			s.number = 0
			s.end(m.Refusal())
		}
	}
	return nil
}
