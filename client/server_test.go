package client

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"tidemark/internal/wire"
	"tidemark/store"
)

// script is a server that a test plays by hand, over net.Pipe: dial gives the Client one end, accept the test the other.
type script struct {
	t     *testing.T
	lines chan *line
}

func newScript(t *testing.T) *script { return &script{t: t, lines: make(chan *line)} }

// line is the server's end of one connection.
type line struct {
	t    *testing.T
	nc   net.Conn
	br   *bufio.Reader
	dec  wire.Decoder
	head http.Header
}

var testLog = store.ID{0: 1, 15: 1}

func (s *script) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	mine, theirs := net.Pipe()
	select {
	case s.lines <- &line{t: s.t, nc: theirs, br: bufio.NewReader(theirs), dec: wire.Decoder{Limits: wire.Limits{}.WithDefaults()}}:
		return mine, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dialTCP is dial over a real socket, which takes little at once.
func (s *script) dialTCP(ctx context.Context, _, _ string) (net.Conn, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	mine, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return nil, err
	}
	theirs, err := ln.Accept()
	if err != nil {
		return nil, err
	}
	err = errors.Join(mine.(*net.TCPConn).SetWriteBuffer(8<<10), theirs.(*net.TCPConn).SetReadBuffer(8<<10))
	if err != nil {
		return nil, err
	}
	s.lines <- &line{t: s.t, nc: theirs, br: bufio.NewReader(theirs), dec: wire.Decoder{Limits: wire.Limits{}.WithDefaults()}}
	return mine, nil
}

// accept shakes hands with the next connection and reads its hello.
func (s *script) accept() (*line, *wire.Hello) {
	s.t.Helper()
	l := <-s.lines
	s.t.Cleanup(func() { l.nc.Close() })
	req, err := http.ReadRequest(l.br)
	if err != nil {
		s.t.Fatal(err)
	}
	l.head = req.Header
	fmt.Fprintf(l.nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Protocol: tidemark.v1\r\nSec-WebSocket-Accept: %s\r\n\r\n", acceptKey(req.Header.Get("Sec-WebSocket-Key")))
	return l, expect[*wire.Hello](l)
}

// refuse answers the next connection with a status instead, and header lines.
func (s *script) refuse(status int, lines string) {
	s.t.Helper()
	l := <-s.lines
	defer l.nc.Close()
	if _, err := http.ReadRequest(l.br); err != nil {
		s.t.Error(err)
		return
	}
	fmt.Fprintf(l.nc, "HTTP/1.1 %d No\r\nConnection: close\r\nContent-Length: 4\r\n%s\r\nwhy\n", status, lines)
}

// welcome accepts the next connection and welcomes it.
func (s *script) welcome() (*line, *wire.Hello) {
	s.t.Helper()
	l, hello := s.accept()
	l.send(&wire.Welcome{Log: testLog, Session: store.NewID(), Server: "script", HeartbeatMS: 25000, Limits: wire.Limits{}.WithDefaults()})
	return l, hello
}

// frame reads one frame of the client.
func (l *line) frame() (op byte, payload []byte, err error) {
	var h [14]byte
	if _, err = io.ReadFull(l.br, h[:2]); err != nil {
		return 0, nil, err
	}
	op = h[0] & 15
	size := uint64(h[1] & 0x7f)
	switch size {
	case 126:
		_, err = io.ReadFull(l.br, h[:2])
		size = uint64(binary.BigEndian.Uint16(h[:]))
	case 127:
		_, err = io.ReadFull(l.br, h[:8])
		size = binary.BigEndian.Uint64(h[:])
	}
	if err != nil {
		return 0, nil, err
	}
	var key [4]byte
	if _, err = io.ReadFull(l.br, key[:]); err != nil {
		return 0, nil, err
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(l.br, payload)
	for i := range payload {
		payload[i] ^= key[i&3]
	}
	return op, payload, err
}

// receive reads the client's next message, over pongs.
func (l *line) receive() (wire.Message, []byte) {
	l.t.Helper()
	for {
		op, text, err := l.frame()
		if err != nil {
			l.t.Fatal(err)
		}
		if op == opPong {
			continue
		}
		m, fault := l.dec.Decode(text)
		if fault != nil {
			l.t.Fatalf("%v: %s", fault, text)
		}
		return m, text
	}
}

// try reads the client's next message; false at the end of the connection.
func (l *line) try() (wire.Message, bool) {
	for {
		op, text, err := l.frame()
		if err != nil {
			return nil, false
		}
		if op == opText {
			m, fault := l.dec.Decode(text)
			return m, fault == nil
		}
	}
}

// offer sends what may come too late.
func (l *line) offer(m wire.Message) { l.raw(opText, m.Append(nil)) }

// expect reads the client's next message, which must be of type M.
func expect[M wire.Message](l *line) M {
	l.t.Helper()
	m, text := l.receive()
	want, ok := m.(M)
	if !ok {
		l.t.Fatalf("got %T, want %T: %s", m, want, text)
	}
	return want
}

func (l *line) send(ms ...wire.Message) {
	l.t.Helper()
	for _, m := range ms {
		if err := l.raw(opText, m.Append(nil)); err != nil {
			l.t.Fatal(err)
		}
	}
}

// raw writes one unmasked frame.
func (l *line) raw(op byte, p []byte) error {
	b := []byte{0x80 | op}
	switch {
	case len(p) < 126:
		b = append(b, byte(len(p)))
	case len(p) < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(len(p)))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(len(p)))
	}
	_, err := l.nc.Write(append(b, p...))
	return err
}

func (l *line) close(code uint16, reason string) {
	l.raw(opClose, append(binary.BigEndian.AppendUint16(nil, code), reason...))
	l.nc.Close()
}

// gone reads until the client has closed the connection.
func (l *line) gone() {
	for {
		if _, _, err := l.frame(); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
				l.t.Error(err)
			}
			return
		}
	}
}

// ack answers a push: every mutation is accepted, from seq on.
func (l *line) ack(p *wire.Push, seq store.Seq) store.Seq {
	l.t.Helper()
	a := &wire.Ack{Ref: p.Ref}
	for i := range p.Mutations {
		a.Results = append(a.Results, wire.Result{ID: p.Mutations[i].ID, Seq: seq, Prev: seq - 1, At: 1})
		seq++
	}
	l.send(a)
	return seq
}

func (s *script) client(o Options) *Client {
	s.t.Helper()
	o.URL, o.Dial = "ws://script", s.dial
	c, err := New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}
