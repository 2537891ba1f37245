package sync

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/store"
)

// Engine carries events from one log to all sessions. All methods may be called concurrently.
type Engine struct {
	log     Log
	opts    Options
	rules   rules
	reader  reader
	cache   cache
	budget  *Budget
	clients clients
	stats   counters
	shown   gauge // bytes of presence
	head    atomic.Uint64
	opens   [openHeads][]byte // what stands before the events of a frame, by number of the subscription
	closing []byte            // what stands behind them

	calls sync.WaitGroup // goroutines that wake many waiters

	mu       sync.Mutex // guards what follows
	sessions map[*Session]struct{}
	draining bool
	empty    chan struct{} // closed when the last session left while draining
}

// openHeads is how many numbers of subscriptions have their frame heads ready.
const openHeads = 64

// New makes an engine that follows log. It calls log.Watch: nothing may have been appended through this process before.
func New(log Log, o Options) (*Engine, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	e := &Engine{log: log, opts: o, budget: newBudget(o.Budget), sessions: make(map[*Session]struct{})}
	e.cache.limit = o.Cache
	e.clients.of = make(map[clientKey]*tenure)
	e.shown.limit = o.Budget / 4
	e.rules = rules{limits: o.Limits, log: log.LogID(), registry: newRegistry(), release: e.release,
		signals: &gauge{limit: o.Budget / 8}}
	e.reader = reader{log: log, enc: o.Encoder, cache: &e.cache, budget: e.budget, stats: &e.stats,
		slots: make(chan struct{}, 2*runtime.GOMAXPROCS(0))}
	for i := range e.opens {
		e.opens[i] = o.Encoder.AppendEventsOpen(nil, uint64(i))
	}
	e.closing = o.Encoder.AppendEventsClose(nil)
	log.Watch(e.watch)
	st, err := log.Resume(store.All, store.Cursor{})
	if err != nil {
		return nil, err
	}
	e.raise(st.LogHead)
	return e, nil
}

// Budget returns what bounds the memory of frames on their way; the edge takes from it before it reads a large one.
func (e *Engine) Budget() *Budget { return e.budget }

// Limits and Heartbeat return what clients are told, with the defaults filled in: the edge holds them to it.
func (e *Engine) Limits() Limits { return e.opts.Limits }

// Heartbeat returns the time between two pings of the edge.
func (e *Engine) Heartbeat() time.Duration { return e.opts.Heartbeat }

// Head returns the log's head, as far as the engine has been told.
func (e *Engine) Head() store.Seq { return store.Seq(e.head.Load()) }

func (e *Engine) raise(head store.Seq) {
	for {
		have := e.head.Load()
		if have >= uint64(head) || e.head.CompareAndSwap(have, uint64(head)) {
			return
		}
	}
}

// atOnce is how many waiters of one commit are woken on the log's own goroutine, which has other things to do.
const atOnce = 64

// watch is told of every commit. The topics learn of it before the head does: see sub.reach.
func (e *Engine) watch(c store.Commit) {
	topics := e.rules.registry.publish(c.Events)
	e.raise(c.Head)
	woken := 0
	for i, t := range topics {
		ws := t.rouse()
		if woken += len(ws); woken > atOnce {
			rest := slices.Clone(topics[i+1:])
			e.calls.Go(func() {
				wakeAll(t, ws)
				for _, t := range rest {
					wakeAll(t, t.rouse())
				}
			})
			return
		}
		wakeAll(t, ws)
	}
}

func wakeAll(t *topic, ws []*waiter) {
	for _, w := range ws {
		w.wake()
	}
	t.rested(ws)
}

// release gives back a topic; with its last follower its pages go.
func (e *Engine) release(t *topic) {
	if e.rules.registry.detach(t) {
		e.cache.drop(&t.pages)
	}
}

// eventsOpen returns the head of an events frame.
func (e *Engine) eventsOpen(out *outbox, sub uint64) []byte {
	if sub < openHeads {
		return e.opens[sub]
	}
	out.text = e.opts.Encoder.AppendEventsOpen(out.text[:0], sub)
	return out.text
}

func (e *Engine) welcome(ref Ref, p *Principal) *Welcome {
	return &Welcome{
		Ref: ref, Log: e.rules.log, Session: store.NewID(), Head: e.Head(), By: p.Subject, ExpiresAt: unixMS(p.Expires),
		Server: e.opts.Server, Features: e.opts.Features, HeartbeatMS: e.opts.Heartbeat.Milliseconds(), Limits: e.opts.Limits,
	}
}

// explain turns an error into what the client is told. What has no code is the server's own affair: it is logged.
func (e *Engine) explain(err error, doing string) *Error {
	var refusal *store.Refusal
	if errors.As(err, &refusal) {
		return &Error{Code: refusal.Code, Message: refusal.Message}
	}
	e.opts.Logger.Error("sync: cannot "+doing, "err", err)
	return &Error{Code: store.CodeInternal, Message: "internal error"}
}

// Wait returns when there are events of f after a seq that this call has not been told of to be read, or with the context's
// error. It may return early: read, and wait again when there was nothing.
func (e *Engine) Wait(ctx context.Context, f store.Filter, after store.Seq) error {
	t := e.rules.registry.attach(f)
	defer e.release(t)
	st, err := e.log.Resume(f, store.Cursor{})
	if err != nil {
		return err
	}
	t.begin(st.Head)
	w := waiter{come: make(chan struct{})}
	if !t.arm(&w, after) {
		return nil
	}
	defer t.disarm(&w)
	select {
	case <-w.come:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter and exit count the sessions.
func (e *Engine) enter(s *Session) {
	e.mu.Lock()
	e.sessions[s] = struct{}{}
	draining := e.draining
	e.mu.Unlock()
	if draining {
		s.update(func(m *machine) { m.drain(spread(1)) })
	}
}

func (e *Engine) exit(s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sessions, s)
	if len(e.sessions) == 0 && e.empty != nil {
		close(e.empty)
		e.empty = nil
	}
}

// Drain ends all sessions, and every new one at once: what they have handed in is answered, then they are told goodbye, with
// times to reconnect that are spread out, and closed. It returns when the edge has closed all of them, or with the context's
// error.
func (e *Engine) Drain(ctx context.Context) error {
	e.mu.Lock()
	e.draining = true
	all := make([]*Session, 0, len(e.sessions))
	for s := range e.sessions {
		all = append(all, s)
	}
	if len(all) > 0 && e.empty == nil {
		e.empty = make(chan struct{})
	}
	empty := e.empty
	e.mu.Unlock()
	for _, s := range all {
		s.update(func(m *machine) { m.drain(spread(len(all))) })
	}
	if len(all) == 0 {
		return nil
	}
	select {
	case <-empty:
		e.calls.Wait()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// spread picks a time after which one of n clients is to come back: about 2 ms for each, so that they do not come at once.
func spread(n int) time.Duration {
	window := min(max(time.Duration(n)*2*time.Millisecond, time.Second), 30*time.Second)
	return 200*time.Millisecond + rand.N(window)
}
