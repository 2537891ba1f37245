package wsapi

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"tidemark/internal/wire"
)

const (
	// readBuffer is what is taken in at once. A connection has such a buffer only while there is something in it.
	readBuffer = 8 << 10
	// waitBuffer is what a connection waits with that cannot be waited for without a buffer (TLS, pipes).
	waitBuffer = 1 << 10
	// uncounted is the largest message whose declared length is not charged to the process's budget: it is no more than
	// what a connection costs anyhow, and small messages get through when the budget is spent.
	uncounted = 4 << 10
)

var readBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

// errRefused ends gws's reading; the keeper knows why.
var errRefused = errors.New("wsapi: the connection takes in nothing more")

// keeper is whom a guard answers to: the connection.
type keeper interface {
	// limit returns the largest message in bytes that may come now, given that the next one has n at least.
	limit(n uint64) int
	// claim waits until memory for n bytes may be taken.
	claim(n int) error
	// now returns the time on the connection's clock, in nanoseconds.
	now() int64
	// waits and heard tell that the connection begins to wait for bytes, and that n came.
	waits()
	heard(n int)
	// begins tells that a message or control frame is on its way, and ends that the last of its bytes came.
	begins()
	ends()
	// refuse ends the connection because of what its peer sent.
	refuse(c wire.Close)
	// closes is told of the close frame that gws would send.
	closes(frame []byte)
	// stopped reports whether nothing more is to be read.
	stopped() bool
}

// guard is the net.Conn that gws reads from: it lets every frame pass only after its header was found good, because gws
// believes headers. What gws writes after the handshake is a close frame at most, and goes to the keeper, who owns the
// writing and the closing.
//
// It also is the read buffer: gws's own has 16 bytes, and this one exists only while it is needed.
type guard struct {
	net.Conn
	keeper  keeper
	inspect inspector
	open    bool // the handshake is done
	closing bool // the peer's close frame was seen
	alone   bool // gws has stopped reading: frames are looked at and thrown away
	held    bool // waits with a buffer of its own
	most    int  // bytes of the message that is under way, or inflated

	raw  syscall.RawConn // nil: reads have to bring a buffer
	try  func(fd uintptr) bool
	buf  []byte // nil while empty, unless held
	r, w int    // what of buf is not handed out yet
	pass uint64 // bytes of an admitted frame that are not handed out yet
	got  int    // what try read
	err  syscall.Errno
}

func (g *guard) init(nc net.Conn, k keeper, deflate bool) {
	g.Conn, g.keeper, g.inspect.deflate = nc, k, deflate
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			g.raw, g.try = raw, g.tryRead
			return
		}
	}
	g.held, g.buf = true, make([]byte, waitBuffer)
}

// Read hands out bytes of admitted frames, never of two frames at once.
func (g *guard) Read(p []byte) (int, error) {
	for {
		if g.pass > 0 {
			return g.handOut(p)
		}
		if !g.alone && g.keeper.stopped() {
			return 0, errRefused
		}
		if g.r < g.w && !g.alone {
			g.keeper.begins()
		}
		h, size := parseHeader(g.buf[g.r:g.w])
		if size == 0 {
			if err := g.fill(); err != nil {
				return 0, err
			}
			continue
		}
		if err := g.admit(&h, size); err != nil {
			return 0, err
		}
	}
}

// admit lets the frame whose header stands at r pass, or ends the connection.
func (g *guard) admit(h *header, size int) error {
	if c, ok := g.inspect.admit(h, g.limit(h), g.keeper.now()); !ok {
		g.keeper.refuse(c)
		return errRefused
	}
	if h.op == opClose {
		g.closing = true
	}
	if !h.control() && !g.alone {
		if err := g.admitData(h); err != nil {
			return err
		}
	}
	g.pass = uint64(size) + h.n
	return nil
}

// limit returns the largest message that the frame may belong to. What a message may have is settled with its first frame.
func (g *guard) limit(h *header) int {
	switch {
	case h.control(), h.op == opContinuation:
	case h.fin && h.rsv == 0:
		g.most = g.keeper.limit(h.n)
	default:
		g.most = g.keeper.limit(wire.MaxHello + 1)
	}
	return g.most
}

