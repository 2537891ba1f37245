package wsapi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/wire"
)

// rawHeader builds a header of any form: the length as it is given, in as many bytes as code says.
func rawHeader(first, second byte, length ...byte) []byte {
	return append([]byte{first, second}, length...)
}

func long(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

var mask0 = []byte{0, 0, 0, 0}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// hostile are frames that gws by itself would let pass or fall over, and what closes the connection for them.
var hostile = []struct {
	name string
	send []byte
	want uint16
}{
	{"length with the top bit", join(rawHeader(0x81, 0xff, long(1<<63)...), mask0), 1009},
	{"length of all ones", join(rawHeader(0x81, 0xff, long(1<<64-1)...), mask0), 1009},
	{"length with the top bit in a continuation", join(clientFrame(opText, []byte("a")), rawHeader(0x80, 0xff, long(1<<63)...), mask0), 1009},
	{"length with the top bit in a ping", join(rawHeader(0x89, 0xff, long(1<<63)...), mask0), 1009},
	{"2^62 bytes", join(rawHeader(0x81, 0xff, long(1<<62)...), mask0), 1009},
	{"one byte above the limit", join(rawHeader(0x81, 0xff, long(1<<20+1)...), mask0), 1009},
	{"16 MiB", join(rawHeader(0x81, 0xff, long(16<<20)...), mask0), 1009},
	{"fragments above the limit", join(clientFrame(opText, repeated("a", 1<<20)), clientFrame(bitFin|opContinuation, []byte("b"))), 1009},
	{"no mask", []byte{0x81, 0x01, 'a'}, 1002},
	{"no mask on a ping", []byte{0x89, 0x00}, 1002},
	{"length 5 in two bytes", join(rawHeader(0x81, 0xfe, 0, 5), mask0, []byte("hello")), 1002},
	{"length 300 in eight bytes", join(rawHeader(0x81, 0xff, long(300)...), mask0, repeated("a", 300)), 1002},
	{"RSV1", clientFrame(0xc1, []byte("a")), 1002},
	{"RSV2", clientFrame(0xa1, []byte("a")), 1002},
	{"RSV3", clientFrame(0x91, []byte("a")), 1002},
	{"RSV1 on a ping", clientFrame(0xc9, nil), 1002},
	{"opcode 3", clientFrame(0x83, []byte("a")), 1002},
	{"opcode 7", clientFrame(0x87, []byte("a")), 1002},
	{"opcode 11", clientFrame(0x8b, nil), 1002},
	{"opcode 15", clientFrame(0x8f, nil), 1002},
	{"ping of 126 bytes", clientFrame(0x89, repeated("a", 126)), 1002},
	{"close of 126 bytes", clientFrame(0x88, append([]byte{3, 232}, repeated("a", 124)...)), 1002},
	{"fragmented ping", clientFrame(0x09, []byte("a")), 1002},
	{"fragmented close", clientFrame(0x08, nil), 1002},
	{"continuation of nothing", clientFrame(0x80, []byte("a")), 1002},
	{"unfinished continuation of nothing", clientFrame(0x00, []byte("a")), 1002},
	{"text within a message", join(clientFrame(0x01, []byte("a")), clientFrame(0x81, []byte("b"))), 1002},
	{"binary within a message", join(clientFrame(0x01, []byte("a")), clientFrame(0x02, []byte("b"))), 1002},
	{"65 fragments", join(clientFrame(0x01, nil), bytes.Repeat(clientFrame(0x00, nil), 64)), 4400},
	{"empty continuations", join(clientFrame(0x01, nil), bytes.Repeat(clientFrame(0x00, nil), 1<<14)), 4400},
	{"pings", bytes.Repeat(clientFrame(0x89, nil), 1<<14), 4400},
	{"pongs", bytes.Repeat(clientFrame(0x8a, nil), 1<<14), 4400},
	{"pings within a message", join(clientFrame(0x01, nil), bytes.Repeat(clientFrame(0x89, []byte("x")), 1<<12)), 4400},
	{"garbage", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 1002},
	{"TLS", []byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03}, 1002},
}

