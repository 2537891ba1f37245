package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
)

func mutation(n int) store.Mutation {
	return store.Mutation{ID: store.ID{0: 9, 14: byte(n >> 8), 15: byte(n)}, Stream: "room/1", Type: "said", Data: fmt.Appendf(nil, "%d", n)}
}

// collect remembers answers.
type collect struct{ results []Result }

func (c *collect) add(r Result) { c.results = append(c.results, r) }

func sendAll(t *testing.T, c *Client, to *collect, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		sendOne(t, c, to, mutation(i))
	}
}

func sendOne(t *testing.T, c *Client, to *collect, m store.Mutation) {
	t.Helper()
	if err := c.Send(t.Context(), &m, to.add); err != nil {
		t.Fatal(err)
	}
}

func TestPushCoalescesWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		var got collect
		sendAll(t, c, &got, 0, 500)
		l, _ := s.welcome()
		var seq store.Seq = 1
		p := expect[*wire.Push](l)
		if len(p.Mutations) != 500 || !p.HasStream {
			t.Errorf("the first push has %d mutations, want all 500 for one stream", len(p.Mutations))
		}
		l.ack(p, seq)
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, r := range got.results {
			if r.Seq != store.Seq(i+1) || r.ID != mutation(i).ID || r.Err != nil {
				t.Fatalf("result %d: %+v", i, r)
			}
		}
	})
}

// What the application sends when it is answered goes out at once, by the goroutine that has read the answer, as far as the socket takes it;
// the rest follows.
func TestAnswersAreFollowedAtOnce(t *testing.T) {
	s := newScript(t)
	c, err := New(Options{URL: "ws://script", Dial: s.dialTCP})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	small, large := []byte("1"), fmt.Appendf(nil, "%q", bytes.Repeat([]byte{'x'}, 100_000)) // more than the socket takes
	follow := make(chan []byte, 1)                                                          // what the next answer is followed by
	sent, answered := 0, 0
	var send func(data []byte)
	send = func(data []byte) {
		m := mutation(sent)
		m.Data = data
		sent++
		err := c.Send(t.Context(), &m, func(Result) {
			answered++
			if data, more := <-follow; more {
				send(data)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
	send(small)
	l, _ := s.welcome()
	seq, data := store.Seq(1), small
	ack := func() {
		p := expect[*wire.Push](l)
		if n := len(p.Mutations); n != 1 || !bytes.Equal(p.Mutations[0].Data, data) {
			t.Fatalf("%d mutations, the first with %d bytes of data, want one with %d", n, len(p.Mutations[0].Data), len(data))
		}
		seq = l.ack(p, seq)
	}
	for st := c.Stats(); st.PromptCut == 0 || st.Prompt == st.PromptCut; st = c.Stats() {
		for _, next := range [][]byte{small, large} {
			follow <- next
			ack()
			data = next
		}
		for range 100 { // nobody reads; on a busy machine the write goroutine may have been first, and there is another round
			if c.Stats().PromptCut > 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	close(follow)
	ack()
	if err := c.Flush(t.Context()); err != nil || answered != sent {
		t.Fatalf("%d answers to %d mutations, %v", answered, sent, err)
	}
}

func TestUnansweredMutationsAreSentAgainByteForByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		var got collect
		sendAll(t, c, &got, 0, 3)
		l, _ := s.welcome()
		_, first := l.receive()
		first = bytes.Clone(first)
		l.nc.Close()
		sendAll(t, c, &got, 3, 1)
		l, hello := s.welcome()
		if hello.Log != testLog || hello.N != 2 {
			t.Errorf("hello says log %v, n %d", hello.Log, hello.N)
		}
		again, text := l.receive()
		mutations := func(b []byte) []byte { return bytes.TrimSuffix(b[bytes.IndexByte(b, '['):], []byte("]}")) }
		if !bytes.HasPrefix(mutations(text), mutations(first)) {
			t.Errorf("sent again:\n%s\nfirst:\n%s", text, first)
		}
		if n := len(again.(*wire.Push).Mutations); n != 4 {
			t.Errorf("%d mutations, want the 3 unanswered ones, then the new one", n)
		}
		l.ack(again.(*wire.Push), 10)
		if err := c.Flush(t.Context()); err != nil || len(got.results) != 4 {
			t.Fatal(err, got.results)
		}
		if n := c.Stats().Resent; n < 3 {
			t.Errorf("Resent = %d", n)
		}
	})
}

func TestReconnectWaitsWithJitterAndHonoursTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		var waits []time.Duration
		c := s.client(Options{OnState: func(st State) {
			if st.Phase == Waiting {
				waits = append(waits, st.Wait)
			}
		}})
		defer c.Close()
		go c.Connect(t.Context())
		for range 12 {
			l, _ := s.accept()
			l.nc.Close()
			synctest.Wait()
		}
		for i, w := range waits {
			if bound := min(500*time.Millisecond<<i, 30*time.Second); w > bound+1 {
				t.Errorf("wait %d is %v, above %v", i, w, bound)
			}
		}
		l, _ := s.welcome()
		l.send(&wire.Goodbye{Reason: "shutdown", ReconnectAfterMS: 3210})
		l.close(1001, "going_away")
		at := time.Now()
		s.welcome()
		if d := time.Since(at); d != 3210*time.Millisecond {
			t.Errorf("came back after %v, asked for 3.21 s", d)
		}
	})
}