// admitData claims with the first frame what the whole message may take, and inflated: whoever holds a part and waits for the rest could
// wait for others who do the same.
func (g *guard) admitData(h *header) error {
	g.buf[g.r] &^= bitRSV1 // the keeper inflates, gws is not to know
	n := int(h.n)
	switch {
	case g.inspect.fragments > 1:
		return nil
	case !h.fin:
		n = g.most
	case n <= uncounted && !g.inspect.compressed:
		return nil
	}
	if g.inspect.compressed {
		n += inflateRoom(n, g.most)
	}
	return g.keeper.claim(n)
}

// handOut passes on the next bytes of the admitted frame, from the buffer or, what is large, straight from the socket.
func (g *guard) handOut(p []byte) (n int, err error) {
	if uint64(len(p)) > g.pass {
		p = p[:g.pass]
	}
	if g.r == g.w && len(p) < readBuffer/2 {
		if err = g.fill(); err != nil {
			return 0, err
		}
	}
	if g.r < g.w {
		n = copy(p, g.buf[g.r:g.w])
		g.r += n
		g.drop()
	} else if n, err = g.receive(p); err != nil {
		return n, err
	}
	if g.pass -= uint64(n); g.pass == 0 && !g.inspect.open {
		g.keeper.ends()
	}
	return n, nil
}

// drop gives the buffer back when it is empty.
func (g *guard) drop() {
	if g.r < g.w {
		return
	}
	g.r, g.w = 0, 0
	if !g.held && g.buf != nil {
		readBuffers.Put((*[readBuffer]byte)(g.buf))
		g.buf = nil
	}
}

// fill waits for bytes and reads them behind those that the buffer has, which are less than one header.
func (g *guard) fill() (err error) {
	copy(g.buf, g.buf[g.r:g.w])
	g.r, g.w = 0, g.w-g.r
	n := 0
	if g.raw != nil {
		n, err = g.receiveRaw()
	} else {
		n, err = g.receive(g.buf[g.w:])
	}
	g.w += n
	g.drop()
	return err
}

func (g *guard) receive(p []byte) (int, error) {
	g.keeper.waits()
	n, err := g.Conn.Read(p)
	if n > 0 {
		g.keeper.heard(n)
		return n, nil
	}
	return n, err
}

// receiveRaw waits without a buffer: one is taken when the socket may have something.
func (g *guard) receiveRaw() (int, error) {
	g.keeper.waits()
	g.got, g.err = 0, 0
	if err := g.raw.Read(g.try); err != nil {
		return 0, err
	}
	switch {
	case g.err != 0:
		return 0, os.NewSyscallError("read", g.err)
	case g.got == 0:
		return 0, io.EOF
	}
	g.keeper.heard(g.got)
	return g.got, nil
}

// tryRead reads what is there; false: nothing is, wait on.
func (g *guard) tryRead(fd uintptr) bool {
	if g.buf == nil {
		g.buf = readBuffers.Get().(*[readBuffer]byte)[:]
	}
	for {
		n, err := syscall.Read(int(fd), g.buf[g.w:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			if g.w == 0 {
				g.drop()
			}
			return false
		}
		g.got = max(n, 0)
		g.err, _ = err.(syscall.Errno)
		return true
	}
}

// discard reads on without gws, so that what the peer still sends does not make the kernel throw away our close frame,
// until the peer's own close frame or the end.
func (g *guard) discard() {
	scratch := readBuffers.Get().(*[readBuffer]byte)
	defer readBuffers.Put(scratch)
	g.alone = true
	for !g.closing {
		if _, err := g.Read(scratch[:]); err == errRefused {
			break
		} else if err != nil {
			return
		}
	}
	for !g.closing {
		if _, err := g.Conn.Read(scratch[:]); err != nil {
			return
		}
	}
}

// release gives back the buffer at the end.
func (g *guard) release() {
	g.r = g.w
	g.drop()
}

// Write passes on gws's answer to the handshake. Later it writes close frames only, which are the keeper's to send.
func (g *guard) Write(p []byte) (int, error) {
	if !g.open {
		return g.Conn.Write(p)
	}
	g.keeper.closes(p)
	return len(p), nil
}

// Close closes a connection whose handshake failed; later that is the keeper's.
func (g *guard) Close() error {
	if !g.open {
		return g.Conn.Close()
	}
	return nil
}

// resumable reports whether a write that ran into its deadline can be continued.
func resumable(nc net.Conn) bool {
	_, secured := nc.(*tls.Conn)
	return !secured
}
