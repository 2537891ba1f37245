package durablestreams

import "sync"

// maxKept bounds what a buffer may hold when it goes back.
const maxKept = 1 << 20

// bufferPool keeps the buffers in which answers are put together. A reader that waits owns none.
type bufferPool struct{ pool sync.Pool }

var buffers = bufferPool{sync.Pool{New: func() any { return new([]byte) }}}

func (p *bufferPool) get() *[]byte { return p.pool.Get().(*[]byte) }

func (p *bufferPool) put(b *[]byte) {
	if cap(*b) <= maxKept {
		p.pool.Put(b)
	}
}
