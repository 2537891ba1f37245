package wsapi

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/lxzan/gws"

	"tidemark/internal/wire"
	eventsync "tidemark/sync"
)

// session is what a connection needs of the engine's *Session.
type session interface {
	Receive(m eventsync.Message) error
	Next() (eventsync.Frame, bool)
	Stalled(is bool)
	Welcomed() bool
	Close()
}

// conn is one connection. It owns its read goroutine for as long as it lives, and a write goroutine while there is something
// to write; the write goroutine also ends it.
type conn struct {
	srv   *Server
	sess  session
	index int // in Server.conns

	// The read goroutine's own.
	guard    guard
	dec      wire.Decoder
	deflate  bool
	claimed  int    // bytes of the budget that the message on its way holds
	enough   bool   // the session takes in nothing more
	answered uint16 // the code that answers the peer's close frame; 0: it sent none

	// The write goroutine's own.
	stalled bool  // the session was told that the line is slow
	writeBy int64 // the deadline of the chunk being written, on the server's clock

	// What the sweeper looks at, in nanoseconds of the server's clock.
	opened   int64
	nextPing int64
	greeted  atomic.Bool
	holds    atomic.Bool  // claimed is not 0
	alive    atomic.Int64 // the last sign of life, or since when it is waited for one; 0: nobody reads now
	due      atomic.Int64 // when the message on its way must be complete; 0: none is

	mu      sync.Mutex // guards what follows; held for moments only, for wake takes it
	ready   bool       // sess is there
	writing bool       // there is a write goroutine, or was the last one
	wanted  bool       // the session has something to write
	ping    bool       // a ping is due
	pongs   [][]byte   // payloads of pings to answer
	ending  bool       // no more frames but the close frame
	over    bool       // the write goroutine is done for good
	closing wire.Close // how the connection ends; Code 0: without a close frame
	wait    chan struct{}
	done    chan struct{} // closed when ending; made when somebody waits for it
}

// open makes a connection of a hijacked socket, answers the handshake, and starts reading. The socket is closed on failure.
func (s *Server) open(nc net.Conn, hs *handshake) {
	c := &conn{srv: s, deflate: hs.deflate}
	c.dec.Limits = s.limits
	c.guard.init(nc, c, hs.deflate)
	socket, err := s.upgrade(&c.guard, hs)
	if err != nil || !s.enter(c) {
		_ = nc.Close()
		s.giveBack(nc.RemoteAddr().String())
		return
	}
	c.guard.open = true
	sess := s.connect(c.wake, hs.token)
	c.mu.Lock()
	c.sess, c.ready = sess, true
	if c.wanted || c.ending {
		c.startWriter()
	}
	c.mu.Unlock()
	go c.read(socket)
}

// read is the read goroutine. What it waits in is shallow on purpose: a stack that grew when a message came shrinks again to
// 4 KiB only if the wait needs less than a quarter of 8 KiB.
func (c *conn) read(socket *gws.Conn) {
	defer c.readEnds()
	socket.ReadLoop()
}

// readEnds waits for the write goroutine to end the connection, and closes the socket.
func (c *conn) readEnds() {
	if p := recover(); p != nil {
		c.panicked(p)
	}
	c.alive.Store(0)
	c.due.Store(0)
	c.unclaim()
	if !c.enough {
		c.end(wire.Close{Code: c.answered}) // the peer closed, or is gone
	}
	c.await()
	if c.closing.Code != 0 && !c.guard.closing {
		_ = c.guard.Conn.SetReadDeadline(time.Now().Add(lingering))
		c.guard.discard()
	}
	_ = c.guard.Conn.Close()
	c.guard.release()
	c.srv.leave(c)
}

// panicked ends the connection that a panic happened on.
func (c *conn) panicked(p any) {
	c.srv.stats.panics.Add(1)
	c.srv.log.Error("wsapi: a connection panicked", "panic", p, "stack", string(debug.Stack()))
	c.end(wire.CloseOverloaded)
}

// message is called by gws with every complete message, on the read goroutine.
func (c *conn) message(m *gws.Message) {
	defer c.unclaim()
	c.srv.stats.received.Add(1)
	msg, ok := c.decode(m)
	if !ok {
		return
	}
	if _, hello := msg.(*eventsync.Hello); hello {
		c.greeted.Store(true)
	}
	if err := c.sess.Receive(msg); err != nil {
		c.enough = true
	}
}

