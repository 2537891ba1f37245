package sync

import (
	"sync"
	"time"

	"tidemark/store"
)

// clients knows which connection speaks for each client, so that a newer one takes over from an older one whichever arrives
// first. It remembers those who left for a while, in bounded memory.
type clients struct {
	mu     sync.Mutex
	of     map[clientKey]*tenure
	left   []departure // oldest first
	gone   int         // departures before it are forgotten
	replay int64       // takeovers, for Stats
}

type clientKey struct {
	subject string
	client  store.ID
}

// tenure is the newest connection of a client.
type tenure struct {
	n       uint64
	session *Session // nil: it left
	left    time.Time
}

type departure struct {
	key clientKey
	at  time.Time
}

const (
	rememberFor = time.Minute
	// maxLeft bounds what is remembered of clients that left, against those who make up ids.
	maxLeft = 1 << 17
)

// claim makes s the connection of a client. It returns the one that it replaces, or false when a newer one was seen.
func (c *clients) claim(k clientKey, n uint64, s *Session, now time.Time) (replaced *Session, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep(now)
	t := c.of[k]
	if t == nil {
		t = &tenure{}
		c.of[k] = t
	}
	if n < t.n {
		return nil, false
	}
	replaced = t.session
	t.n, t.session = n, s
	if replaced != nil {
		c.replay++
	}
	return replaced, true
}

// leave tells that a connection is over.
func (c *clients) leave(k clientKey, s *Session, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.of[k]; t != nil && t.session == s {
		t.session, t.left = nil, now
		c.left = append(c.left, departure{k, now})
	}
	c.sweep(now)
}

// sweep forgets those who left long ago, and the oldest when they are too many.
func (c *clients) sweep(now time.Time) {
	for c.gone < len(c.left) && (now.Sub(c.left[c.gone].at) > rememberFor || len(c.left)-c.gone > maxLeft) {
		d := c.left[c.gone]
		if t := c.of[d.key]; t != nil && t.session == nil && t.left.Equal(d.at) {
			delete(c.of, d.key)
		}
		c.gone++
	}
	if c.gone > len(c.left)/2 {
		c.left, c.gone = append(c.left[:0], c.left[c.gone:]...), 0
	}
}

func (c *clients) takeovers() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.replay
}
