package wsapi

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/wire"
	eventsync "tidemark/sync"
)

// The cases of the Autobahn test suite for servers, by its numbers, as far as they say something about a server whose
// messages are JSON. A ping message with n bytes of padding stands for the suite's messages of n bytes; "echo" is its pong.

const (
	isPong    = "pong"    // a message came back
	isError   = "error"   // bad_message came back
	isControl = "control" // a WebSocket pong came back
)

// step is one thing that a case sends, and what must come back before the next one.
type step struct {
	send []byte
	want []string
}

type autobahnCase struct {
	id    string
	steps []step
	chop  int    // bytes of a write; 0: whole
	close uint16 // 0: the client closes in order and the server answers 1000
}

// padded is a message of n bytes that is answered with a pong, in frames of at most size bytes.
func padded(n, size int) []byte {
	const open, shut = `{"type":"ping","ref":1,"x":"`, `"}`
	p := fmt.Appendf(nil, "%s%s%s", open, repeated("*", max(0, n-len(open)-len(shut))), shut)
	if size == 0 {
		return clientFrame(bitFin|opText, p)
	}
	return fragments(p, (len(p)+size-1)/size)
}

func text(s string) []byte { return clientFrame(bitFin|opText, []byte(s)) }
func ping(s string) []byte { return clientFrame(bitFin|opPing, []byte(s)) }
func pong(s string) []byte { return clientFrame(bitFin|opPong, []byte(s)) }
func sends(want string, p []byte) step {
	if want == "" {
		return step{send: p}
	}
	return step{p, []string{want}}
}

// begin and rest are the two halves of a message that is answered with a pong.
var (
	begin = clientFrame(opText, []byte(`{"type":"ping",`))
	rest  = clientFrame(bitFin|opContinuation, []byte(`"ref":1}`))
)

func autobahnCases() (cases []autobahnCase) {
	add := func(id string, close uint16, chop int, steps ...step) {
		cases = append(cases, autobahnCase{id, steps, chop, close})
	}
	for i, n := range []int{0, 125, 126, 127, 128, 65535, 65536} { // 1: framing
		add(fmt.Sprintf("1.1.%d", i+1), 0, 0, sends(isPong, padded(n, 0)))
		add(fmt.Sprintf("1.2.%d", i+1), 0, 0, sends(isError, clientFrame(bitFin|opBinary, repeated("\xfe", n))))
	}
	add("1.1.8", 0, 997, sends(isPong, padded(65536, 0)))
	add("1.2.8", 0, 997, sends(isError, clientFrame(bitFin|opBinary, repeated("\xfe", 65536))))

	ten := bytes.Repeat(ping("payload"), 10) // 2: pings and pongs
	add("2.1", 0, 0, sends(isControl, ping("")))
	add("2.2", 0, 0, sends(isControl, ping("Hello, world!")))
	add("2.3", 0, 0, sends(isControl, ping("\x00\xff\xfe\xfd\xfc\xfb\x00\xff")))
	add("2.4", 0, 0, sends(isControl, ping(string(repeated("\xfe", 125)))))
	add("2.5", 1002, 0, sends("", ping(string(repeated("\xfe", 126)))))
	add("2.6", 0, 1, sends(isControl, ping(string(repeated("\xfe", 125)))))
	add("2.7", 0, 0, sends("", pong("")))
	add("2.8", 0, 0, sends("", pong("unsolicited")))
	add("2.9", 0, 0, sends("", pong("unsolicited")), sends(isControl, ping("hi")))
	add("2.10", 0, 0, step{ten, []string{isControl, isControl, isControl, isControl, isControl, isControl, isControl, isControl, isControl, isControl}})
	add("2.11", 0, 1, step{ten, []string{isControl, isControl, isControl, isControl, isControl, isControl, isControl, isControl, isControl, isControl}})

	for i, rsv := range []byte{0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70} { // 3: reserved bits
		add(fmt.Sprintf("3.%d", i+1), 1002, i%2, sends(isPong, padded(40, 0)), sends("", clientFrame(bitFin|opText|rsv, []byte("Hello"))), sends("", ping("")))
	}
	for i, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} { // 4: reserved opcodes
		add(fmt.Sprintf("4.%d.%d", 1+i/5, i%5+1), 1002, i%2, sends(isPong, padded(40, 0)), sends("", clientFrame(bitFin|op, repeated("a", i%2))), sends("", ping("")))
	}

	add("5.1", 1002, 0, sends("", clientFrame(opPing, []byte("a"))), sends("", clientFrame(bitFin|opContinuation, []byte("b")))) // 5: fragmentation
	add("5.2", 1002, 0, sends("", clientFrame(opPong, []byte("a"))), sends("", clientFrame(bitFin|opContinuation, []byte("b"))))
	add("5.3", 0, 0, sends(isPong, join(begin, rest)))
	add("5.4", 0, 0, sends("", begin), sends(isPong, rest))
	add("5.5", 0, 1, sends(isPong, join(begin, rest)))
	add("5.6", 0, 0, step{join(begin, ping("x"), rest), []string{isControl, isPong}})
	add("5.7", 0, 0, sends("", begin), sends(isControl, ping("x")), sends(isPong, rest))
	add("5.8", 0, 1, step{join(begin, ping("x"), rest), []string{isControl, isPong}})
	for i := range 3 {
		add(fmt.Sprintf("5.%d", 9+i), 1002, i%2, sends("", clientFrame(bitFin|opContinuation, []byte("a"))), sends("", padded(40, 0)))
		add(fmt.Sprintf("5.%d", 12+i), 1002, i%2, sends("", clientFrame(opContinuation, []byte("a"))), sends("", padded(40, 0)))
	}
	add("5.15", 1002, 0, sends(isPong, join(begin, rest)), sends("", clientFrame(opContinuation, []byte("a"))), sends("", begin))
	add("5.16", 1002, 0, sends("", clientFrame(opContinuation, []byte("a"))), sends("", begin), sends("", rest))
	add("5.17", 1002, 0, sends("", clientFrame(bitFin|opContinuation, []byte("a"))), sends("", begin), sends("", rest))
	add("5.18", 1002, 0, sends("", begin), sends("", text("b")))
	add("5.19", 0, 0, sends("", join(begin, clientFrame(opContinuation, []byte(" ")), ping("1"), clientFrame(opContinuation, []byte(" ")))),
		step{join(clientFrame(opContinuation, nil), ping("2"), rest), []string{isControl, isControl, isPong}})
	add("5.20", 0, 0, sends(isControl, join(begin, clientFrame(opContinuation, []byte(" ")), ping("1"))),
		step{join(clientFrame(opContinuation, nil), ping("2"), rest), []string{isControl, isPong}})

	return append(cases, append(autobahnText(), append(autobahnCloses(), autobahnSizes()...)...)...)
}

