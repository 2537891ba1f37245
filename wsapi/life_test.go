package wsapi

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

// bubble runs fn with a server over pipes, in time that costs nothing.
func bubble(t *testing.T, l wire.Limits, o Options, fn func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, l, o)
		fn(t, b)
		b.stop()
		time.Sleep(5 * time.Second) // who still writes sees that it is over
		if n := b.srv.Stats().Conns; n != 0 || b.budget.used != 0 {
			t.Errorf("%d connections and %d bytes are left", n, b.budget.used)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, s := range b.made {
			if !s.closed {
				t.Error("a session was not closed")
			}
		}
	})
}

// took runs fn and returns how long that took.
func took(fn func()) time.Duration {
	start := time.Now()
	fn()
	return time.Since(start)
}

func between(t *testing.T, d, from, to time.Duration) {
	t.Helper()
	if d < from || d > to {
		t.Errorf("after %v, want %v to %v", d, from, to)
	}
}

func TestNoHello(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		c, _ := b.pipe()
		between(t, took(func() { c.expectClose(4400) }), 10*time.Second, 12*time.Second)
	})
}

func TestHelloThatDrips(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		c, _ := b.pipe()
		go drip(c, clientFrame(bitFin|opText, repeated(" ", 1000)), time.Second)
		between(t, took(func() { c.expectClose(4400) }), 10*time.Second, 12*time.Second)
	})
}

func drip(c net.Conn, p []byte, every time.Duration) {
	for i := range p {
		if _, err := c.Write(p[i : i+1]); err != nil {
			return
		}
		time.Sleep(every)
	}
}

// TestMessageThatDrips ends a message that does not come to its end, though there is a sign of life every second.
func TestMessageThatDrips(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		c, s := b.greeted()
		go drip(c, clientFrame(bitFin|opText, repeated(" ", 1000)), time.Second)
		between(t, took(func() { c.expectClose(4002) }), 30*time.Second, 35*time.Second)
		if s.count() != 1 {
			t.Error("half a message was taken for one")
		}
	})
}

// greeted returns a connection that said hello.
func (b *bench) greeted() (*rawConn, *fakeSession) {
	b.t.Helper()
	c, s := b.pipe()
	c.text(`{"type":"hello"}`)
	synctest.Wait()
	return c, s
}

// TestSlowUpload takes a large message over a line of 8 KB/s.
func TestSlowUpload(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		c, s := b.greeted()
		f := clientFrame(bitFin|opText, append([]byte(`{"type":"ping","ref":1}`), repeated(" ", 1<<20-30)...))
		go func() {
			for len(f) > 0 {
				n := min(len(f), 800)
				c.write(f[:n])
				f = f[n:]
				time.Sleep(100 * time.Millisecond)
			}
		}()
		between(t, took(func() {
			for {
				if f, err := c.frame(); err != nil {
					t.Fatal(err)
				} else if f.first == bitFin|opText {
					return
				}
			}
		}), 100*time.Second, 150*time.Second)
		if s.count() != 2 {
			t.Error("the message did not arrive")
		}
	})
}

// TestHeartbeat pings in time, keeps who says anything at all, and drops who says nothing for two heartbeats.
func TestHeartbeat(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		c, _ := b.greeted()
		for range 10 { // who says something
			var f serverFrame
			between(t, took(func() { f, _ = c.frame() }), testBeat/2, testBeat+5*time.Second)
			if f.first != bitFin|opPing {
				t.Fatalf("got frame %#x, want a ping", f.first)
			}
			c.write(clientFrame(bitFin|opPong, f.payload))
		}
		for range 10 { // an unmasked byte of a message is a sign of life, too
			c.write([]byte{bitFin | opPing})
			time.Sleep(time.Second)
			c.write(clientFrame(bitFin|opPing, nil)[1:])
			if f := c.next(); f.first != bitFin|opPong {
				t.Fatalf("got frame %#x, want a pong", f.first)
			}
		}
		between(t, took(func() { c.expectClose(4002) }), 2*testBeat, 2*testBeat+5*time.Second)
	})
}

