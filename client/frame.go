package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// The opcodes of RFC 6455, section 5.2.
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

const (
	headerRoom = 14 // the longest header of a frame that a client sends
	smallRead  = 4 << 10
)

// errFrame is wrapped by every error about a frame that RFC 6455 does not allow a server to send.
var errFrame = errors.New("client: broken WebSocket frame")

// bigReads holds read buffers for frames that do not fit the small one, so that an idle connection keeps none.
var bigReads = sync.Pool{New: func() any { return new([]byte) }}

// frameReader reads the messages of one WebSocket connection. It belongs to one goroutine; only waiting may be called by others.
type frameReader struct {
	conn  net.Conn
	limit int          // the longest message that is accepted, in bytes: what a hostile server can make us allocate
	pong  func([]byte) // gets the payload of each ping, valid during the call

	buf   []byte // read and not yet consumed: buf[r:w]
	r, w  int
	small []byte  // the buffer of a quiet connection
	big   *[]byte // from bigReads, nil while small is enough
	parts []byte  // the message so far, when it comes in fragments

	since atomic.Int64 // Unix ns when the current Read began; 0: not reading
}

func newFrameReader(conn net.Conn, limit int, rest []byte, pong func([]byte)) *frameReader {
	f := &frameReader{conn: conn, limit: limit, pong: pong, small: make([]byte, max(smallRead, len(rest)))}
	f.buf = f.small
	f.w = copy(f.buf, rest)
	return f
}

// waiting tells for how long the reader has been waiting for a byte from the server; 0 when it is not waiting.
func (f *frameReader) waiting(now time.Time) time.Duration {
	if t := f.since.Load(); t != 0 {
		return now.Sub(time.Unix(0, t))
	}
	return 0
}

// next returns the next text message. It is valid until the next call.
func (f *frameReader) next() ([]byte, error) {
	f.release()
	f.parts = f.parts[:0]
	for started := false; ; {
		op, fin, payload, err := f.frame()
		if err != nil {
			return nil, err
		}
		switch {
		case op == opPing:
			f.pong(payload)
		case op == opPong:
		case op == opClose:
			return nil, parseClose(payload)
		case op == opBinary, (op == opText) == started:
			return nil, fmt.Errorf("%w: opcode %d out of place", errFrame, op)
		case fin && !started:
			return payload, nil
		default:
			started = true
			if len(f.parts)+len(payload) > f.limit {
				return nil, f.tooLong(len(f.parts) + len(payload))
			}
			f.parts = append(f.parts, payload...)
			if fin {
				return f.parts, nil
			}
		}
	}
}

// frame reads one frame. The payload is valid until the next call.
func (f *frameReader) frame() (op byte, fin bool, payload []byte, err error) {
	h, err := f.need(2)
	if err != nil {
		return 0, false, nil, err
	}
	op, fin = h[0]&15, h[0]&0x80 != 0
	size, head := int(h[1]&0x7f), 2
	switch size {
	case 126:
		head = 4
	case 127:
		head = 10
	}
	control := op >= opClose
	switch {
	case h[0]&0x70 != 0:
		return 0, false, nil, fmt.Errorf("%w: reserved bits", errFrame)
	case h[1]&0x80 != 0:
		return 0, false, nil, fmt.Errorf("%w: masked", errFrame)
	case control && (!fin || head != 2), op > opPong, !control && op > opBinary:
		return 0, false, nil, fmt.Errorf("%w: opcode %d", errFrame, op)
	}
	if head > 2 {
		if h, err = f.need(head); err != nil {
			return 0, false, nil, err
		}
		n := uint64(binary.BigEndian.Uint16(h[2:]))
		if head == 10 {
			n = binary.BigEndian.Uint64(h[2:])
		}
		if n > uint64(f.limit) {
			return 0, false, nil, f.tooLong(int(min(n, 1<<62)))
		}
		size = int(n)
	}
	h, err = f.need(head + size)
	if err != nil {
		return 0, false, nil, err
	}
	f.r += head + size
	return op, fin, h[head : head+size], nil
}

func (f *frameReader) tooLong(n int) error {
	return fmt.Errorf("%w: a message of %d bytes, more than MaxMessage (%d)", errFrame, n, f.limit)
}

// need returns at least n unconsumed bytes without consuming them.
func (f *frameReader) need(n int) ([]byte, error) {
	for f.w-f.r < n {
		if f.r+n > len(f.buf) {
			f.grow(n)
		}
		f.since.Store(time.Now().UnixNano())
		k, err := f.conn.Read(f.buf[f.w:])
		f.since.Store(0)
		f.w += k
		if err != nil && f.w-f.r < n {
			return nil, err
		}
	}
	return f.buf[f.r:f.w], nil
}

// grow makes room for n unconsumed bytes, moving those there are to the front.
func (f *frameReader) grow(n int) {
	if n <= len(f.buf) {
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
		return
	}
	next := bigReads.Get().(*[]byte)
	*next = slices.Grow((*next)[:0], n)
	*next = (*next)[:cap(*next)]
	f.w = copy(*next, f.buf[f.r:f.w])
	f.r = 0
	f.dropBig()
	f.big, f.buf = next, *next
}

// release gives a big buffer back when nothing is left in it.
func (f *frameReader) release() {
	if f.r != f.w {
		return
	}
	f.r, f.w, f.buf = 0, 0, f.small
	f.dropBig()
}

func (f *frameReader) dropBig() {
	if f.big != nil {
		bigReads.Put(f.big)
		f.big = nil
	}
}

// CloseError says how the server ended a connection.
type CloseError struct {
	Code   int // RFC 6455 or docs/protocol.md, "close codes"; 1005: none was given
	Reason string
}

// Error returns the code and the reason.
func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("client: the server closed the connection (%d)", e.Code)
	}
	return fmt.Sprintf("client: the server closed the connection (%d %.100q)", e.Code, e.Reason)
}

func parseClose(p []byte) error {
	switch {
	case len(p) == 0:
		return &CloseError{Code: 1005}
	case len(p) == 1 || !utf8.Valid(p[2:]):
		return fmt.Errorf("%w: close payload", errFrame)
	}
	return &CloseError{Code: int(binary.BigEndian.Uint16(p)), Reason: string(p[2:])}
}

// appendFrame appends one masked frame whose payload write appends.
func appendFrame(dst []byte, op byte, write func([]byte) []byte) []byte {
	start := len(dst)
	dst = slices.Grow(dst, headerRoom)[:start+headerRoom]
	dst = write(dst)
	payload := dst[start+headerRoom:]
	var h [headerRoom]byte
	n := 2
	switch size := len(payload); {
	case size < 126:
		h[1] = 0x80 | byte(size)
	case size < 1<<16:
		h[1] = 0x80 | 126
		binary.BigEndian.PutUint16(h[2:], uint16(size))
		n = 4
	default:
		h[1] = 0x80 | 127
		binary.BigEndian.PutUint64(h[2:], uint64(size))
		n = 10
	}
	h[0] = 0x80 | op
	key := rand.Uint32()
	binary.LittleEndian.PutUint32(h[n:], key)
	n += 4
	mask(payload, key)
	copy(dst[start:], h[:n])
	copy(dst[start+n:], payload)
	return dst[:start+n+len(payload)]
}

// mask XORs p with the key, eight bytes at a time.
func mask(p []byte, key uint32) {
	wide := uint64(key)<<32 | uint64(key)
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^wide)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= byte(key >> (8 * (i & 3)))
	}
}