// autobahnText is category 6: what is no UTF-8 is a bad message here, and the connection stays.
func autobahnText() (cases []autobahnCase) {
	in := func(s string) string { return `{"type":"ping","ref":1,"x":"` + s + `"}` }
	add := func(id, s, want string) {
		for chop := range 2 {
			p := []byte(in(s))
			cases = append(cases, autobahnCase{id: fmt.Sprintf("%s/%d", id, chop), chop: chop, steps: []step{sends(want, text(string(p)))}})
			cases = append(cases, autobahnCase{id: fmt.Sprintf("%s/%d/fragments", id, chop), chop: chop, steps: []step{sends(want, fragments(p, min(len(p), 60)))}})
		}
	}
	add("6.1", "", isPong)
	add("6.2", "Hello-µ@ßöäüàá-UTF-8!!", isPong)
	add("6.3", "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64", isError)
	add("6.4", "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited", isError)
	add("6.5", "κόσμε", isPong)
	valid := []string{"\x7f", "\u0080", "\u07ff", "\u0800", "\uffff", "\U00010000", "\ud7ff", "\ue000", "\ufffd", "\U0010ffff", "\ufffe", "\U0001fffe"}
	for i, s := range valid {
		add(fmt.Sprintf("6.%d", 6+i), s, isPong)
	}
	invalid := []string{"\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xf7\xbf\xbf\xbf", "\xf4\x90\x80\x80", "\x80", "\xbf", "\x80\xbf\x80",
		"\xc0 \xc1", "\xe0 ", "\xf0 ", "\xf8 ", "\xfc ", "\xc0", "\xe0\x80", "\xf0\x80\x80", "\xdf", "\xef\xbf", "\xf7\xbf\xbf", "\xfe", "\xff",
		"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xc0\x80", "\xed\xa0\x80", "\xed\xad\xbf",
		"\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80"}
	for i, s := range invalid {
		add(fmt.Sprintf("6.%d", 18+i), s, isError)
	}
	return cases
}

