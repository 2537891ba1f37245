package durablestreams

import (
	"sync"

	"tidemark/store"
)

// waiters wakes readers of streams that have news: events, or a change of what is known of the stream itself.
type waiters struct {
	mu     sync.Mutex
	topics map[store.Stream]*topic // only of streams that somebody waits for
}

type topic struct {
	news  chan struct{} // closed at the next news
	count int
}

// join returns a channel that is closed at the stream's next news. Look for news after joining, then wait; leave when done.
func (w *waiters) join(name store.Stream) *topic {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.topics[name]
	if t == nil {
		t = &topic{news: make(chan struct{})}
		w.topics[name] = t
	}
	t.count++
	return t
}

func (w *waiters) leave(name store.Stream, t *topic) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.count--; t.count == 0 && w.topics[name] == t {
		delete(w.topics, name)
	}
}

// wake tells of events that have become visible.
func (w *waiters) wake(events []store.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.topics) == 0 {
		return
	}
	for i := range events {
		name := events[i].Stream
		if name == metaStream {
			name = store.Stream(events[i].Key)
		}
		if t := w.topics[name]; t != nil {
			close(t.news)
			delete(w.topics, name)
		}
	}
}

// nudge wakes who waits for one stream.
func (w *waiters) nudge(name store.Stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.topics[name]; t != nil {
		close(t.news)
		delete(w.topics, name)
	}
}
