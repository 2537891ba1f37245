package wsapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

// everybody is an Authenticator that lets everybody do everything; a token is the subject.
func everybody(_ context.Context, token string) (eventsync.Principal, error) {
	if token == "bad" {
		return eventsync.Principal{}, &store.Refusal{Code: store.CodeUnauthorized, Message: "bad token"}
	}
	return eventsync.Principal{Subject: token}, nil
}

// rig is a server over a real engine and a real log, on a real socket.
type rig struct {
	t      testing.TB
	log    *store.Store
	engine *eventsync.Engine
	ws     *Server
	addr   string
	path   string
	http   *http.Server
}

type rigOptions struct {
	engine eventsync.Options
	ws     Options
	store  store.Options
}

func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "log")}
	r.start(o)
	t.Cleanup(r.stop)
	return r
}

func (r *rig) start(o rigOptions) {
	r.t.Helper()
	var err error
	r.log, err = store.Open(r.path, o.store)
	check(r.t, err)
	if o.engine.Authenticate == nil {
		o.engine.Authenticate = everybody
	}
	o.engine.Encoder = NewEncoder(o.engine.Limits)
	r.engine, err = eventsync.New(r.log, o.engine)
	check(r.t, err)
	if o.ws.Logger == nil && testing.Verbose() {
		o.ws.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	r.ws, err = New(r.engine, o.ws)
	check(r.t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(r.t, err)
	r.addr = l.Addr().String()
	r.http = &http.Server{Handler: r.ws, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = r.http.Serve(l) }()
}

func (r *rig) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = r.http.Close()
	if err := r.engine.Drain(ctx); err != nil {
		r.t.Error("drain:", err)
	}
	if err := r.ws.Shutdown(ctx); err != nil {
		r.t.Error("shutdown:", err)
	}
	if err := r.log.Close(); err != nil {
		r.t.Error("close:", err)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rawConn is a client that sends and reads frames as bytes, so that it can do everything wrong.
type rawConn struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

const handshakeText = "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// dial opens a WebSocket; more are further lines of the request.
func (r *rig) dial(more ...string) *rawConn {
	r.t.Helper()
	c := r.connect()
	c.handshake(more...)
	return c
}

func (r *rig) connect() *rawConn {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.addr)
	check(r.t, err)
	r.t.Cleanup(func() { nc.Close() })
	return newRawConn(r.t, nc)
}

func newRawConn(t testing.TB, nc net.Conn) *rawConn {
	return &rawConn{Conn: nc, t: t, br: bufio.NewReader(nc)}
}

func (c *rawConn) handshake(more ...string) *http.Response {
	c.t.Helper()
	_, err := io.WriteString(c, handshakeText+strings.Join(append(more, ""), "\r\n")+"\r\n")
	check(c.t, err)
	res, err := http.ReadResponse(c.br, nil)
	check(c.t, err)
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(res.Body)
		c.t.Fatalf("handshake: %s %s", res.Status, body)
	}
	return res
}

// clientFrame is a frame as a client sends it, masked with a key that is not all zero.
func clientFrame(first byte, payload []byte) []byte {
	b := appendHeader(nil, first, len(payload))
	b[1] |= bitMask
	key := [4]byte{0x11, 0x22, 0x33, 0x44}
	b = append(b, key[:]...)
	for i, x := range payload {
		b = append(b, x^key[i&3])
	}
	return b
}

func (c *rawConn) write(b []byte) {
	c.t.Helper()
	_, err := c.Write(b)
	check(c.t, err)
}

func (c *rawConn) text(format string, a ...any) {
	c.t.Helper()
	c.write(clientFrame(bitFin|opText, fmt.Appendf(nil, format, a...)))
}

func (c *rawConn) hello() *rawConn {
	c.t.Helper()
	c.text(`{"type":"hello"}`)
	c.expect("welcome")
	return c
}

// serverFrame is what the server sent.
type serverFrame struct {
	first   byte
	payload []byte
}

func (c *rawConn) frame() (serverFrame, error) {
	var h [2]byte
	if _, err := io.ReadFull(c.br, h[:]); err != nil {
		return serverFrame{}, err
	}
	n := int(h[1])
	var long [8]byte
	switch n {
	case 126:
		if _, err := io.ReadFull(c.br, long[:2]); err != nil {
			return serverFrame{}, err
		}
		n = int(binary.BigEndian.Uint16(long[:]))
	case 127:
		if _, err := io.ReadFull(c.br, long[:]); err != nil {
			return serverFrame{}, err
		}
		n = int(binary.BigEndian.Uint64(long[:]))
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(c.br, p); err != nil {
		return serverFrame{}, err
	}
	return serverFrame{h[0], p}, nil
}

// next returns the next frame that is no ping.
func (c *rawConn) next() serverFrame {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		f, err := c.frame()
		check(c.t, err)
		if f.first&0xf != opPing {
			return f
		}
	}
}

// expect returns the next message, which must be of a type.
func (c *rawConn) expect(typ string) map[string]any {
	c.t.Helper()
	f := c.next()
	var m map[string]any
	if f.first != bitFin|opText {
		c.t.Fatalf("want %s, got frame %#x %q", typ, f.first, f.payload)
	}
	check(c.t, json.Unmarshal(f.payload, &m))
	if m["type"] != typ {
		c.t.Fatalf("want %s, got %s", typ, f.payload)
	}
	return m
}

// expectClose reads up to the close frame, which must have a code, and the end of the connection.
func (c *rawConn) expectClose(want uint16) {
	c.t.Helper()
	if got := c.untilClose(); got != want {
		c.t.Fatalf("closed with %d, want %d", got, want)
	}
}

// untilClose returns the code of the close frame, 0 when the connection ended without.
func (c *rawConn) untilClose() uint16 {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Minute))
	for {
		f, err := c.frame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.t.Fatal("the server does not close the connection")
		}
		if err != nil {
			return 0
		}
		if f.first == bitFin|opClose {
			if len(f.payload) < 2 {
				return closeNoStatus
			}
			return binary.BigEndian.Uint16(f.payload)
		}
	}
}