// TestHostileFrames closes the connection for each of them with the documented code, whole or byte by byte.
func TestHostileFrames(t *testing.T) {
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, wire.Limits{}, Options{})
				defer b.stop()
				for _, step := range []int{len(h.send), 1} {
					if step == 1 && len(h.send) > 1<<12 {
						continue
					}
					c, s := b.pipe()
					s.welcomed = true
					go func() {
						for p := h.send; len(p) > 0; p = p[min(step, len(p)):] {
							if _, err := c.Write(p[:min(step, len(p))]); err != nil {
								return
							}
						}
					}()
					if got := c.untilClose(); got != h.want {
						t.Errorf("in steps of %d: closed with %d, want %d", step, got, h.want)
					}
					synctest.Wait()
					if s.count() > 0 || !s.closed {
						t.Errorf("the session received %d, closed %v", s.count(), s.closed)
					}
					c.Close()
				}
				time.Sleep(2 * lingering)
				synctest.Wait()
				if n := b.srv.Stats().Conns; n != 0 || b.budget.used != 0 {
					t.Errorf("%d connections and %d bytes are left", n, b.budget.used)
				}
			})
		})
	}
}

// TestFrameAtLimit takes a frame of exactly the limit, before the welcome and after it, and none above.
func TestFrameAtLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, wire.Limits{Frame: 100_000}, Options{})
		defer b.stop()
		ping := func(n int) []byte {
			const open, shut = `{"type":"ping","ref":1,"x":"`, `"}`
			return fmt.Appendf(nil, "%s%s%s", open, repeated("x", n-len(open)-len(shut)), shut)
		}
		for _, w := range []struct {
			welcomed bool
			limit    int
		}{{false, wire.MaxHello}, {true, 100_000}} {
			for _, pieces := range []int{1, 7} {
				c, s := b.pipe()
				s.welcomed = w.welcomed
				go c.Write(fragments(ping(w.limit), pieces))
				c.expect("pong")
				go c.Write(fragments(ping(w.limit+1), pieces))
				c.expectClose(1009)
				c.Close()
			}
		}
	})
}

// fragments returns a text message in n frames.
func fragments(p []byte, n int) (all []byte) {
	op := byte(opText)
	for i := range n {
		from, to := len(p)*i/n, len(p)*(i+1)/n
		if i == n-1 {
			op |= bitFin
		}
		all = append(all, clientFrame(op, p[from:to])...)
		op = opContinuation
	}
	return all
}

// TestControlRate lets a client send control frames for ever, if it does so slowly.
func TestControlRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, wire.Limits{}, Options{})
		defer b.stop()
		c, _ := b.pipe()
		go func() {
			c.write(clientFrame(bitFin|opText, []byte(`{"type":"hello"}`)))
			for range 5000 {
				time.Sleep(time.Second / controlRate)
				c.write(clientFrame(bitFin|opPing, []byte("x")))
			}
			time.Sleep(time.Second) // the last one is answered before the close
			c.write(clientFrame(bitFin|opClose, nil))
		}()
		pongs := 0
		for {
			f := c.next()
			if f.first == bitFin|opPong {
				pongs++
			} else if f.first == bitFin|opClose {
				break
			}
		}
		if pongs != 5000 {
			t.Fatalf("%d of 5000 pings were answered", pongs)
		}
	})
}

func TestParseHeader(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 1 << 40} {
		b := appendHeader(nil, bitFin|opText, n)
		h, size := parseHeader(b)
		if size != len(b) || h.n != uint64(n) || h.long || !h.fin || h.op != opText || h.masked {
			t.Errorf("%d: %+v, %d", n, h, size)
		}
		for i := range b {
			if _, size := parseHeader(b[:i]); size != 0 {
				t.Errorf("%d: the first %d bytes are taken for a header", n, i)
			}
		}
	}
}
