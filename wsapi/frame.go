package wsapi

import (
	"encoding/binary"
	"time"

	"tidemark/internal/wire"
)

// The opcodes of RFC 6455, section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

const (
	bitFin  = 0x80
	bitRSV1 = 0x40 // permessage-deflate: the message is compressed
	bitsRSV = 0x70
	bitMask = 0x80

	maxHeader  = 14  // bytes: 2, 8 of length, 4 of mask
	maxControl = 125 // bytes of a control frame's payload
)

// header is a frame header as a client sends it.
type header struct {
	fin    bool
	rsv    byte // the three reserved bits, in place
	op     byte
	masked bool
	long   bool   // the length was written in more bytes than it needs
	n      uint64 // bytes of payload
}

func (h *header) control() bool { return h.op&0x8 != 0 }

// parseHeader reads the header at the start of b; size is what it takes there, 0 when it is not complete yet.
func parseHeader(b []byte) (h header, size int) {
	if len(b) < 2 {
		return h, 0
	}
	h.fin, h.rsv, h.op = b[0]&bitFin != 0, b[0]&bitsRSV, b[0]&0x0f
	h.masked, h.n = b[1]&bitMask != 0, uint64(b[1]&^bitMask)
	size = 2
	switch h.n {
	case 126:
		if size = 4; len(b) < size {
			return h, 0
		}
		h.n = uint64(binary.BigEndian.Uint16(b[2:]))
		h.long = h.n < 126
	case 127:
		if size = 10; len(b) < size {
			return h, 0
		}
		h.n = binary.BigEndian.Uint64(b[2:])
		h.long = h.n < 1<<16
	}
	if h.masked {
		size += 4
	}
	if len(b) < size {
		return h, 0
	}
	return h, size
}

// appendHeader appends the header of a whole, unmasked message of n bytes, as servers send it.
func appendHeader(dst []byte, first byte, n int) []byte {
	switch {
	case n < 126:
		return append(dst, first, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, first, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(n))
}

const (
	maxFragments = 64  // frames of one message: each costs work, and an empty one costs its sender next to nothing
	controlBurst = 100 // control frames at once, and
	controlRate  = 20  // a second: more is a flood of frames that are legal one by one
)

// inspector knows what a client may send next. It judges every frame by its header, before anything is allocated for it.
type inspector struct {
	deflate bool // negotiated: RSV1 may be set on the first frame of a message

	open       bool  // a fragmented message is under way
	compressed bool  // the message is
	fragments  uint8 // of it so far
	size       int64 // bytes of it so far, declared ones included

	tokens  uint8 // control frames that may come at once
	refills int64 // when tokens were last added, in the clock's nanoseconds
}

// admit judges the next frame; limit is the largest message in bytes, now the time on any clock in nanoseconds. ok is false
// when the connection has to be closed as the close code says.
func (i *inspector) admit(h *header, limit int, now int64) (c wire.Close, ok bool) {
	switch {
	case h.n>>63 != 0:
		return wire.CloseTooLarge, false
	case !h.masked || h.long || h.rsv&^bitRSV1 != 0:
		return wire.CloseBroken, false
	case h.control():
		return i.admitControl(h, now)
	}
	return i.admitData(h, limit)
}

func (i *inspector) admitControl(h *header, now int64) (wire.Close, bool) {
	if !h.fin || h.rsv != 0 || h.n > maxControl || h.op > opPong {
		return wire.CloseBroken, false
	}
	if i.refills == 0 {
		i.tokens, i.refills = controlBurst, now
	}
	if more := (now - i.refills) * controlRate / int64(time.Second); more > 0 {
		i.tokens = uint8(min(controlBurst, int64(i.tokens)+more))
		i.refills = now
	}
	if i.tokens == 0 {
		return wire.CloseProtocol, false
	}
	i.tokens--
	return wire.Close{}, true
}

func (i *inspector) admitData(h *header, limit int) (wire.Close, bool) {
	first := h.op != opContinuation
	switch {
	case h.op > opBinary || first == i.open:
		return wire.CloseBroken, false
	case h.rsv != 0 && (!first || !i.deflate):
		return wire.CloseBroken, false
	case first:
		i.size, i.fragments, i.compressed = 0, 0, h.rsv == bitRSV1
	}
	if h.n > uint64(limit) || i.size+int64(h.n) > int64(limit) {
		return wire.CloseTooLarge, false
	}
	if i.fragments++; i.fragments > maxFragments {
		return wire.CloseProtocol, false
	}
	i.size += int64(h.n)
	i.open = !h.fin
	return wire.Close{}, true
}
