package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// bytesConn is a connection from which fixed bytes are read, at most step at a time.
type bytesConn struct {
	net.Conn
	data []byte
	step int
}

func (c *bytesConn) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), max(c.step, 1))], c.data)
	c.data = c.data[n:]
	return n, nil
}

// serverFrame appends one frame as a server sends it.
func serverFrame(dst []byte, first byte, p string) []byte {
	switch {
	case len(p) < 126:
		dst = append(dst, first, byte(len(p)))
	case len(p) < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, first, 126), uint16(len(p)))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(len(p)))
	}
	return append(dst, p...)
}

func readAll(data []byte, step, limit int) (texts, pings []string, err error) {
	f := newFrameReader(&bytesConn{data: data, step: step}, limit, nil, func(p []byte) { pings = append(pings, string(p)) })
	for {
		text, err := f.next()
		if err != nil {
			return texts, pings, err
		}
		texts = append(texts, string(text))
	}
}

func TestFramesOfAllSizesInAllPieces(t *testing.T) {
	var data []byte
	var want []string
	for _, n := range []int{0, 1, 125, 126, 4000, 4090, 4096, 5000, 65535, 65536, 200000, 3} {
		p := strings.Repeat(string(rune('a'+n%26)), n)
		want = append(want, p)
		data = serverFrame(data, 0x80|opText, p)
		data = serverFrame(data, 0x80|opPing, "x")
	}
	// In fragments, with a ping in between.
	data = serverFrame(data, opText, "one ")
	data = serverFrame(data, 0x80|opPing, "y")
	data = serverFrame(data, opContinuation, "two ")
	data = serverFrame(data, 0x80|opContinuation, "three")
	want = append(want, "one two three")
	data = serverFrame(data, 0x80|opClose, "\x0f\xa1slow")
	for _, step := range []int{1, 3, 100, 4096, 1 << 20} {
		texts, pings, err := readAll(bytes.Clone(data), step, 1<<20)
		if len(texts) != len(want) || len(pings) != len(want) {
			t.Fatalf("step %d: %d texts, %d pings: %v", step, len(texts), len(pings), err)
		}
		for i := range want {
			if texts[i] != want[i] {
				t.Errorf("step %d: text %d differs", step, i)
			}
		}
		if e, ok := errors.AsType[*CloseError](err); !ok || e.Code != 4001 || e.Reason != "slow" {
			t.Errorf("step %d: %v", step, err)
		}
	}
}

func TestBrokenFrames(t *testing.T) {
	long := []byte{0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 1}
	for name, data := range map[string][]byte{
		"masked":                  {0x81, 0x81, 0, 0, 0, 0, 'a'},
		"reserved bit":            {0xc1, 1, 'a'},
		"binary":                  {0x82, 1, 'a'},
		"unknown opcode":          {0x83, 1, 'a'},
		"unknown control":         {0x8b, 0},
		"continuation of nothing": {0x80, 1, 'a'},
		"text in a text":          {0x01, 1, 'a', 0x81, 1, 'b'},
		"ping in pieces":          {0x09, 1, 'a'},
		"long ping":               serverFrame(nil, 0x80|opPing, strings.Repeat("x", 126)),
		"close with one byte":     {0x88, 1, 'a'},
		"close not UTF-8":         {0x88, 3, 3, 232, 0xff},
		"length with the top bit": long,
		"too long":                serverFrame(nil, 0x81, strings.Repeat("x", 1001)),
		"too long in pieces": serverFrame(serverFrame(nil, 0x01, strings.Repeat("x", 600)),
			0x80, strings.Repeat("x", 600)),
	} {
		if texts, _, err := readAll(data, 100, 1000); !errors.Is(err, errFrame) || len(texts) > 0 {
			t.Errorf("%s: %q, %v", name, texts, err)
		}
	}
}

func TestFramesAreMasked(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 9, 125, 126, 65535, 65536} {
		p := strings.Repeat("tidemark", n/8+1)[:n]
		b := appendFrame([]byte("before"), opText, func(b []byte) []byte { return append(b, p...) })
		b = bytes.TrimPrefix(b, []byte("before"))
		if b[1]&0x80 == 0 {
			t.Fatalf("%d bytes: not masked", n)
		}
		head := 2
		switch b[1] & 0x7f {
		case 126:
			head = 4
		case 127:
			head = 10
		}
		key, body := b[head:head+4], b[head+4:]
		for i := range body {
			body[i] ^= key[i&3]
		}
		if string(body) != p {
			t.Errorf("%d bytes: unmasked differs", n)
		}
	}
}

func TestWaitingTellsForHowLong(t *testing.T) {
	mine, theirs := net.Pipe()
	defer theirs.Close()
	f := newFrameReader(mine, 1000, nil, nil)
	if d := f.waiting(time.Now()); d != 0 {
		t.Errorf("waits for %v before it reads", d)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.next()
	}()
	theirs.Write([]byte{0x81}) // taken: the reader waits for the second byte, or is about to
	mine.Close()
	<-done
	if d := f.waiting(time.Now()); d != 0 {
		t.Errorf("waits for %v after the end", d)
	}
}

func FuzzFrames(f *testing.F) {
	for _, seed := range frameSeeds() {
		f.Add(seed, uint16(7))
	}
	f.Fuzz(func(t *testing.T, data []byte, step uint16) {
		const limit = 1 << 16
		texts, _, err := readAll(bytes.Clone(data), int(step), limit)
		if err == nil {
			t.Fatal("the end of the bytes is no error")
		}
		again, _, _ := readAll(bytes.Clone(data), 1, limit)
		if len(texts) != len(again) {
			t.Fatalf("%d texts in steps of %d, %d in steps of 1", len(texts), step, len(again))
		}
		for i := range texts {
			if texts[i] != again[i] || len(texts[i]) > limit {
				t.Fatalf("text %d", i)
			}
		}
	})
}

func frameSeeds() [][]byte {
	return [][]byte{
		{},
		serverFrame(nil, 0x81, `{"type":"pong"}`),
		serverFrame(serverFrame(nil, 0x01, "a"), 0x80, "b"),
		serverFrame(nil, 0x81, strings.Repeat("x", 126)),
		serverFrame(nil, 0x81, strings.Repeat("x", 1<<16)),
		serverFrame(serverFrame(nil, 0x89, "ping"), 0x88, "\x03\xe8"),
		{0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 1},
		{0x81, 0xff},
	}
}