// decode returns the message and gives gws its buffer back; false: the connection ends instead.
func (c *conn) decode(m *gws.Message) (eventsync.Message, bool) {
	defer m.Close()
	if m.Opcode != gws.OpcodeText {
		return notText, true
	}
	if !c.guard.inspect.compressed {
		return decode(&c.dec, m.Bytes()), true
	}
	room := inflateRoom(m.Data.Len(), c.guard.most) // was claimed with the first frame
	f := inflaters.Get().(*inflater)
	defer f.put()
	data, err := f.inflate(m.Bytes(), room)
	switch {
	case errors.Is(err, errBomb):
		c.refuse(wire.CloseTooLarge)
		return nil, false
	case err != nil:
		c.refuse(closeGarbage)
		return nil, false
	}
	return decode(&c.dec, data), true
}

// pinged queues the answer to a ping; of many, the newest are answered.
func (c *conn) pinged(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pongs) == maxPongs {
		c.pongs = append(c.pongs[:0], c.pongs[1:]...)
	}
	c.pongs = append(c.pongs, payload)
	c.startWriter()
}

// maxPongs is how many answers to pings wait at most for a peer that does not read.
const maxPongs = 16

// closed is called by gws when reading ended. What the peer said last is looked at as strictly as the rest.
func (c *conn) closed(err error) {
	bye, ok := errors.AsType[*gws.CloseError](err)
	if ok && !utf8.Valid(bye.Reason) {
		c.answered = closeGarbage.Code
	}
	if !ok && !errors.Is(err, errRefused) && !errors.Is(err, io.EOF) {
		c.srv.log.Debug("wsapi: a connection broke", "err", err)
	}
}

// closes implements keeper: gws answers the peer's close frame with one of the same code, or one that says what is wrong.
func (c *conn) closes(frame []byte) {
	_, size := parseHeader(frame)
	answer := uint16(closeNoStatus)
	if p := frame[size:]; len(p) >= 2 {
		answer = binary.BigEndian.Uint16(p)
	}
	if c.guard.closing || answer != closeNormal { // closeNormal is what gws says when the socket fails
		c.answered = answer
	}
}

// closeNoStatus stands for a close frame without a code (RFC 6455, section 7.1.5).
const (
	closeNormal   = 1000
	closeNoStatus = 1005
)

// refuse implements keeper.
func (c *conn) refuse(how wire.Close) { c.end(how) }

// stopped implements keeper.
func (c *conn) stopped() bool {
	if c.enough {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

// limit implements keeper: little is taken from those whom nobody knows yet.
func (c *conn) limit(n uint64) int {
	if n <= wire.MaxHello || !c.sess.Welcomed() {
		return min(wire.MaxHello, c.srv.limits.Frame)
	}
	return c.srv.limits.Frame
}

// claim implements keeper. Nobody is silent, or slow, while he has to wait here.
func (c *conn) claim(n int) error {
	c.alive.Store(0)
	due := c.due.Swap(0)
	c.srv.claims.Add(1)
	err := c.srv.budget.Acquire((*until)(c), n)
	c.srv.claims.Add(-1)
	if err != nil {
		return errRefused
	}
	c.claimed += n
	c.holds.Store(true)
	if due != 0 {
		c.begins()
	}
	return nil
}

func (c *conn) unclaim() {
	if c.claimed > 0 {
		c.srv.budget.Release(c.claimed)
		c.claimed = 0
		c.holds.Store(false)
	}
}

// now, waits, heard, begins and ends implement keeper.
func (c *conn) now() int64 { return c.srv.now() }
func (c *conn) waits()     { c.alive.Store(c.now()) }

func (c *conn) heard(n int) {
	c.alive.Store(0)
	if c.due.Load() != 0 {
		c.due.Add(int64(n) * int64(time.Second) / slowestPeer)
	}
}

func (c *conn) begins() {
	if c.due.Load() == 0 {
		c.due.Store(c.now() + int64(c.srv.opts.MessageTimeout))
	}
}

func (c *conn) ends() { c.due.Store(0) }

// slowestPeer is the bytes a second at which a large message may come: each one that came gives the rest more time, so that
// who declares much and sends little holds memory no longer than others.
const slowestPeer = 4 << 10

// until is a connection as the context of what its read goroutine waits for.
type until conn

func (u *until) Deadline() (time.Time, bool) { return time.Time{}, false }
func (u *until) Value(any) any               { return nil }

func (u *until) Err() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ending {
		return context.Canceled
	}
	return nil
}

func (u *until) Done() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done == nil {
		u.done = make(chan struct{})
		if u.ending {
			close(u.done)
		}
	}
	return u.done
}
