package wsapi

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"tidemark/internal/wire"
	eventsync "tidemark/sync"
)

const (
	// chunk is what is written at once: each chunk has its own deadline, so that a deadline measures progress and not
	// the size of what is written.
	chunk = 16 << 10
	// lingering is how long an ending connection may take to get its close frame out, and again for the peer to answer.
	lingering = time.Second
	// Grace is how long Shutdown takes beyond its context.
	Grace = 2 * lingering
	// stallAfter is how long a chunk takes on a line that is so slow that large pages would keep it from answering.
	stallAfter = 500 * time.Millisecond
	// patience is how many deadlines one chunk may take on a line that moves, but barely.
	patience = 6
)

// wake is called by the session when it has something to write. It does not block.
func (c *conn) wake() {
	c.mu.Lock()
	c.wanted = true
	c.startWriter()
	c.mu.Unlock()
}

// startWriter starts the write goroutine if none runs. c.mu is held.
func (c *conn) startWriter() {
	if c.ready && !c.writing {
		c.writing = true
		c.srv.work.Add(1)
		go c.write()
	}
}

// end makes the connection end: with a close frame, unless how.Code is 0, behind the frame that is being written. The first
// call decides. It does not block.
func (c *conn) end(how wire.Close) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	c.ending, c.closing = true, how
	now := time.Now()
	_ = c.guard.Conn.SetWriteDeadline(now.Add(lingering))
	_ = c.guard.Conn.SetReadDeadline(now) // who reads stops
	if c.done != nil {
		close(c.done)
	}
	c.startWriter()
}

// await returns when the write goroutine has ended the connection.
func (c *conn) await() {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.wait = make(chan struct{})
	c.mu.Unlock()
	<-c.wait
}

// write is the write goroutine: it writes what there is, and ends; or it ends the connection.
func (c *conn) write() {
	out := takeOut(c)
	for more := true; more; {
		more = c.writeSome(out)
	}
	out.free()
	c.srv.work.Done()
}

// writeSome writes until there is nothing left. It returns false when the goroutine is done.
func (c *conn) writeSome(out *out) (more bool) {
	defer func() {
		if p := recover(); p != nil {
			out.broken = true
			c.panicked(p)
			more = !c.isOver()
		}
	}()
	for {
		if c.writeOwn(out) {
			c.finish(out)
			return false
		}
		f, ok := c.sess.Next()
		switch {
		case !ok:
			out.flush()
			if c.rest() {
				return false
			}
		case f.End != eventsync.EndNone:
			out.flush()
			c.end(closeOf(f.End))
		default:
			out.message(f)
		}
	}
}

// writeOwn writes pongs and pings; true: nothing but the close frame may follow.
func (c *conn) writeOwn(out *out) (ending bool) {
	c.mu.Lock()
	c.wanted = false
	ping, pongs, ending := c.ping, c.pongs, c.ending
	c.ping, c.pongs = false, nil
	c.mu.Unlock()
	if ending {
		return true
	}
	for _, p := range pongs {
		out.control(opPong, p)
	}
	if ping {
		out.control(opPing, nil)
	}
	return false
}

// rest ends the write goroutine unless there is something to do.
func (c *conn) rest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted || c.ping || c.ending || len(c.pongs) > 0 {
		return false
	}
	c.writing = false
	return true
}

// finish is the last that the write goroutine does: the close frame, if the peer is at the end of a frame, and the session.
func (c *conn) finish(out *out) {
	defer c.markOver()
	if c.closing.Code != 0 && !out.broken {
		out.control(opClose, closePayload(c.closing))
	}
	out.flush()
	c.sess.Close()
	c.srv.stats.closed(c.closing.Code)
}

func (c *conn) markOver() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true // and c.writing stays
	if c.wait != nil {
		close(c.wait)
	}
}

func (c *conn) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

func closePayload(how wire.Close) []byte {
	if how.Code == closeNoStatus {
		return nil
	}
	return append([]byte{byte(how.Code >> 8), byte(how.Code)}, how.Reason...)
}

// progress sets the deadline of the next chunk, now and then rather than each time: it is cheap, but not free. An ending
// connection has its deadline already.
func (c *conn) progress() {
	now := c.now()
	if c.writeBy-now > int64(c.srv.opts.WriteTimeout)*3/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.writeBy = now + int64(c.srv.opts.WriteTimeout)
		_ = c.guard.Conn.SetWriteDeadline(c.srv.started.Add(time.Duration(c.writeBy)))
	}
}

