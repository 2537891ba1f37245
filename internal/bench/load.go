package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/client"
	"tidemark/store"
)

// ids makes mutation ids for one goroutine, faster than a generator that is safe against guessing.
type ids struct {
	rng    *rand.ChaCha8
	random bool // v4
	last   uint64
}

func newIDs(kind string) *ids {
	var seed [32]byte
	for i := 0; i < len(seed); i += 8 {
		binary.LittleEndian.PutUint64(seed[i:], rand.Uint64())
	}
	return &ids{rng: rand.NewChaCha8(seed), random: kind == "v4"}
}

func (g *ids) next() (id store.ID) {
	binary.BigEndian.PutUint64(id[8:], g.rng.Uint64())
	id[8] = id[8]&0x3f | 0x80
	if g.random {
		binary.BigEndian.PutUint64(id[:], g.rng.Uint64())
		id[6] = id[6]&0x0f | 0x40
		return id
	}
	// RFC 9562, 5.7: milliseconds, and below them, to keep order, parts of a millisecond.
	now := uint64(time.Now().UnixNano())
	g.last = max(g.last+1, now/1e6<<12|now%1e6*4096/1e6)
	binary.BigEndian.PutUint64(id[:], g.last>>12<<16|0x7000|g.last&0xfff)
	return id
}

// payload returns JSON data of about n bytes that looks like an app's.
func payload(n int) []byte {
	const head, tail = `{"text":"`, `","n":1}`
	b := append(make([]byte, 0, n), head...)
	for len(b) < n-len(tail) {
		b = append(b, "the quick brown fox jumps over the lazy dog "[len(b)%44])
	}
	return append(b, tail...)
}

// writer keeps a number of mutations of one client outstanding: each answer sends the next one.
type writer struct {
	mu sync.Mutex // of everything below, but for the atomics

	c       *client.Client
	ids     *ids
	streams []store.Stream
	next    int
	m       store.Mutation
	stop    *atomic.Bool
	record  *atomic.Bool // latencies count only while it is set
	sent    []time.Time  // ring: when the outstanding mutations were sent; answers come in order
	head    int
	window  int
	hist    histogram
	acked   atomic.Int64
	left    int // outstanding
	err     error
	done    chan struct{} // closed when nothing is outstanding any more
}

func (b *Bench) newWriter(c *client.Client, window int, streams []store.Stream, stop, record *atomic.Bool) *writer {
	return &writer{c: c, ids: newIDs(b.IDs), streams: streams, next: rand.N(len(streams)), window: window,
		m: store.Mutation{Type: "bench", Data: payload(b.Payload)}, stop: stop, record: record,
		sent: make([]time.Time, window), done: make(chan struct{})}
}

// start sends the first window. Everything after it happens in the client's goroutine, one answer after another.
func (w *writer) start(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = w.window
	for i := range w.window {
		w.sent[i] = time.Now()
		if err := w.send(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) send(ctx context.Context) error {
	m := w.m
	m.ID, m.Stream = w.ids.next(), w.streams[w.next]
	if w.next++; w.next == len(w.streams) {
		w.next = 0
	}
	return w.c.Send(ctx, &m, w.answered)
}

func (w *writer) answered(r client.Result) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Err != nil && w.err == nil {
		w.err = r.Err
	}
	if w.record.Load() {
		w.hist.add(now.Sub(w.sent[w.head]))
	}
	w.acked.Add(1)
	if w.stop.Load() || w.err != nil {
		if w.left--; w.left == 0 {
			close(w.done)
		}
		return
	}
	w.sent[w.head] = now
	if w.head++; w.head == w.window {
		w.head = 0
	}
	if err := w.send(context.Background()); err != nil {
		w.err = err
		if w.left--; w.left == 0 {
			close(w.done)
		}
	}
}

// load is what several writers brought, while recorded.
type load struct {
	stretch
	hist histogram
}

// drive lets each client write for the duration, after a warm-up that does not count.
func (b *Bench) drive(ctx context.Context, cs []*client.Client, window int, streams []store.Stream, warm, d time.Duration) (load, error) {
	var stop, record atomic.Bool
	ws := make([]*writer, len(cs))
	for i, c := range cs {
		ws[i] = b.newWriter(c, window, streams, &stop, &record)
		if err := ws[i].start(ctx); err != nil {
			return load{}, err
		}
	}
	total := func() (n int64) {
		for _, w := range ws {
			n += w.acked.Load()
		}
		return n
	}
	if err := sleep(ctx, warm); err != nil {
		return load{}, err
	}
	record.Store(true)
	s, err := b.steady(ctx, d, "append", total)
	record.Store(false)
	stop.Store(true)
	l := load{stretch: s}
	for _, w := range ws {
		select {
		case <-w.done:
		case <-ctx.Done():
			return l, ctx.Err()
		}
		err = errors.Join(err, w.err)
		l.hist.merge(&w.hist)
	}
	return l, err
}

// burst lets one client write one mutation at a time and returns how long they took, without those of the warm-up.
func (b *Bench) burst(ctx context.Context, c *client.Client, streams []store.Stream, warm, d time.Duration) (*histogram, error) {
	var stop, record atomic.Bool
	w := b.newWriter(c, 1, streams, &stop, &record)
	if err := w.start(ctx); err != nil {
		return nil, err
	}
	err := sleep(ctx, warm)
	record.Store(true)
	if err == nil {
		err = sleep(ctx, d)
	}
	stop.Store(true)
	select {
	case <-w.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return &w.hist, errors.Join(err, w.err)
}

// fill writes n events through the server as fast as it can, over the streams in turn, and returns the seq of the first one.
func (b *Bench) fill(ctx context.Context, n int, streams []store.Stream) (first store.Seq, err error) {
	if n <= 0 {
		return 0, nil
	}
	c, err := b.client(ctx, client.Options{})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	g := newIDs(b.IDs)
	m := store.Mutation{Type: "bench", Data: payload(b.Payload)}
	var failed atomic.Pointer[error]
	answered := func(r client.Result) { // one after the other, all before Flush returns
		if first == 0 {
			first = r.Seq
		}
		if r.Err != nil {
			failed.CompareAndSwap(nil, &r.Err)
		}
	}
	for i := range n {
		m.ID, m.Stream = g.next(), streams[i%len(streams)]
		if err := c.Send(ctx, &m, answered); err != nil {
			return 0, err
		}
		if i%1000 == 0 {
			b.Progress(int64(i), int64(n))
			if e := failed.Load(); e != nil {
				return 0, *e
			}
		}
	}
	if err := c.Flush(ctx); err != nil {
		return 0, err
	}
	if e := failed.Load(); e != nil {
		return 0, *e
	}
	return first, nil
}

func streams(n int) []store.Stream {
	s := make([]store.Stream, n)
	for i := range s {
		s[i] = streamName(i)
	}
	return s
}