// TestNotReadIsNotSilent keeps a peer whom the server does not read for a long time.
func TestNotReadIsNotSilent(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		c, s := b.greeted()
		gate := make(chan struct{})
		s.mu.Lock()
		s.gate = gate
		s.mu.Unlock()
		c.text(`{"type":"ping","ref":1}`)
		go io.Copy(io.Discard, c)
		time.Sleep(10 * testBeat)
		if len(b.srv.Stats().Closes) != 0 {
			t.Error("the connection was closed")
		}
		close(gate)
		time.Sleep(testBeat)
		if s.count() != 2 || len(b.srv.Stats().Closes) != 0 {
			t.Error("the message was not received")
		}
	})
}

// TestBudgetMakesReadingWait counts declared lengths before there is memory for them, and keeps small messages going.
func TestBudgetMakesReadingWait(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		b.budget.limit = 3 << 20
		var all []*rawConn
		for range 10 {
			c, _ := b.greeted()
			f := clientFrame(bitFin|opText, repeated(" ", 1<<20))
			c.write(f[:100])
			all = append(all, c)
		}
		synctest.Wait()
		if b.budget.used != 3<<20 {
			t.Errorf("%d bytes are taken, want 3 MiB", b.budget.used)
		}
		c, _ := b.greeted()
		c.text(`{"type":"ping","ref":1}`)
		c.expect("pong")
		for _, c := range all {
			c.Close()
		}
		synctest.Wait()
	})
}

// TestHoarders ends messages that hold all memory and stand still when others need it, and no sooner.
func TestHoarders(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		b.budget.limit = 3 << 20
		for range 3 {
			c, _ := b.greeted()
			go c.untilClose()
			c.write(clientFrame(bitFin|opText, repeated(" ", 1<<20))[:100])
		}
		time.Sleep(20 * time.Second)
		if n := b.srv.Stats().Closes; len(n) != 0 {
			t.Errorf("closed: %v", n)
		}
		c, s := b.greeted()
		go c.write(padded(1<<20, 0))
		between(t, took(func() { c.expect("pong") }), 0, 7*time.Second)
		synctest.Wait()
		if n := b.srv.Stats().Closes[4003]; s.count() != 2 || n < 1 || n > 3 { // one gave enough; the sweeper may have seen all
			t.Errorf("%d messages, closed: %v", s.count(), b.srv.Stats().Closes)
		}
	})
}

// TestStalledReader closes a connection that takes nothing, with 4001 where the peer reads again in time.
func TestStalledReader(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		c, s := b.greeted()
		s.send(repeated("x", 100_000))
		time.Sleep(10*time.Second + 500*time.Millisecond)
		c.expectClose(4001)

		c, s = b.greeted()
		s.send(repeated("x", 100_000))
		head := make([]byte, 50_000)
		_, err := io.ReadFull(c, head)
		check(t, err)
		time.Sleep(25 * time.Second) // something of the chunk moved, so it has a second deadline
		if got := b.srv.Stats().Closes[4001]; got != 2 {
			t.Errorf("%d connections were closed as slow, want 2", got)
		}
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Error(err)
		}
	})
}

// TestSlowReader keeps a reader that takes 8 KB a second, and tells the session that the line is slow.
func TestSlowReader(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		c, s := b.greeted()
		c.SetDeadline(time.Time{})
		s.send(repeated("x", 1<<20))
		buf := make([]byte, 800)
		stalled := false
		for n := 0; n < 1<<20+10; {
			time.Sleep(100 * time.Millisecond)
			k, err := c.br.Read(buf[:min(len(buf), 1<<20+10-n)])
			check(t, err)
			n += k
			s.mu.Lock()
			stalled = stalled || s.stalled
			s.mu.Unlock()
		}
		if !stalled {
			t.Error("the session does not know that the line is slow")
		}
		go s.send(repeated("y", 1<<20))
		for range 10 {
			if f := c.next(); len(f.payload) == 1<<20 {
				break
			}
		}
		synctest.Wait()
		if s.stalled {
			t.Error("the session does not know that the line is fast again")
		}
	})
}

