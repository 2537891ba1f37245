package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"tidemark/client"
	"tidemark/store"
)

// The traps that brought comparable systems down, each against the real server over real sockets. Where the clock jumps is
// tested in store.

// read collects what a subscription brings until it is live.
func read(t *testing.T, c *client.Client, spec client.Spec) (events []store.Event, reset store.Reset, at store.Cursor) {
	t.Helper()
	for u, err := range c.Updates(t.Context(), spec) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, u.Events...)
		if u.Kind == client.KindReset {
			reset, events = u.Reason, nil
		}
		if u.Kind == client.KindLive {
			return events, reset, u.Cursor
		}
	}
	return events, reset, at
}

func contiguous(t *testing.T, events []store.Event, from, to store.Seq) {
	t.Helper()
	if len(events) != int(to-from)+1 {
		t.Fatalf("%d events, want %d to %d", len(events), from, to)
	}
	for i := range events {
		if events[i].Seq != from+store.Seq(i) {
			t.Fatalf("event %d where %d should be", events[i].Seq, from+store.Seq(i))
		}
	}
}

func TestBacklogAboveTenThousand(t *testing.T) {
	srv := newServer(t)
	srv.start()
	c := srv.client(client.Options{})
	fill(t, c, "room/1", 25000)
	got, _, _ := read(t, c, client.Spec{Filter: store.Only("room/1"), Since: &store.Cursor{Seq: 17}, From: client.FromStart})
	contiguous(t, got, 18, 25000)
	got, _, _ = read(t, c, client.Spec{Filter: store.All, From: client.FromStart})
	contiguous(t, got, 1, 25000)
}

func TestRestartThenResumeBeforeAnythingNew(t *testing.T) {
	for _, clean := range []bool{true, false} {
		srv := newServer(t)
		srv.start()
		c := srv.client(client.Options{})
		fill(t, c, "room/1", 100)
		_, _, at := read(t, c, client.Spec{Filter: store.Only("room/1"), From: client.FromStart})
		if at.Seq != 100 || at.Mark.IsZero() || at.Log.IsZero() {
			t.Fatalf("cursor %+v", at)
		}
		if clean {
			srv.stop()
		} else {
			srv.kill()
		}
		srv.start()
		half := store.Cursor{Seq: 50, Log: at.Log}
		got, reset, _ := read(t, c, client.Spec{Filter: store.Only("room/1"), Since: &half})
		contiguous(t, got, 51, 100)
		if got2, reset2, _ := read(t, c, client.Spec{Filter: store.Only("room/1"), Since: &at}); len(got2) != 0 || reset2 != "" || reset != "" {
			t.Errorf("clean %v: %d events, reset %q %q", clean, len(got2), reset, reset2)
		}
	}
}

func TestCursorAhead(t *testing.T) {
	srv := newServer(t)
	srv.start()
	c := srv.client(client.Options{})
	fill(t, c, "room/1", 10)
	got, reset, at := read(t, c, client.Spec{Filter: store.Only("room/1"), Since: &store.Cursor{Seq: 11}, From: client.FromStart})
	contiguous(t, got, 1, 10)
	if reset != store.ResetAhead || at.Seq != 10 {
		t.Errorf("reset %q, cursor %d", reset, at.Seq)
	}
}

