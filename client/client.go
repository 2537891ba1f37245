package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
)

// ErrClosed is the answer to everything after Close, and to mutations that Close found unanswered: those may have taken
// effect; sending the same ids again tells.
var ErrClosed = errors.New("client: closed")

// ErrBusy means that a signal was dropped because the connection is slow or away.
var ErrBusy = errors.New("client: not connected, or too slow")

// Client is one connection to a server, kept up for as long as the Client is open. All methods may be called concurrently.
type Client struct {
	o      Options
	dialer dialer
	id     store.ID
	n      uint64 // of the last connection; run's own

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	wanted chan struct{} // closed when there is something to connect for
	want   sync.Once

	mu       sync.Mutex
	out      outbox
	answers  bool          // answers are being told: what they queue is sent together
	room     chan struct{} // closed when the outbox has room again; nil: nobody waits
	empty    chan struct{} // closed when the outbox is empty; nil: nobody waits
	changed  chan struct{} // closed when the connection changes; nil: nobody waits
	subs     map[uint64]*Subscription
	lastSub  uint64
	presence map[store.Stream][]byte
	conn     *conn    // nil: not connected
	log      store.ID // of the last server
	err      error    // why it ended for good

	nudge   chan struct{} // something changed that a paused reader waits for
	blocked atomic.Bool   // a reader is paused
	stats   counters
}

// Stats are counters since New.
type Stats struct {
	Connections uint64 // that were welcomed
	Resent      uint64 // mutations that were sent again
	BytesRead   uint64
	BytesSent   uint64
	PushFrames  uint64
	Prompt      uint64 // writes that followed answers without a change of goroutine
	PromptCut   uint64 // those of them that the socket took in part
}

type counters struct{ connections, resent, read, sent, pushes, prompt, promptCut atomic.Uint64 }