// One subscription that the server fails at each time does not make the Client come back again and again at once, although
// the others get on.
func TestReconnectWaitsLongerWhenTheServerFailsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		var waits []time.Duration
		c := s.client(Options{BackoffMax: 20 * time.Second, OnState: func(st State) {
			if st.Phase == Waiting {
				waits = append(waits, st.Wait)
			}
		}})
		defer c.Close()
		for _, name := range []store.Stream{"good", "bad"} {
			if _, err := c.Subscribe(Spec{Filter: store.Only(name)}, func(*Update) {}); err != nil {
				t.Fatal(err)
			}
		}
		fail := func(after time.Duration) {
			l, hello := s.welcome()
			good, bad := hello.Subs[0].Sub, hello.Subs[1].Sub
			l.send(&wire.Subscribed{Sub: good, Filter: hello.Subs[0].Filter}, &wire.Live{Sub: good, Seq: 1, Mark: testLog})
			time.Sleep(after)
			l.send(&wire.Error{Sub: bad, Code: store.CodeInternal, Later: true})
			l.gone()
			synctest.Wait()
		}
		for range 30 {
			fail(0)
		}
		var sum time.Duration
		for _, w := range waits {
			sum += w
		}
		if sum < 30*time.Second { // full jitter: about 260 s are to be expected, or 8 s if each were a first try
			t.Errorf("came back 30 times within %v", sum)
		}
		fail(20 * time.Second) // long enough to count as a recovery
		if w := waits[30]; w > 501*time.Millisecond {
			t.Errorf("waited for %v after a connection that had lasted", w)
		}
	})
}

func TestSilentServerIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		go c.Connect(t.Context())
		l, _ := s.welcome()
		at := time.Now()
		expect[*wire.Ping](l)
		if d := time.Since(at); d < 25*time.Second || d > 50*time.Second {
			t.Errorf("the ping came after %v", d)
		}
		if _, _, err := l.frame(); err == nil {
			t.Error("something was sent after the ping")
		}
		l.nc.Close()
		if d := time.Since(at); d < 35*time.Second || d > 62*time.Second {
			t.Errorf("left after %v", d)
		}
		// A server that answers is kept.
		l, _ = s.welcome()
		for range 5 {
			expect[*wire.Ping](l)
			l.send(&wire.Pong{})
		}
	})
}

func TestServerPingsAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		go c.Connect(t.Context())
		l, _ := s.welcome()
		l.raw(opPing, []byte("tide"))
		if op, p, err := l.frame(); op != opPong || string(p) != "tide" || err != nil {
			t.Errorf("%d %q %v", op, p, err)
		}
	})
}

func TestLaterHoldsEverythingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{PushBytes: 256 + 300})
		defer c.Close()
		var got collect
		sendAll(t, c, &got, 0, 6)
		l, _ := s.welcome()
		p1, p2 := expect[*wire.Push](l), expect[*wire.Push](l)
		later := func(p *wire.Push, from int) {
			a := &wire.Ack{Ref: p.Ref}
			for i := range p.Mutations {
				r := wire.Result{ID: p.Mutations[i].ID, Seq: 1}
				if i >= from {
					r = wire.Result{ID: p.Mutations[i].ID, Err: &wire.Error{Code: store.CodeReadOnly, Later: true}}
				}
				a.Results = append(a.Results, r)
			}
			l.send(a)
		}
		later(p1, 1)
		synctest.Wait()
		sendAll(t, c, &got, 6, 1) // must wait behind what was refused
		later(p2, 0)
		var ids []store.ID
		for len(ids) < 6 {
			p := expect[*wire.Push](l)
			for i := range p.Mutations {
				ids = append(ids, p.Mutations[i].ID)
			}
			l.ack(p, store.Seq(100+len(ids)))
		}
		for i, id := range ids {
			if id != mutation(i+1).ID {
				t.Errorf("sent again out of order: %v at %d", id, i)
			}
		}
		if err := c.Flush(t.Context()); err != nil || len(got.results) != 7 {
			t.Fatal(err, len(got.results))
		}
	})
}

func TestAtomicPushGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		var got collect
		sendAll(t, c, &got, 0, 1)
		done := make(chan []Result)
		go func() {
			a, b := mutation(1), mutation(2)
			b.Stream = "room/2"
			rs, err := c.PushAtomic(t.Context(), a, b)
			if err != nil {
				t.Error(err)
			}
			done <- rs
		}()
		synctest.Wait()
		sendAll(t, c, &got, 3, 1)
		l, _ := s.welcome()
		for i, want := range []struct {
			atomic bool
			n      int
		}{{false, 1}, {true, 2}, {false, 1}} {
			p := expect[*wire.Push](l)
			if p.Atomic != want.atomic || len(p.Mutations) != want.n {
				t.Errorf("push %d: atomic %v, %d mutations", i, p.Atomic, len(p.Mutations))
			}
			if want.atomic && (p.Mutations[0].Stream != "room/1" || p.Mutations[1].Stream != "room/2") {
				t.Errorf("streams %q, %q", p.Mutations[0].Stream, p.Mutations[1].Stream)
			}
			l.ack(p, store.Seq(i*10+1))
		}
		if rs := <-done; rs[0].Seq != 11 || rs[1].Seq != 12 {
			t.Errorf("%+v", rs)
		}
	})
}

func TestFinalRefusalReachesTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		go func() {
			l, _ := s.welcome()
			p := expect[*wire.Push](l)
			l.send(&wire.Ack{Ref: p.Ref, Results: []wire.Result{{ID: p.Mutations[0].ID,
				Err: &wire.Error{Code: store.CodeConflict, Message: "no", Seq: 7, Data: []byte(`{"a":1}`)}}}})
		}()
		rs, err := c.Push(t.Context(), mutation(1))
		if err != nil {
			t.Fatal(err)
		}
		r, ok := errors.AsType[*store.Refusal](rs[0].Err)
		if !ok || r.Code != store.CodeConflict || r.Seq != 7 || string(r.Data) != `{"a":1}` {
			t.Errorf("%+v", rs[0].Err)
		}
	})
}

func TestPushRefusedAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		go func() {
			l, _ := s.welcome()
			p := expect[*wire.Push](l)
			l.send(&wire.Error{Ref: p.Ref, Code: store.CodeTooMany, Message: "too many"})
		}()
		rs, err := c.PushAtomic(t.Context(), mutation(1), mutation(2))
		if err != nil || len(rs) != 2 || rs[1].Err == nil {
			t.Fatal(rs, err)
		}
	})
}

func TestTooLargeForAFrameFailsHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		go func() {
			l, _ := s.welcome()
			for m, ok := l.try(); ok; m, ok = l.try() {
				if _, ok := m.(*wire.Ping); ok {
					l.send(&wire.Pong{})
				}
			}
		}()
		for range 2 { // before the welcome, and long after it
			rs, err := c.Push(t.Context(), oversized(1))
			if err != nil || !isTooLarge(rs[0]) {
				t.Fatal(rs, err)
			}
			synctest.Wait()
		}
	})
}

// oversized is a mutation that no frame can carry.
func oversized(n int) store.Mutation {
	m := mutation(n)
	m.Data = fmt.Appendf(nil, "%q", bytes.Repeat([]byte{'x'}, 2<<20))
	return m
}

func isTooLarge(r Result) bool {
	refusal, ok := errors.AsType[*store.Refusal](r.Err)
	return ok && refusal.Code == store.CodeTooLarge
}

// What was too large for a frame leaves the outbox as everything else does: those who wait for that are told.
func TestTooLargeForAFrameMakesRoom(t *testing.T) {
	for name, wait := range map[string]func(*Client, context.Context) error{
		"Flush": (*Client).Flush,
		"Send": func(c *Client, ctx context.Context) error {
			m := mutation(1)
			return c.Send(ctx, &m, nil)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t)
			c := s.client(Options{OutboxBytes: 1 << 20})
			defer c.Close()
			m := oversized(0)
			if err := c.Send(t.Context(), &m, nil); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			waited := make(chan error, 1)
			go func() { waited <- wait(c, ctx) }()
			synctest.Wait()
			s.welcome()
			if err := <-waited; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// What is too large for a frame is answered in its turn, by the goroutine that gives the other answers.
func TestTooLargeForAFrameIsAnsweredInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		var got collect
		sendAll(t, c, &got, 0, 1)
		sendOne(t, c, &got, oversized(1))
		sendAll(t, c, &got, 2, 1)
		l, _ := s.welcome()
		first := expect[*wire.Push](l)
		synctest.Wait()
		if len(got.results) != 0 {
			t.Errorf("%v was answered before what was sent before it", got.results[0].ID)
		}
		l.ack(first, 1)
		l.ack(expect[*wire.Push](l), 2)
		if err := c.Flush(t.Context()); err != nil || len(got.results) != 3 {
			t.Fatal(err, len(got.results))
		}
		for i, r := range got.results {
			if r.ID != mutation(i).ID || isTooLarge(r) != (i == 1) {
				t.Errorf("answer %d: %v, %v", i, r.ID, r.Err)
			}
		}
	})
}

func TestBadInputIsRefusedBeforeItIsQueued(t *testing.T) {
	c, err := New(Options{URL: "ws://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, m := range []store.Mutation{
		{Stream: "", Type: "x"},
		{Stream: "a//b", Type: "x"},
		{Stream: "a", Type: "x", Data: []byte(`{`)},
		{Stream: "a", Type: "x", Data: []byte(`1 2`)},
		{Stream: "a", Type: "x", Data: []byte(`]}`)},
		{Stream: "a", Type: "x", Data: []byte(`x`), Bytes: true},
	} {
		if err := c.Send(t.Context(), &m, nil); err == nil {
			t.Errorf("%+v was queued", m)
		}
	}
	for _, u := range []string{"", "ftp://x", "ws://", "ws://u:p@h/", "://"} {
		if _, err := New(Options{URL: u}); !errors.Is(err, errURL) {
			t.Errorf("%q: %v", u, err)
		}
	}
}

func TestOutboxBoundBlocksSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{OutboxBytes: 500})
		defer c.Close()
		var got collect
		done := make(chan struct{})
		go func() {
			defer close(done)
			sendAll(t, c, &got, 0, 50)
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("50 mutations fit into 500 bytes")
		default:
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		m := mutation(99)
		if err := c.Send(short, &m, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send on a full outbox: %v", err)
		}
		l, _ := s.welcome()
		for n := 0; n < 50; {
			p := expect[*wire.Push](l)
			n += len(p.Mutations)
			l.ack(p, 1)
			synctest.Wait()
		}
		<-done
	})
}

