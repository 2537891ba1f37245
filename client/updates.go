package client

import (
	"sync"

	"tidemark/store"
)

// updateQueue holds copies of the updates that an iterator has not taken yet.
type updateQueue struct {
	limit  int           // bytes, beyond which the reader pauses
	filled chan struct{} // has a token when there may be something to take

	mu    sync.Mutex
	items ring[*Update]
	bytes int
}

func newUpdateQueue(limit int) *updateQueue {
	return &updateQueue{limit: limit, filled: make(chan struct{}, 1)}
}

// put adds a copy of u.
func (q *updateQueue) put(u *Update) {
	c, size := clone(u)
	q.mu.Lock()
	q.items.push(c)
	q.bytes += size
	q.mu.Unlock()
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// take returns the oldest update, nil when there is none.
func (q *updateQueue) take() *Update {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.items.len() == 0 {
		return nil
	}
	u := q.items.pop()
	if q.items.len() == 0 {
		q.bytes = 0
	} else {
		q.bytes -= weight(u)
	}
	return u
}

// full reports whether the iterator is behind by more than the limit.
func (q *updateQueue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes > q.limit
}

const (
	eventWeight = 200 // bytes of an event or document beside its data, about
	otherWeight = 300
)

// weight is about what an update costs in memory.
func weight(u *Update) int {
	n := otherWeight + len(u.Docs)*eventWeight + len(u.Events)*eventWeight + len(u.Gone)*16
	for i := range u.Events {
		n += len(u.Events[i].Data)
	}
	for i := range u.Docs {
		n += len(u.Docs[i].Data)
	}
	for i := range u.Members {
		n += len(u.Members[i].Data) + len(u.Members[i].By)
	}
	return n
}

// clone copies an update with all that it points to, the data of all its events in one piece.
func clone(u *Update) (c *Update, size int) {
	size = weight(u)
	c = new(Update)
	*c = *u
	c.Events = append([]store.Event(nil), u.Events...)
	c.Docs = append([]store.Doc(nil), u.Docs...)
	c.Members = append([]Member(nil), u.Members...)
	c.Gone = append([]store.ID(nil), u.Gone...)
	arena := make([]byte, 0, size)
	keep := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		at := len(arena)
		arena = append(arena, b...)
		return arena[at:len(arena):len(arena)]
	}
	for i := range c.Events {
		c.Events[i].Data = keep(c.Events[i].Data)
	}
	for i := range c.Docs {
		c.Docs[i].Data = keep(c.Docs[i].Data)
	}
	for i := range c.Members {
		c.Members[i].Data = keep(c.Members[i].Data)
	}
	return c, size
}
