package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// rawLine is a WebSocket without a client around it, for frames that no client sends.
type rawLine struct {
	t  *testing.T
	nc net.Conn
	br *bufio.Reader
}

func dialRaw(t *testing.T, addr string) *rawLine {
	t.Helper()
	l, status := upgrade(t, addr)
	if status != http.StatusSwitchingProtocols {
		t.Fatal(status)
	}
	return l
}

// upgrade asks for a WebSocket and returns the status of the answer.
func upgrade(t *testing.T, addr string) (*rawLine, int) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(nc, "GET /v1/ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: tidemark.v1\r\n\r\n", addr)
	l := &rawLine{t: t, nc: nc, br: bufio.NewReader(nc)}
	res, err := http.ReadResponse(l.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	return l, res.StatusCode
}

// send writes one text frame, masked with zeros.
func (l *rawLine) send(text []byte) {
	l.t.Helper()
	b := []byte{0x81, 0x80 | 127}
	b = binary.BigEndian.AppendUint64(b, uint64(len(text)))
	if len(text) < 126 {
		b = []byte{0x81, 0x80 | byte(len(text))}
	} else if len(text) < 1<<16 {
		b = binary.BigEndian.AppendUint16([]byte{0x81, 0x80 | 126}, uint16(len(text)))
	}
	b = append(append(b, 0, 0, 0, 0), text...)
	l.nc.Write(b) // the server may have closed already: what it said comes next
}

// frame reads one frame of the server, and answers the pings before it.
func (l *rawLine) frame() (op byte, payload []byte) {
	l.t.Helper()
	for {
		if op, payload = l.anyFrame(); op != 9 {
			return op, payload
		}
		l.nc.Write(append([]byte{0x8a, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...))
	}
}

func (l *rawLine) anyFrame() (op byte, payload []byte) {
	l.t.Helper()
	var h [8]byte
	if _, err := io.ReadFull(l.br, h[:2]); err != nil {
		l.t.Fatal(err)
	}
	op = h[0] & 15
	size := uint64(h[1])
	switch size {
	case 126:
		io.ReadFull(l.br, h[:2])
		size = uint64(binary.BigEndian.Uint16(h[:]))
	case 127:
		io.ReadFull(l.br, h[:])
		size = binary.BigEndian.Uint64(h[:])
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(l.br, payload); err != nil {
		l.t.Fatal(err)
	}
	return op, payload
}

func (l *rawLine) expect(part string) {
	l.t.Helper()
	if _, p := l.frame(); !bytes.Contains(p, []byte(part)) {
		l.t.Fatalf("got %.300q, want %q in it", p, part)
	}
}

// closeCode reads until the server's close frame.
func (l *rawLine) closeCode() int {
	l.t.Helper()
	for {
		if op, p := l.frame(); op == 8 {
			return int(binary.BigEndian.Uint16(p))
		}
	}
}