// TestPingIsEchoed answers pings with their payload, also within a message, the newest where many wait.
func TestPingIsEchoed(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		c, _ := b.greeted()
		msg := fragments([]byte(`{"type":"ping","ref":7}`), 2)
		half := len(fragments([]byte(`{"type":"ping","ref":7}`)[:11], 1))
		c.write(msg[:half])
		c.write(clientFrame(bitFin|opPing, []byte("hello")))
		if f := c.next(); f.first != bitFin|opPong || string(f.payload) != "hello" {
			t.Fatalf("got %#x %q", f.first, f.payload)
		}
		c.write(msg[half:])
		if m := c.expect("pong"); m["ref"] != 7.0 {
			t.Fatal(m)
		}
		for i := range 50 { // not reading meanwhile
			c.write(clientFrame(bitFin|opPing, []byte{byte(i)}))
		}
		last := byte(0)
		for range 50 {
			f, err := c.frame()
			check(t, err)
			if last = f.payload[0]; last == 49 {
				break
			}
		}
		if last != 49 {
			t.Error("the newest ping was not answered")
		}
	})
}

// TestCloseFrames answers the peer's close frame with its code, or with what is wrong about it.
func TestCloseFrames(t *testing.T) {
	code := func(n int, reason string) []byte { return append([]byte{byte(n >> 8), byte(n)}, reason...) }
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		for _, test := range []struct {
			payload []byte
			want    uint16
		}{
			{nil, closeNoStatus}, {[]byte{3}, 1002}, {code(1000, ""), 1000}, {code(1001, "bye"), 1000}, {code(1003, ""), 1000},
			{code(1011, ""), 1000}, {code(3000, ""), 3000}, {code(4999, "x"), 4999}, {code(0, ""), 1002}, {code(999, ""), 1002},
			{code(1004, ""), 1002}, {code(1005, ""), 1002}, {code(1006, ""), 1002}, {code(1015, ""), 1002}, {code(1016, ""), 1002},
			{code(1100, ""), 1002}, {code(2000, ""), 1002}, {code(2999, ""), 1002}, {code(5000, ""), 1002}, {code(65535, ""), 1002},
			{code(1000, "\xce\xba\xff"), 1007}, {code(1000, string(repeated("x", 123))), 1000},
		} {
			c, _ := b.greeted()
			go c.Write(append(clientFrame(bitFin|opClose, test.payload), clientFrame(bitFin|opText, []byte("{}"))...))
			if got := took(func() { c.expectClose(test.want) }); got > 2*time.Second {
				t.Errorf("%x: the answer took %v", test.payload, got)
			}
			if _, err := c.br.ReadByte(); err != io.EOF && !errors.Is(err, net.ErrClosed) {
				t.Errorf("%x: after the close frame: %v", test.payload, err)
			}
		}
	})
}

// TestSessionEnds carries out what the engine wants: all that was before, a close frame with the right code, and the rest of
// what the peer says is thrown away until its own close frame comes.
func TestSessionEnds(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		for end, want := range map[eventsync.End]uint16{
			eventsync.EndShutdown: 1001, eventsync.EndGoingAway: 4000, eventsync.EndOverloaded: 4003, eventsync.EndReplaced: 4005,
			eventsync.EndProtocol: 4400, eventsync.EndUnauthorized: 4401, eventsync.EndUpgrade: 4426,
		} {
			c, s := b.greeted()
			s.send([]byte(`{"type":`), []byte(`"goodbye"}`))
			s.push(eventsync.Frame{End: end})
			c.expect("goodbye")
			c.expectClose(want)
			c.SetDeadline(time.Now().Add(time.Minute))
			took := took(func() {
				c.text(`{"type":"ping"}`)
				c.write(clientFrame(bitFin|opClose, []byte{3, 232}))
				if _, err := c.frame(); err != io.EOF {
					t.Errorf("%v: %v", end, err)
				}
			})
			between(t, took, 0, 100*time.Millisecond)
			if s.count() != 1 {
				t.Errorf("%v: received %d messages", end, s.count())
			}
		}
	})
}