func TestEndings(t *testing.T) {
	for _, code := range []uint16{4400, 4403, 4005, 4426, 1009, 4401} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t)
			c := s.client(Options{})
			defer c.Close()
			go func() {
				l, _ := s.welcome()
				expect[*wire.Push](l)
				l.close(code, "no")
			}()
			_, err := c.Push(t.Context(), mutation(1))
			if e, ok := errors.AsType[*CloseError](err); !ok || e.Code != int(code) {
				t.Errorf("%d: %v", code, err)
			}
			m := mutation(2)
			if err := c.Send(t.Context(), &m, nil); err == nil {
				t.Errorf("%d: the Client goes on", code)
			}
		})
	}
}

// TestRefusedHandshakes tells apart what another try may change.
func TestRefusedHandshakes(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 421, 426} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t)
			c := s.client(Options{})
			defer c.Close()
			go s.refuse(status, "")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := c.Connect(ctx)
			if e, ok := errors.AsType[*HandshakeError](err); !ok || e.Status != status || e.Body != "why" {
				t.Errorf("%d: %v", status, err)
			}
		})
	}
	for lines, least := range map[string]time.Duration{
		"": 0, "Retry-After: 5\r\n": 5 * time.Second, "Retry-After: soon\r\n": 0, "Retry-After: -1\r\n": 0,
		"Retry-After: 999999999\r\n": 300 * time.Second,
	} {
		for _, status := range []int{429, 500, 502, 503} {
			synctest.Test(t, func(t *testing.T) {
				s := newScript(t)
				c := s.client(Options{})
				defer c.Close()
				go c.Connect(t.Context())
				s.refuse(status, lines)
				at := time.Now()
				s.welcome()
				if d := time.Since(at); d <= least || d > least+time.Second {
					t.Errorf("%d, %q: came back after %v", status, lines, d)
				}
			})
		}
	}
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		var why []TokenReason
		c := s.client(Options{Token: func(_ context.Context, w TokenReason) (string, error) {
			why = append(why, w)
			return fmt.Sprint("token", len(why)), nil
		}})
		defer c.Close()
		go c.Connect(t.Context())
		l, _ := s.accept()
		if got := l.head.Get("Authorization"); got != "Bearer token1" {
			t.Errorf("Authorization: %q", got)
		}
		l.close(4401, "unauthorized")
		l, _ = s.accept()
		at := time.Now()
		l.send(&wire.Welcome{Log: testLog, HeartbeatMS: 1e9, ExpiresAt: at.Add(time.Hour).UnixMilli()})
		auth := expect[*wire.Auth](l)
		if d := time.Since(at); auth.Token != "token3" || d < 40*time.Minute || d > 55*time.Minute {
			t.Errorf("%+v after %v", auth, d)
		}
		l.send(&wire.Authenticated{Ref: auth.Ref, ExpiresAt: time.Now().Add(time.Hour).UnixMilli()})
		expect[*wire.Auth](l)
		if fmt.Sprint(why) != fmt.Sprint([]TokenReason{TokenConnect, TokenRefused, TokenExpires, TokenExpires}) {
			t.Errorf("asked for %v", why)
		}
	})
}

func TestCloseGivesUpWhatIsUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		var got collect
		sendAll(t, c, &got, 0, 2)
		l, _ := s.welcome()
		expect[*wire.Push](l)
		go l.gone()
		c.Close()
		c.Close()
		if len(got.results) != 2 || !errors.Is(got.results[1].Err, ErrClosed) {
			t.Errorf("%+v", got.results)
		}
	})
}