// New returns a Client that connects when it is first used. Only Options.URL is required.
func New(o Options) (*Client, error) {
	o, u, err := o.validate()
	if err != nil {
		return nil, err
	}
	c := &Client{
		o:        o,
		dialer:   dialer{url: u, dial: o.Dial, tls: o.TLS},
		id:       o.ID,
		wanted:   make(chan struct{}),
		nudge:    make(chan struct{}, 1),
		subs:     make(map[uint64]*Subscription),
		presence: make(map[store.Stream][]byte),
	}
	if c.id.IsZero() {
		c.id = store.NewID()
	} else {
		c.n = uint64(time.Now().UnixMilli()) // above what an earlier process counted to
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(c.run)
	return c, nil
}

// Close ends the connection and everything that waits for it. Mutations without an answer are given up; see Flush.
func (c *Client) Close() error {
	c.cancel()
	c.wg.Wait()
	return nil
}

// ID returns the id that the server knows this Client's outbox by.
func (c *Client) ID() store.ID { return c.id }

// Stats returns the counters.
func (c *Client) Stats() Stats {
	s := &c.stats
	return Stats{s.connections.Load(), s.resent.Load(), s.read.Load(), s.sent.Load(), s.pushes.Load(), s.prompt.Load(), s.promptCut.Load()}
}

// Connect waits until the server has welcomed the client; with an error when that will never be, or ctx ends first.
func (c *Client) Connect(ctx context.Context) error {
	c.start()
	for {
		c.mu.Lock()
		err, up := c.err, c.conn != nil && c.conn.welcomed
		changed := c.waitFor(&c.changed)
		c.mu.Unlock()
		if err != nil || up {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Push sends mutations and waits for the answers, one for each, in order. A refused mutation does not stop the others: look
// at every Result.Err. The error is ctx's or that of a Client that ended; the mutations may take effect even so.
//
// A mutation without ID gets one; Results name it. Data may be any JSON text.
func (c *Client) Push(ctx context.Context, ms ...store.Mutation) ([]Result, error) {
	if len(ms) == 0 {
		return nil, nil
	}
	w := waiter{results: make([]Result, len(ms)), done: make(chan struct{})}
	w.left.Store(int64(len(ms)))
	for i := range ms {
		err := c.Send(ctx, &ms[i], func(r Result) {
			w.results[i] = r
			w.answered()
		})
		if err != nil {
			return nil, err
		}
	}
	return w.wait(ctx)
}

// PushAtomic sends mutations that are all accepted, contiguous in the log, or all refused.
func (c *Client) PushAtomic(ctx context.Context, ms ...store.Mutation) ([]Result, error) {
	if len(ms) == 0 {
		return nil, nil
	}
	e := newEntry()
	e.atomic = true
	for i := range ms {
		if err := e.encode(&ms[i]); err != nil {
			return nil, err
		}
	}
	w := waiter{results: make([]Result, len(ms)), done: make(chan struct{})}
	w.left.Store(1)
	e.all = func(rs []Result) {
		copy(w.results, rs)
		w.answered()
	}
	if err := c.queue(ctx, e); err != nil {
		return nil, err
	}
	return w.wait(ctx)
}

// waiter collects the answers of one call.
type waiter struct {
	results []Result
	left    atomic.Int64
	done    chan struct{}
}

func (w *waiter) answered() {
	if w.left.Add(-1) == 0 {
		close(w.done)
	}
}

func (w *waiter) wait(ctx context.Context) ([]Result, error) {
	select {
	case <-w.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for i := range w.results {
		if err := w.results[i].Err; err != nil && !isRefusal(err) {
			return w.results, err
		}
	}
	return w.results, nil
}

func isRefusal(err error) bool {
	_, ok := errors.AsType[*store.Refusal](err)
	return ok
}

// Send queues one mutation and returns; done, which may be nil, is called with the answer. It blocks while the outbox is
// full. Mutations are sent, and answered, in the order of the calls. done must not block; it may call Send.
//
// The Client keeps no reference to m.
func (c *Client) Send(ctx context.Context, m *store.Mutation, done func(Result)) error {
	e := newEntry()
	if err := e.encode(m); err != nil {
		e.release()
		return err
	}
	e.lone(m.Stream)
	e.one = done
	return c.queue(ctx, e)
}

// encode checks what the frame's form depends on, and encodes. What else may be wrong the server says.
func (e *entry) encode(m *store.Mutation) error {
	if _, err := store.ParseStream(string(m.Stream)); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if m.Bytes || m.Extra != nil {
		return errors.New("client: a mutation's data is JSON; bytes cannot be pushed over a WebSocket")
	}
	own := *m
	if own.ID.IsZero() {
		own.ID = store.NewID()
	}
	if m.Data != nil {
		out, err := compact(e.scratch[:0], m.Data)
		if err != nil {
			return err
		}
		e.scratch, own.Data = out, out
	}
	e.add(&own)
	return nil
}

// queue hands an entry to the outbox, waiting for room.
func (c *Client) queue(ctx context.Context, e *entry) error {
	c.start()
	c.mu.Lock()
	for c.err == nil && c.out.bytes > c.o.OutboxBytes && !c.answers {
		room := c.waitFor(&c.room)
		c.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if e.expects && e.log.IsZero() {
		e.log = c.log
	}
	c.out.add(e)
	if !c.answers && c.conn != nil {
		c.conn.wakeWriter()
	}
	c.nudgeReader()
	return nil
}

// Flush waits until every mutation has its answer.
func (c *Client) Flush(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.out.empty() && !c.answers || c.err != nil {
			defer c.mu.Unlock()
			return c.err
		}
		empty := c.waitFor(&c.empty)
		c.mu.Unlock()
		select {
		case <-empty:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Signal passes data, any JSON value, to those who are subscribed to the stream now. It is never stored, and lost when the
// connection is away or slow.
func (c *Client) Signal(s store.Stream, data []byte) error {
	data, err := compact(nil, data)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil || !c.conn.welcomed || len(c.conn.control) > maxControl {
		return ErrBusy
	}
	c.conn.send(&wire.SendSignal{Stream: s, Data: data})
	return nil
}

// SetPresence shows data, any JSON value but null, to those who are subscribed to the stream, for as long as this Client is
// subscribed to exactly that stream; nil ends it. It may be called before Subscribe. It is set again after a reconnect, and
// with a subscription that goes on after a pause.
func (c *Client) SetPresence(s store.Stream, data []byte) error {
	if data != nil {
		var err error
		if data, err = compact(nil, data); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if data == nil {
		delete(c.presence, s)
	} else {
		c.presence[s] = data
	}
	if c.conn != nil && c.conn.greeted {
		c.conn.send(&wire.SetPresence{Stream: s, Data: data})
	}
	return c.err
}

// compact appends the one JSON value that data is to dst, without white space between tokens.
func compact(dst, data []byte) ([]byte, error) {
	out, rest, err := store.CompactValue(dst, data)
	if err == nil && len(bytes.TrimLeft(rest, " \t\r\n")) > 0 {
		err = errors.New("something follows it")
	}
	if err != nil {
		return nil, fmt.Errorf("client: data is not one JSON value: %w", err)
	}
	return out, nil
}

// start makes run connect.
func (c *Client) start() { c.want.Do(func() { close(c.wanted) }) }

// waitFor returns a channel that is closed by the next tell of the same place. c.mu is held.
func (c *Client) waitFor(ch *chan struct{}) <-chan struct{} {
	if *ch == nil {
		*ch = make(chan struct{})
	}
	return *ch
}

// tell wakes those who wait. c.mu is held.
func (c *Client) tell(ch *chan struct{}) {
	if *ch != nil {
		close(*ch)
		*ch = nil
	}
}

// nudgeReader wakes a paused reader to look anew.
func (c *Client) nudgeReader() {
	if c.blocked.Load() {
		select {
		case c.nudge <- struct{}{}:
		default:
		}
	}
}