// takes notes that the peer takes in a long frame: that is a sign of life, because no ping gets through meanwhile. A small
// frame only shows that the kernel has room for it.
func (c *conn) takes(whole bool) {
	if alive := c.alive.Load(); whole && alive != 0 {
		c.alive.CompareAndSwap(alive, c.now())
	}
}

func (c *conn) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

// out is the scratch memory of a write goroutine: what is to be written next. It is small, because a thousand peers that
// stall hold one each; many small frames that are written at once get a whole chunk for the moment.
type out struct {
	c      *conn
	buf    []byte       // less than a chunk
	small  []byte       // its memory
	large  *[chunk]byte // or this
	header [maxHeader]byte
	bufs   [2][]byte // what write hands to the kernel
	vec    net.Buffers
	broken bool // a frame was written in part: nothing can follow
}

// smallOut is what fits in without a chunk: the heads of frames, and most frames that are alone.
const smallOut = 1 << 10

var (
	outs   = sync.Pool{New: func() any { return &out{small: make([]byte, smallOut)} }}
	chunks = sync.Pool{New: func() any { return new([chunk]byte) }}
)

func takeOut(c *conn) *out {
	o := outs.Get().(*out)
	o.c, o.buf = c, o.small[:0]
	return o
}

func (o *out) free() {
	o.shrink()
	o.c, o.broken = nil, false
	outs.Put(o)
}

// message writes one frame of the session.
func (o *out) message(f eventsync.Frame) {
	pieces, n, first := f.Pieces, f.Len(), byte(bitFin|opText)
	o.c.srv.stats.sent.Add(1)
	if o.c.deflate && n >= minDeflate {
		d := deflaters.Get().(*deflater)
		defer d.put()
		if z, err := d.deflate(pieces); err == nil {
			pieces, n, first = [][]byte{z}, len(z), first|bitRSV1
		}
	}
	o.head(first, n)
	for _, p := range pieces {
		o.add(p)
	}
}

func (o *out) control(op byte, payload []byte) {
	o.head(bitFin|op, len(payload))
	o.add(payload)
}

func (o *out) head(first byte, n int) {
	o.add(appendHeader(o.header[:0], first, n))
}

// add takes bytes in, and writes whole chunks: of large pieces without copying them.
func (o *out) add(p []byte) {
	for len(o.buf)+len(p) >= chunk {
		n := chunk - len(o.buf)
		o.send(o.buf, p[:n])
		o.shrink()
		p = p[n:]
	}
	if len(o.buf)+len(p) > cap(o.buf) {
		o.large = chunks.Get().(*[chunk]byte)
		o.buf = append(o.large[:0], o.buf...)
	}
	o.buf = append(o.buf, p...)
}

// shrink empties the buffer and gives a chunk back.
func (o *out) shrink() {
	if o.large != nil {
		chunks.Put(o.large)
		o.large = nil
	}
	o.buf = o.small[:0]
}

func (o *out) flush() {
	o.send(o.buf, nil)
	o.shrink()
}

// send writes one chunk, which is in two parts. Where the peer does not take it in time the connection ends; the chunk then
// has a last second, so that a close frame can follow.
func (o *out) send(p, q []byte) {
	size := len(p) + len(q)
	if size == 0 || o.broken {
		return
	}
	start := o.c.now()
	o.c.srv.stats.bytesOut.Add(int64(size))
	for tries := 1; ; tries++ {
		o.c.progress()
		n, err := o.write(p, q)
		switch {
		case err == nil:
			o.stall(time.Duration(o.c.now() - start))
			o.c.takes(size == chunk)
			return
		case !errors.Is(err, os.ErrDeadlineExceeded) || o.c.isEnding():
			o.broken = true
			o.c.end(wire.Close{})
			return
		case n == 0 || tries == patience || !resumable(o.c.guard.Conn):
			o.c.end(wire.CloseSlow)
		}
		k := min(n, len(p))
		p, q = p[k:], q[n-k:]
	}
}

// write writes both parts, with one system call where that is possible.
func (o *out) write(p, q []byte) (int, error) {
	switch {
	case len(q) == 0:
		return o.c.guard.Conn.Write(p)
	case len(p) == 0:
		return o.c.guard.Conn.Write(q)
	}
	o.bufs = [2][]byte{p, q}
	o.vec = o.bufs[:]
	n, err := o.vec.WriteTo(o.c.guard.Conn)
	o.bufs, o.vec = [2][]byte{}, nil
	return int(n), err
}

// stall tells the session whether the line is slow.
func (o *out) stall(took time.Duration) {
	if slow := took > stallAfter; slow != o.c.stalled && (slow || took < stallAfter/8) {
		o.c.stalled = slow
		o.c.sess.Stalled(slow)
	}
}
