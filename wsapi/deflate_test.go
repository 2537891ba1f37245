package wsapi

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"tidemark/internal/wire"
)

// deflated is a message as a client compresses it.
func deflated(t testing.TB, s string) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := flate.NewWriter(&out, flate.BestCompression)
	check(t, err)
	_, err = io.WriteString(z, s)
	check(t, err)
	check(t, z.Flush())
	return bytes.TrimSuffix(out.Bytes(), []byte("\x00\x00\xff\xff"))
}

// numbers is text that shrinks as JSON does.
func numbers(n int) string {
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, "%d", i*i)
	}
	return all.String()
}

func (b *bench) deflating() (*rawConn, *fakeSession) {
	b.t.Helper()
	server, client := net.Pipe()
	c, s := b.open(server, client, true)
	c.text(`{"type":"hello"}`)
	synctest.Wait()
	return c, s
}

// TestCompression reads compressed and plain messages, whole and in fragments, and compresses what is large.
func TestCompression(t *testing.T) {
	bubble(t, wire.Limits{}, Options{Compression: true}, func(t *testing.T, b *bench) {
		c, s := b.deflating()
		for _, pad := range []int{0, 10, 1000, 20_000} {
			msg := fmt.Sprintf(`{"type":"ping","ref":%d,"x":"%s"}`, pad, numbers(pad))
			z := deflated(t, msg)
			c.text("%s", msg)
			c.write(clientFrame(bitFin|bitRSV1|opText, z))
			pieces := fragments(z, 3)
			pieces[0] |= bitRSV1
			c.write(pieces)
			for range 3 {
				if m := c.expect("pong"); m["ref"] != float64(pad) {
					t.Fatal(m)
				}
			}
		}
		text := repeated(`{"some":"thing"},`, 10_000)
		s.send(text[:100], text[100:70_000], text[70_000:])
		f := c.next()
		if f.first != bitFin|bitRSV1|opText || len(f.payload) > len(text)/20 {
			t.Fatalf("frame %#x of %d bytes", f.first, len(f.payload))
		}
		got, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(f.payload), strings.NewReader(deflateTail))))
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("inflated %d bytes, %v", len(got), err)
		}
		s.send(text[:minDeflate-1])
		if f := c.next(); f.first != bitFin|opText {
			t.Errorf("a small message came as frame %#x", f.first)
		}
		b.budget.mu.Lock()
		defer b.budget.mu.Unlock()
		if b.budget.used != 0 || b.budget.peak < 80_000 {
			t.Errorf("%d bytes of the budget are taken, %d at most were", b.budget.used, b.budget.peak)
		}
	})
}

// TestBombs closes connections whose messages grow too much, or are nothing that was compressed.
func TestBombs(t *testing.T) {
	bubble(t, wire.Limits{}, Options{Compression: true}, func(t *testing.T, b *bench) {
		wild := numbers(200_000)
		for _, test := range []struct {
			name string
			send []byte
			want uint16
		}{
			{"1000:1", clientFrame(0xc1, deflated(t, strings.Repeat("a", 1<<19))), 1009},
			{"16 MiB", clientFrame(0xc1, deflated(t, strings.Repeat(" ", 16<<20))), 1009},
			{"above the limit at a fair ratio", clientFrame(0xc1, deflated(t, wild)), 1009},
			{"garbage", clientFrame(0xc1, repeated("\xff", 100)), 1007},
			{"a block that is cut off", clientFrame(0xc1, deflated(t, wild[:1000])[:200]), 1007},
			{"RSV1 on a continuation", join(clientFrame(0x41, deflated(t, "{}")), clientFrame(0xc0, nil)), 1002},
			{"RSV1 on a ping", clientFrame(0xc9, nil), 1002},
			{"RSV2", clientFrame(0xa1, nil), 1002},
		} {
			c, s := b.deflating()
			go c.Write(test.send)
			if got := c.untilClose(); got != test.want {
				t.Errorf("%s: closed with %d, want %d", test.name, got, test.want)
			}
			if s.count() != 1 {
				t.Errorf("%s: the session received something", test.name)
			}
			c.Close()
		}
	})
}

// TestNoTakeover refuses a message that refers to the one before it.
func TestNoTakeover(t *testing.T) {
	bubble(t, wire.Limits{}, Options{Compression: true}, func(t *testing.T, b *bench) {
		msg := `{"type":"ping","ref":1,"x":"something that is worth a reference"}`
		var out bytes.Buffer
		z, _ := flate.NewWriter(&out, flate.BestCompression)
		var frames [][]byte
		for range 2 {
			out.Reset()
			z.Write([]byte(msg))
			z.Flush()
			frames = append(frames, clientFrame(0xc1, bytes.TrimSuffix(out.Bytes(), []byte("\x00\x00\xff\xff"))))
		}
		c, _ := b.deflating()
		c.write(frames[0])
		c.expect("pong")
		go c.Write(frames[1])
		c.expectClose(1007)
	})
}

// TestCompressionIsNegotiated offers it only where it is configured.
func TestCompressionIsNegotiated(t *testing.T) {
	const offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
	for _, on := range []bool{false, true} {
		r := newRig(t, rigOptions{ws: Options{Compression: on}})
		c := r.connect()
		res := c.handshake(offer)
		want := ""
		if on {
			want = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
		}
		if got := res.Header.Get("Sec-WebSocket-Extensions"); got != want {
			t.Errorf("compression %v: the server answered %q", on, got)
		}
		if on {
			c.write(clientFrame(0xc1, deflated(t, `{"type":"hello"}`)))
			if f := c.next(); f.first != bitFin|opText|bitRSV1 && f.first != bitFin|opText {
				t.Errorf("frame %#x", f.first)
			}
		}
		other := r.dial()
		other.hello()
	}
}