// autobahnCloses is category 7.
func autobahnCloses() (cases []autobahnCase) {
	shut := func(code int, reason string) []byte {
		return clientFrame(bitFin|opClose, append([]byte{byte(code >> 8), byte(code)}, reason...))
	}
	add := func(id string, close uint16, sent ...[]byte) {
		cases = append(cases, autobahnCase{id: id, close: close, steps: []step{{send: join(sent...)}}})
	}
	add("7.1.2", 1000, shut(1000, ""), shut(1000, ""))
	add("7.1.3", 1000, shut(1000, ""), ping("x"))
	add("7.1.4", 1000, shut(1000, ""), padded(40, 0))
	add("7.1.5", 1000, begin, shut(1000, ""), rest)
	add("7.3.1", closeNoStatus, clientFrame(bitFin|opClose, nil))
	add("7.3.2", 1002, clientFrame(bitFin|opClose, []byte("a")))
	add("7.3.3", 1000, shut(1000, ""))
	add("7.3.4", 1000, shut(1000, "Hello World!"))
	add("7.3.5", 1000, shut(1000, string(repeated("*", 123))))
	add("7.3.6", 1002, shut(1000, string(repeated("*", 124))))
	add("7.5.1", 1007, shut(1000, "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64"))
	for i, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		want := uint16(1000)
		if code >= 3000 {
			want = uint16(code)
		}
		add(fmt.Sprintf("7.7.%d", i+1), want, shut(code, ""))
	}
	for i, code := range []int{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999} {
		add(fmt.Sprintf("7.9.%d", i+1), 1002, shut(code, ""))
	}
	add("7.13.1", 1002, shut(5000, ""))
	add("7.13.2", 1002, shut(65535, ""))
	return cases
}

// autobahnSizes is categories 9 and 10, within the limits of a message and of its fragments.
func autobahnSizes() (cases []autobahnCase) {
	add := func(id string, n, size, chop int) {
		cases = append(cases, autobahnCase{id: id, chop: chop, steps: []step{sends(isPong, padded(n, size))}})
	}
	for i, n := range []int{64 << 10, 256 << 10, 1 << 20} {
		add(fmt.Sprintf("9.1.%d", i+1), n, 0, 0)
	}
	for i, size := range []int{16 << 10, 64 << 10, 256 << 10, 1 << 20} {
		add(fmt.Sprintf("9.3.%d", i+5), 1<<20, size, 0)
	}
	for i, chop := range []int{64, 128, 256, 512, 1024, 2048} {
		add(fmt.Sprintf("9.5.%d", i+1), 256<<10, 0, chop)
	}
	for i, n := range []int{0, 16, 64, 256, 1024, 4096} {
		p := padded(n, 0)
		c := autobahnCase{id: fmt.Sprintf("9.7.%d", i+1)}
		for range 200 {
			c.steps = append(c.steps, sends(isPong, p))
		}
		cases = append(cases, c)
	}
	add("10.1.1", 65536, 1300, 0)
	return cases
}

// TestAutobahn runs each case over a pipe, and that of sockets where writes may be cut anywhere.
func TestAutobahn(t *testing.T) {
	cases := autobahnCases()
	for _, c := range cases {
		t.Run(c.id, func(t *testing.T) {
			bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
				conn, s := b.greeted()
				runCase(t, conn, &c, synctest.Wait)
				for _, m := range s.received[1:] {
					if _, ok := m.(*eventsync.Hello); ok {
						t.Errorf("received %T", m)
					}
				}
			})
		})
	}
	if len(cases) < 300 {
		t.Errorf("only %d cases", len(cases))
	}
}

func runCase(t *testing.T, conn *rawConn, c *autobahnCase, settle func()) {
	t.Helper()
	want := c.close
	steps := c.steps
	if want == 0 {
		want = 1000
		steps = append(steps[:len(steps):len(steps)], step{send: clientFrame(bitFin|opClose, []byte{3, 232})})
	}
	sent := make(chan struct{})
	replies := make(chan string, 1000)
	go func() {
		defer close(sent)
		for _, st := range steps {
			if !writeChopped(conn, st.send, c.chop) {
				return
			}
			for _, w := range st.want {
				if got, ok := <-replies; got != w {
					if ok {
						t.Errorf("got %q, want %q", got, w)
					}
					return
				}
			}
		}
	}()
	code := classify(conn, replies)
	close(replies)
	if code != want {
		t.Errorf("closed with %d, want %d", code, want)
	}
	conn.Close()
	<-sent
	settle()
}

func writeChopped(conn *rawConn, p []byte, chop int) bool {
	if chop == 0 {
		chop = len(p)
	}
	for len(p) > 0 {
		n := min(chop, len(p))
		if _, err := conn.Write(p[:n]); err != nil {
			return false
		}
		p = p[n:]
	}
	return true
}

// classify tells what comes until the close frame, whose code it returns.
func classify(conn *rawConn, replies chan<- string) uint16 {
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		f, err := conn.frame()
		switch {
		case err != nil:
			return 0
		case f.first == bitFin|opPong:
			replies <- isControl
		case f.first == bitFin|opClose && len(f.payload) < 2:
			return closeNoStatus
		case f.first == bitFin|opClose:
			return uint16(f.payload[0])<<8 | uint16(f.payload[1])
		case bytes.Contains(f.payload, []byte(`"pong"`)):
			replies <- isPong
		case bytes.Contains(f.payload, []byte(`"error"`)):
			replies <- isError
		default:
			replies <- string(f.payload)
		}
	}
}
