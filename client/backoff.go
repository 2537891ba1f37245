package client

import (
	"math/rand/v2"
	"time"
)

// backoff says how long to wait before the next try: exponential, with full jitter, so that the clients of a server that
// restarted do not come back in waves.
type backoff struct {
	min, max time.Duration
	tries    int
}

// next returns the next wait, between 0 and the bound, which doubles with every try.
func (b *backoff) next() time.Duration {
	bound := b.max
	if b.tries < 30 {
		bound = min(b.max, b.min<<b.tries)
	}
	b.tries++
	return rand.N(bound) + 1
}

func (b *backoff) reset() { b.tries = 0 }