// fakeSession is a session that a test looks into.
type fakeSession struct {
	wake func()

	mu       sync.Mutex
	received []eventsync.Message
	queue    []eventsync.Frame
	awake    bool
	welcomed bool
	stalled  bool
	closed   bool
	gate     chan struct{} // not nil: Receive waits for it
	fail     any           // Receive panics with it
}

func (s *fakeSession) Receive(m eventsync.Message) error {
	s.mu.Lock()
	gate, fail := s.gate, s.fail
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if fail != nil {
		panic(fail)
	}
	s.mu.Lock()
	s.received = append(s.received, m)
	if _, ok := m.(*eventsync.Hello); ok {
		s.welcomed = true
	}
	s.mu.Unlock()
	switch m := m.(type) {
	case *eventsync.Ping:
		s.send([]byte(`{"type":"pong","ref":` + string(m.Ref) + `}`))
	case *eventsync.Bad:
		s.send([]byte(`{"type":"error","code":"` + string(m.Error.Code) + `"}`))
	}
	return nil
}

func (s *fakeSession) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.received)
}

func (s *fakeSession) send(pieces ...[]byte) { s.push(eventsync.Frame{Pieces: pieces}) }

func (s *fakeSession) push(f eventsync.Frame) {
	s.mu.Lock()
	s.queue = append(s.queue, f)
	call := !s.awake
	s.awake = true
	s.mu.Unlock()
	if call {
		s.wake()
	}
}

func (s *fakeSession) Next() (eventsync.Frame, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.awake = false
		return eventsync.Frame{}, false
	}
	f := s.queue[0]
	s.queue = s.queue[1:]
	return f, true
}

func (s *fakeSession) Stalled(is bool) {
	s.mu.Lock()
	s.stalled = is
	s.mu.Unlock()
}

func (s *fakeSession) Welcomed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.welcomed
}

func (s *fakeSession) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
}

// fakeBudget counts, and grants up to a limit.
type fakeBudget struct {
	limit int

	mu   sync.Mutex
	used int
	peak int
	free chan struct{}
}

func (b *fakeBudget) Acquire(ctx context.Context, n int) error {
	for {
		b.mu.Lock()
		if b.limit == 0 || b.used+n <= b.limit {
			b.used += n
			b.peak = max(b.peak, b.used)
			b.mu.Unlock()
			return nil
		}
		if b.free == nil {
			b.free = make(chan struct{})
		}
		free := b.free
		b.mu.Unlock()
		select {
		case <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *fakeBudget) Release(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	if b.free != nil {
		close(b.free)
		b.free = nil
	}
}

// bench is a server with fake sessions, reached over pipes or sockets without HTTP.
type bench struct {
	t      testing.TB
	srv    *Server
	budget *fakeBudget
	mu     sync.Mutex
	made   []*fakeSession
}

const testBeat = 25 * time.Second

func newBench(t testing.TB, l wire.Limits, o Options) *bench {
	t.Helper()
	b := &bench{t: t, budget: &fakeBudget{}}
	connect := func(wake func(), _ string) session {
		s := &fakeSession{wake: wake}
		b.mu.Lock()
		b.made = append(b.made, s)
		b.mu.Unlock()
		return s
	}
	var err error
	b.srv, err = newServer(connect, b.budget, l.WithDefaults(), testBeat, o)
	check(t, err)
	return b
}

func (b *bench) stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = b.srv.Shutdown(ctx)
}

// open returns the client's end of a connection, and the session.
func (b *bench) open(server, client net.Conn, deflate bool) (*rawConn, *fakeSession) {
	b.t.Helper()
	done := make(chan struct{})
	go func() {
		b.srv.take("pipe")
		b.srv.open(server, &handshake{key: "dGhlIHNhbXBsZSBub25jZQ==", deflate: deflate})
		close(done)
	}()
	c := newRawConn(b.t, client)
	res, err := http.ReadResponse(c.br, nil)
	check(b.t, err)
	if res.StatusCode != http.StatusSwitchingProtocols {
		b.t.Fatal(res.Status)
	}
	<-done
	b.mu.Lock()
	defer b.mu.Unlock()
	return c, b.made[len(b.made)-1]
}

func (b *bench) pipe() (*rawConn, *fakeSession) {
	b.t.Helper()
	server, client := net.Pipe()
	return b.open(server, client, false)
}

func repeated(s string, n int) []byte { return bytes.Repeat([]byte(s), n) }
