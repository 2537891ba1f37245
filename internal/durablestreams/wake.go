package durablestreams

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"tidemark/store"
)

// subscriptions wakes workers when streams have news: by calling a webhook, or by an event on a stream that workers follow.
// Each wake has a generation; whoever works for an older one is fenced off.
type subscriptions struct {
	server *Server
	client *http.Client
	signal chan struct{} // there may be something to do
	count  atomic.Int64  // how many there are: the log's goroutine looks no further when there are none
	calls  sync.WaitGroup

	mu    sync.Mutex // held for memory work only
	known map[string]*subscription
	key   *signingKey
}

// Bounds of webhooks.
const (
	maxCalls     = 16          // at once
	firstRetry   = time.Second // also of a wake that the log refused
	slowestRetry = time.Minute
)

// poke makes the loop look.
func (s *subscriptions) poke() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// note takes over events. It runs on the log's own goroutine.
func (s *subscriptions) note(events []store.Event) {
	if s.count.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	news := false
	for i := range events {
		if events[i].Stream.Reserved() {
			continue
		}
		for _, sub := range s.known {
			news = sub.note(string(events[i].Stream), events[i].Seq) || news
		}
	}
	if news {
		s.poke()
	}
}

// run wakes whom there is something for, until the server ends.
func (s *subscriptions) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	slots := make(chan struct{}, maxCalls)
	for {
		due, next := s.due(time.Now())
		for _, sub := range due {
			s.start(sub, slots)
		}
		timer.Reset(next)
		select {
		case <-s.server.ending.Done():
			return
		case <-s.signal:
		case <-timer.C:
		}
	}
}

func (s *subscriptions) close() { s.calls.Wait() }

// due lists the subscriptions that must be woken, and after how long to look again.
func (s *subscriptions) due(now time.Time) (list []*subscription, next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next = time.Hour
	for _, sub := range s.known {
		if sub.expired(now) {
			sub.rest()
		}
		retry := sub.config.Type == "webhook" && sub.phase == waking && !sub.sending
		switch {
		case len(sub.pending) == 0 && sub.phase == idle:
		case sub.phase == idle && !now.Before(sub.again), retry && !now.Before(sub.deadline):
			list = append(list, sub)
		case sub.phase == idle:
			next = min(next, sub.again.Sub(now))
		case sub.phase == live || retry:
			next = min(next, max(time.Millisecond, sub.deadline.Sub(now)))
		}
	}
	return list, next
}

// start sends a wake: a new one, or the last one again when its webhook failed.
func (s *subscriptions) start(sub *subscription, slots chan struct{}) {
	sub.turn.Lock()
	defer sub.turn.Unlock()
	s.mu.Lock()
	fresh, kind := sub.phase == idle && !sub.deleted && len(sub.pending) > 0, sub.config.Type // all of it may have changed since due
	s.mu.Unlock()
	if fresh {
		if err := s.begin(sub, waking, kind == "pull-wake"); err != nil {
			s.server.log("wake", err)
			s.postpone(sub)
			return
		}
	}
	if kind != "webhook" {
		return
	}
	s.mu.Lock()
	if sub.phase != waking || sub.sending || sub.deleted {
		s.mu.Unlock()
		return
	}
	sub.sending = true
	s.mu.Unlock()
	s.calls.Go(func() {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			s.call(sub)
		case <-s.server.ending.Done():
		}
	})
}

// postpone has a wake that could not be written down tried again.
func (s *subscriptions) postpone(sub *subscription) {
	s.mu.Lock()
	sub.again = time.Now().Add(firstRetry)
	s.mu.Unlock()
	s.poke() // what the loop knows of the next time is older
}

// begin opens the next generation and writes that down, for a pull-wake together with the event that workers wait for. The
// caller holds sub.turn.
func (s *subscriptions) begin(sub *subscription, to phase, announce bool) error {
	s.mu.Lock()
	config := sub.config
	stream := ""
	for path := range sub.pending {
		if stream == "" || path < stream {
			stream = path
		}
	}
	s.mu.Unlock()
	config.Generation++
	list := []store.Mutation{document(subStream, sub.id, encode(config))}
	if announce {
		list = append(list, store.Mutation{ID: store.NewID(), Stream: store.Stream(config.WakeStream), Type: messageType, Data: encode(wakeEvent{
			Type: "wake", Subscription: sub.id, Stream: stream, Generation: config.Generation, TS: nowMS(),
		})})
	}
	if err := appendAll(s.server.ending, s.server.Log, list); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sub.config.Generation = config.Generation
	sub.phase, sub.wake, sub.token, sub.holder, sub.failures = to, "wake_"+secret(), secret(), "", 0
	return nil
}

// wakeEvent is what stands on the wake stream of a pull-wake subscription.
type wakeEvent struct {
	Type         string `json:"type"`
	Subscription string `json:"subscription_id"`
	Stream       string `json:"stream"`
	Generation   uint64 `json:"generation"`
	TS           int64  `json:"ts"`
}

// streamState tells a worker about one stream.
type streamState struct {
	Path     string `json:"path"`
	LinkType string `json:"link_type"`
	Acked    string `json:"acked_offset"`
	Tail     string `json:"tail_offset"`
	Pending  bool   `json:"has_pending"`
}

// snapshot lists what there is to do. The caller holds s.mu.
func (sub *subscription) snapshot() []streamState {
	out := make([]streamState, 0, len(sub.pending))
	for path, tail := range sub.pending {
		out = append(out, streamState{
			Path: path, LinkType: sub.linkType(path), Acked: formatOffset(sub.acked(path)), Tail: formatOffset(tail), Pending: true,
		})
	}
	return out
}

// ack is how far a stream was worked off.
type ack struct {
	Stream string `json:"stream"`
	Offset string `json:"offset"`
}

// apply writes acknowledgements down. The caller holds sub.turn.
func (s *subscriptions) apply(ctx context.Context, sub *subscription, acks []ack) error {
	links := make(map[string]linkDoc, len(acks))
	s.mu.Lock()
	for _, a := range acks {
		seq, err := parseOffset(a.Offset)
		if err != nil || seq > s.server.Log.Head() || !sub.matches(a.Stream) {
			s.mu.Unlock()
			return refuse(http.StatusBadRequest, "INVALID_OFFSET", "an ack names a stream or an offset that is not there")
		}
		l, ok := links[a.Stream]
		if !ok {
			l = linkDoc{Explicit: sub.links[a.Stream].Explicit, Acked: sub.acked(a.Stream)}
		}
		l.Acked = max(l.Acked, seq)
		links[a.Stream] = l
	}
	s.mu.Unlock()
	var list []store.Mutation
	for path, l := range links {
		list = append(list, document(linkStream, linkKey(sub.id, path), encode(l)))
	}
	if len(list) == 0 {
		return nil
	}
	if err := appendAll(ctx, s.server.Log, list); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, l := range links {
		sub.links[path] = l
		if sub.pending[path] <= l.Acked {
			delete(sub.pending, path)
		}
	}
	return nil
}
