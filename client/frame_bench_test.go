package client

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/lxzan/gws"
)

var benchSizes = map[string]int{"ack 5 KB": 5000, "page 64 KB": 64 << 10, "page 256 KB": 256 << 10}

// BenchmarkRead compares reading with gws's client: docs/decisions/0003-client-framing.md.
func BenchmarkRead(b *testing.B) {
	for name, size := range benchSizes {
		frames := serverFrame(nil, 0x80|opText, strings.Repeat("x", size))
		b.Run("own/"+name, func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			mine, theirs := net.Pipe()
			go func() {
				for range b.N {
					theirs.Write(frames)
				}
			}()
			f := newFrameReader(mine, 1<<20, nil, nil)
			for range b.N {
				if _, err := f.next(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("gws/"+name, func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			readWithGWS(b, frames)
		})
	}
}

// gwsCount counts messages and gives them back.
type gwsCount struct {
	gws.BuiltinEventHandler
	n int
}

func (h *gwsCount) OnMessage(_ *gws.Conn, m *gws.Message) {
	h.n++
	m.Close()
}

// readWithGWS shakes hands over a pipe, then lets gws read b.N frames.
func readWithGWS(b *testing.B, frames []byte) {
	mine, theirs := net.Pipe()
	h := &gwsCount{}
	go func() {
		br := bufio.NewReader(theirs)
		var key string
		for {
			line, err := br.ReadString('\n')
			if err != nil || line == "\r\n" {
				break
			}
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && strings.EqualFold(name, "Sec-WebSocket-Key") {
				key = value
			}
		}
		io.WriteString(theirs, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+acceptKey(key)+"\r\n\r\n")
		for range b.N {
			if _, err := theirs.Write(frames); err != nil {
				return
			}
		}
		theirs.Close()
	}()
	conn, _, err := gws.NewClientFromConn(h, &gws.ClientOption{Addr: "ws://bench/", ReadMaxPayloadSize: 1 << 20}, mine)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	conn.ReadLoop()
	if h.n != b.N {
		b.Fatalf("read %d messages of %d", h.n, b.N)
	}
}