func TestSubscribeInTheMiddleOfAStorm(t *testing.T) {
	srv := newServer(t)
	srv.start()
	writer := srv.client(client.Options{})
	const total = 20000
	begun := make(chan struct{})
	go func() {
		for i := range total {
			m := store.Mutation{Stream: "room/1", Type: "n", Data: fmt.Append(nil, i)}
			if err := writer.Send(t.Context(), &m, nil); err != nil {
				t.Error(err)
			}
			if i == 100 {
				close(begun)
			}
		}
	}()
	<-begun
	done := make(chan error, 8)
	for range cap(done) {
		go func() {
			c := srv.client(client.Options{})
			next := store.Seq(1)
			for u, err := range c.Updates(t.Context(), client.Spec{Filter: store.Only("room/1"), From: client.FromStart}) {
				if err != nil {
					done <- err
					return
				}
				for i := range u.Events {
					if u.Events[i].Seq != next {
						done <- fmt.Errorf("%d where %d should be", u.Events[i].Seq, next)
						return
					}
					next++
				}
				if next > total {
					done <- nil
					return
				}
			}
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestLostAckThenStaleExpect(t *testing.T) {
	srv := newServer(t)
	srv.start()
	c := srv.client(client.Options{})
	push := func(m store.Mutation) client.Result {
		t.Helper()
		rs, err := c.Push(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		return rs[0]
	}
	first := store.Mutation{ID: store.NewID(), Stream: "board", Key: "k", Op: store.OpPut, Data: []byte(`{"a":1}`),
		Expect: store.Expect{Kind: store.ExpectSeq}}
	if r := push(first); r.Seq != 1 || r.Err != nil {
		t.Fatalf("%+v", r)
	}
	if r := push(store.Mutation{Stream: "board", Key: "k", Op: store.OpPut, Data: []byte(`{"a":2}`)}); r.Seq != 2 {
		t.Fatalf("%+v", r)
	}
	// The answer to the first got lost; its expect does not hold any more. It is a duplicate all the same.
	for range 2 {
		if r := push(first); r.Err != nil || !r.Dup || r.Seq != 1 {
			t.Errorf("sent again: %+v", r)
		}
		srv.kill()
		srv.start()
	}
	// The same id with other content is refused, and changes nothing.
	reused := first
	reused.Data = []byte(`{"a":3}`)
	if r, ok := errors.AsType[*store.Refusal](push(reused).Err); !ok || r.Code != store.CodeIDReused {
		t.Errorf("reused: %v", r)
	}
	stale := store.Mutation{Stream: "board", Key: "k", Op: store.OpPut, Data: []byte(`{"a":4}`), Expect: store.Expect{Kind: store.ExpectSeq, Seq: 1}}
	if r, ok := errors.AsType[*store.Refusal](push(stale).Err); !ok || r.Code != store.CodeConflict || r.Seq != 2 || string(r.Data) != `{"a":2}` {
		t.Errorf("stale: %+v", r)
	}
	if log := srv.readLog(); len(log) != 2 {
		t.Errorf("the log has %d events", len(log))
	}
}

func TestOlderFilePutBack(t *testing.T) {
	srv := newServer(t)
	srv.start()
	c := srv.client(client.Options{})
	fill(t, c, "room/1", 5)
	srv.stop()
	older, err := os.ReadFile(srv.opts.Data)
	if err != nil {
		t.Fatal(err)
	}
	srv.start()
	fill(t, c, "room/1", 5)
	_, _, at := read(t, c, client.Spec{Filter: store.Only("room/1"), From: client.FromStart})
	srv.stop()
	if err := os.WriteFile(srv.opts.Data, older, 0o600); err != nil {
		t.Fatal(err)
	}
	srv.start()
	fill(t, c, "room/1", 7) // another history, beyond the cursor
	got, reset, now := read(t, c, client.Spec{Filter: store.Only("room/1"), Since: &at, From: client.FromStart})
	if now.Log != at.Log || reset != store.ResetLogChanged {
		t.Fatalf("reset %q, log %v then %v", reset, at.Log, now.Log)
	}
	contiguous(t, got, 1, 12)
}

func TestFrameAtTheLimitAndAbove(t *testing.T) {
	srv := newServer(t, "--limit-data", "900KiB")
	srv.start()
	good := srv.client(client.Options{})
	if err := good.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	const limit = 1 << 20
	for _, size := range []int{limit, limit + 1} {
		l := dialRaw(t, srv.opts.Listen)
		l.send([]byte(`{"type":"hello"}`))
		l.expect(`"type":"welcome"`)
		frame := []byte(`{"type":"push","ref":1,"stream":"room/1","mutations":[{"id":"` + store.NewID().String() + `","type":"n","data":1}]}`)
		frame = append(frame, bytes.Repeat([]byte(" "), size-len(frame))...)
		l.send(frame)
		if size == limit {
			l.expect(`"type":"ack","ref":1`)
		} else if code := l.closeCode(); code != 1009 {
			t.Errorf("%d bytes: closed with %d", size, code)
		}
	}
	if log := srv.readLog(); len(log) != 1 {
		t.Errorf("the log has %d events", len(log))
	}
	begin := time.Now()
	fill(t, good, "room/2", 10)
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("others wait %v", d)
	}
}