// TestLingering closes the socket a second after the close frame when the peer does not answer, whatever it sends.
func TestLingering(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		c, s := b.greeted()
		s.push(eventsync.Frame{End: eventsync.EndReplaced})
		c.expectClose(4005)
		sent := 0
		took := took(func() {
			for {
				if _, err := c.Write(clientFrame(bitFin|opText, []byte("{}"))); err != nil {
					return
				}
				sent++
				time.Sleep(10 * time.Millisecond)
			}
		})
		between(t, took, 900*time.Millisecond, 1100*time.Millisecond)
		if sent < 50 {
			t.Errorf("%d messages were read", sent)
		}
	})
}

// TestPeerIsGone ends the session when the socket does.
func TestPeerIsGone(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		for _, part := range []int{0, 1, 3, 6, 20} {
			c, s := b.greeted()
			c.write(clientFrame(bitFin|opText, repeated(" ", 50))[:part])
			c.Close()
			synctest.Wait()
			if !s.closed || b.srv.Stats().Conns != 0 {
				t.Fatalf("%d bytes into a frame: closed %v, %d connections", part, s.closed, b.srv.Stats().Conns)
			}
		}
	})
}

// TestPanic ends only the connection that it happens on.
func TestPanic(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		other, _ := b.greeted()
		c, s := b.greeted()
		s.mu.Lock()
		s.fail = "receiving"
		s.mu.Unlock()
		c.text(`{"type":"ping","ref":1}`)
		c.expectClose(4003)
		c, s = b.greeted()
		s.push(eventsync.Frame{Pieces: [][]byte{[]byte("{}")}, End: 255}) // an End that nobody knows
		c.expectClose(4003)
		other.text(`{"type":"ping","ref":1}`)
		other.expect("pong")
		if got := b.srv.Stats().Panics; got != 1 {
			t.Errorf("%d panics were counted", got)
		}
	})
}

// TestShutdown closes what is left when its context ends, with 1001, and takes nothing more.
func TestShutdown(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		reading, _ := b.greeted()
		stuck, s := b.greeted()
		s.send(repeated("x", 1<<20))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		done := make(chan error)
		go func() { done <- b.srv.Shutdown(ctx) }()
		go reading.untilClose()
		var err error
		between(t, took(func() { err = <-done }), 5*time.Second, 7500*time.Millisecond)
		if !errors.Is(err, context.DeadlineExceeded) || b.srv.Stats().Closes[1001] != 2 {
			t.Errorf("%v, closed: %v", err, b.srv.Stats().Closes)
		}
		if b.srv.take("pipe") == nil {
			t.Error("a connection was taken after the shutdown")
		}
		stuck.Close()
	})
}

// TestBadMessages answers what is no message, and goes on.
func TestBadMessages(t *testing.T) {
	bubble(t, wire.Limits{}, Options{}, func(t *testing.T, b *bench) {
		c, s := b.greeted()
		for _, f := range [][]byte{
			clientFrame(bitFin|opBinary, []byte(`{"type":"ping"}`)), clientFrame(bitFin|opText, nil), clientFrame(bitFin|opText, []byte("\xff")),
			clientFrame(bitFin|opText, []byte(`{"type":"ping","x":"`+"\xed\xa0\x80"+`"}`)), clientFrame(bitFin|opText, []byte(`[]`)),
			clientFrame(bitFin|opText, []byte(`{"type":"pong"}`)), fragments([]byte(`{"type":"ping","type":"ping"}`), 3),
		} {
			c.write(f)
			if m := c.expect("error"); m["code"] != string(store.CodeBadMessage) {
				t.Errorf("%q was answered with %v", f, m)
			}
		}
		if s.count() != 8 {
			t.Errorf("the session received %d messages", s.count())
		}
		if _, err := c.Write(nil); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	})
}
