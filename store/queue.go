package store

import (
	"context"
	"sync"
)

// queue holds the pushes that wait for the writer, bounded by bytes.
type queue struct {
	limit int
	wake  chan struct{} // has a token when there may be something to take

	mu     sync.Mutex
	pushes []*Push
	bytes  int
	space  chan struct{} // closed when the writer has taken something
	closed bool
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, wake: make(chan struct{}, 1), space: make(chan struct{})}
}

// put waits until there is room.
func (q *queue) put(ctx context.Context, p *Push) error {
	for {
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return ErrClosed
		}
		if q.bytes == 0 || q.bytes+p.size <= q.limit {
			q.pushes = append(q.pushes, p)
			q.bytes += p.size
			q.mu.Unlock()
			q.signal()
			return nil
		}
		space := q.space
		q.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take removes the oldest pushes, at least one and about limit bytes at the most.
func (q *queue) take(into []*Push, limit int) []*Push {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.pushes) && (n == 0 || size+q.pushes[n].size <= limit) {
		size += q.pushes[n].size
		n++
	}
	into = append(into, q.pushes[:n]...)
	rest := copy(q.pushes, q.pushes[n:])
	clear(q.pushes[rest:])
	q.pushes = q.pushes[:rest]
	q.bytes -= size
	if n > 0 {
		close(q.space)
		q.space = make(chan struct{})
	}
	if rest > 0 {
		q.signal()
	}
	return into
}

func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.pushes) == 0
}

func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

// close refuses further pushes and wakes those that wait for room.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.space)
		q.space = make(chan struct{})
	}
}
