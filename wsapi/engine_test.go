package wsapi

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

// The tests of this file run the whole server: real log, real engine, real sockets.

func TestWholeConversation(t *testing.T) {
	r := newRig(t, rigOptions{})
	c := r.dial("Sec-WebSocket-Protocol: tidemark.v1", "Authorization: Bearer alice")
	c.hello()
	c.text(`{"type":"subscribe","sub":1,"stream":"a/**","ref":"x"}`)
	if m := c.expect("subscribed"); m["ref"] != "x" {
		t.Error(m)
	}
	c.expect("snapshot")
	c.expect("live")
	id := store.NewID()
	c.write(pushText("a/b", []store.ID{id, id}))
	both := string(join(c.next().payload, c.next().payload)) // in either order
	for _, part := range []string{`"type":"ack"`, `"dup":true`, `"type":"events"`, `"by":"alice"`} {
		if !strings.Contains(both, part) {
			t.Errorf("%s is missing in %s", part, both)
		}
	}
	c.text(`{"type":"signal","stream":"a","data":1}`)
	c.text(`{"type":"presence","stream":"a/b","data":1}`)
	if m := c.expect("error"); m["code"] != "sub_unknown" {
		t.Error(m)
	}
	c.text(`{"type":"auth","token":"bad"}`)
	if m := c.expect("error"); m["code"] != "unauthorized" {
		t.Error(m)
	}
	c.text(`{"type":"auth","token":"alice"}`)
	c.expect("authenticated")
	c.text(`{"type":"ping","ref":5}`)
	if m := c.expect("pong"); m["seq"] != 1.0 || m["mark"] != id.String() {
		t.Error(m)
	}
	c.text(`{"type":"unsubscribe","sub":1}`)
	c.expect("unsubscribed")
	c.write(clientFrame(bitFin|opClose, []byte{3, 232}))
	c.expectClose(1000)
}

// TestCloseCodes drives the engine into each of its endings.
func TestCloseCodes(t *testing.T) {
	expiring := func(_ context.Context, token string) (eventsync.Principal, error) {
		p, err := everybody(t.Context(), token)
		if token == "short" {
			p.Expires = time.Now().Add(300 * time.Millisecond)
		}
		return p, err
	}
	r := newRig(t, rigOptions{engine: eventsync.Options{Authenticate: expiring, MinApp: map[string]string{"board": "2"}}})
	client := store.NewID()
	for _, test := range []struct {
		name string
		send []string
		want uint16
	}{
		{"no hello first", []string{`{"type":"ping"}`}, 4400},
		{"malformed hello", []string{`{"type":"hello","n":-1}`}, 4400},
		{"no JSON", []string{`hello`}, 4400},
		{"a second hello", []string{`{"type":"hello"}`, `{"type":"hello"}`}, 4400},
		{"bad token", []string{`{"type":"hello","token":"bad"}`}, 4401},
		{"a token that expires", []string{`{"type":"hello","token":"short"}`}, 4401},
		{"an old app", []string{`{"type":"hello","app":"board/1.9"}`}, 4426},
		{"an older connection", []string{fmt.Sprintf(`{"type":"hello","client":"%s","n":1}`, client)}, 4005},
	} {
		c := r.dial()
		for _, s := range test.send {
			c.text("%s", s)
		}
		if test.want == 4005 {
			newer := r.dial()
			newer.text(`{"type":"hello","client":"%s","n":2}`, client)
			newer.expect("welcome")
		}
		if got := c.untilClose(); got != test.want {
			t.Errorf("%s: closed with %d, want %d", test.name, got, test.want)
		}
	}
	c := r.dial().hello()
	for range 100 {
		c.text(`{"type":"nonsense"}`)
	}
	c.expectClose(4400)
	c = r.dial().hello()
	go r.stopEarly()
	c.expect("goodbye")
	c.expectClose(1001)
}

func (r *rig) stopEarly() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = r.engine.Drain(ctx)
}

// TestPipelinedPush takes a large push right behind the hello, without waiting for the welcome.
func TestPipelinedPush(t *testing.T) {
	r := newRig(t, rigOptions{})
	c := r.dial()
	m := wire.Push{Stream: "a", HasStream: true, Push: store.Push{Mutations: []store.Mutation{
		{ID: store.NewID(), Stream: "a", Type: "t", Data: join([]byte(`"`), repeated("x", 200_000), []byte(`"`))}}}}
	c.write(join(text(`{"type":"hello"}`), clientFrame(bitFin|opText, m.Append(nil))))
	c.expect("welcome")
	c.expect("ack")
}

// TestCutsAnywhere lets writers and readers lose their connections at random places of the byte stream, resend and resume.
// In the end the log holds every mutation once, and every reader saw all of them in an unbroken chain.
func TestCutsAnywhere(t *testing.T) {
	writers, mutations := 4, 2000
	if testing.Short() {
		mutations = 150
	}
	r := newRig(t, rigOptions{})
	var writing, reading sync.WaitGroup
	last := make(chan struct{})
	var head store.Seq
	for i := range writers {
		writing.Go(func() { cutWriter(r, fmt.Sprintf("room/%d", i%2), mutations) })
	}
	for _, filter := range []string{"room/0", "room/1", "room/**", "**"} {
		reading.Go(func() { cutReader(r, filter, last, &head) })
	}
	writing.Wait()
	head = r.log.Head()
	close(last)
	reading.Wait()
	if want := store.Seq(writers * mutations); head != want {
		t.Errorf("the log has %d events, want %d", head, want)
	}
	waitFor(t, "the connections to end", func() bool { return r.ws.Stats().Conns == 0 })
	if n := r.ws.Stats().Panics; n != 0 {
		t.Errorf("%d panics", n)
	}
}

// cutWriter writes mutations, and begins anew with what was not acknowledged whenever its connection is cut.
func cutWriter(r *rig, stream string, n int) {
	var queue []store.ID
	for range n {
		queue = append(queue, store.NewID())
	}
	for len(queue) > 0 {
		c := r.dialCut(20_000)
		if c == nil {
			continue
		}
		acked := 0
		go func(queue []store.ID) {
			for len(queue) > 0 {
				k := min(1+rand.IntN(20), len(queue))
				if !c.try(pushText(stream, queue[:k])) {
					return
				}
				queue = queue[k:]
			}
		}(queue)
		for acked < len(queue) {
			f, err := c.frame()
			if err != nil {
				break
			}
			if f.first != bitFin|opText {
				continue
			}
			m, err := wire.DecodeServer(f.payload)
			if err != nil {
				r.t.Error(err)
				break
			}
			if ack, ok := m.(*wire.Ack); ok {
				for _, res := range ack.Results {
					if res.Err != nil || res.ID != queue[acked] {
						r.t.Errorf("%v for %v, want %v", res.Err, res.ID, queue[acked])
					}
					acked++
				}
			}
		}
		c.Close()
		queue = queue[acked:]
	}
}

func pushText(stream string, ids []store.ID) []byte {
	m := wire.Push{Stream: store.Stream(stream), HasStream: true}
	for _, id := range ids {
		m.Mutations = append(m.Mutations, store.Mutation{ID: id, Stream: m.Stream, Type: "t", Data: []byte(`{"a":1}`)})
	}
	return clientFrame(bitFin|opText, m.Append(nil))
}

// try writes unless the connection is gone.
func (c *rawConn) try(p []byte) bool {
	_, err := c.Write(p)
	return err == nil
}

// dialCut returns a connection, after its hello, that is cut somewhere within n bytes of what comes; nil: it was cut already.
func (r *rig) dialCut(n int64) *rawConn {
	c := r.connect()
	if !c.try([]byte(handshakeText + "\r\n")) {
		return nil
	}
	res, err := http.ReadResponse(c.br, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		r.t.Errorf("handshake: %v", err)
		return nil
	}
	left := rand.Int64N(n)
	c.br.Reset(readerFunc(func(p []byte) (int, error) {
		k, err := c.Conn.Read(p[:min(int64(len(p)), max(left, 1))])
		if left -= int64(k); left <= 0 {
			c.Conn.Close()
		}
		return k, err
	}))
	c.try(text(`{"type":"hello"}`))
	return c
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// cutReader follows a filter, over connections that are cut, until it has everything up to head, which holds when last is
// closed.
func cutReader(r *rig, filter string, last chan struct{}, head *store.Seq) {
	v := view{t: r.t, prev: map[store.Stream]store.Seq{}, stream: store.Stream(filter)}
	for !v.complete(last, head) {
		c := r.dialCut(60_000)
		if c == nil {
			continue
		}
		c.try(text(fmt.Sprintf(`{"type":"subscribe","sub":1,"stream":"%s","since":%d}`, filter, v.cursor)))
		over := make(chan struct{})
		go func() {
			select {
			case <-last: // the pong moves the cursor beyond the events of other streams
				c.try(text(`{"type":"ping"}`))
			case <-over:
			}
		}()
		for !v.complete(last, head) {
			f, err := c.frame()
			if err != nil {
				break
			}
			if f.first == bitFin|opText {
				v.take(f.payload)
			}
		}
		close(over)
		c.Close()
	}
}

func (v *view) complete(last chan struct{}, head *store.Seq) bool {
	select {
	case <-last:
		return v.cursor >= *head
	default:
		return false
	}
}

// view is what a reader has applied.
type view struct {
	t      testing.TB
	stream store.Stream
	cursor store.Seq
	prev   map[store.Stream]store.Seq
}

func (v *view) take(payload []byte) {
	m, err := wire.DecodeServer(payload)
	if err != nil {
		v.t.Error(err)
		return
	}
	switch m := m.(type) {
	case *wire.Events:
		for i := range m.Events {
			v.apply(&m.Events[i])
		}
	case *wire.Live:
		v.cursor = max(v.cursor, m.Seq)
	case *wire.Pong:
		v.cursor = max(v.cursor, m.Seq)
	case *wire.Reset, *wire.Error:
		v.t.Errorf("%s", payload)
	}
}

func (v *view) apply(e *store.Event) {
	st := e.Stream
	if st == "" {
		st = v.stream
	}
	if e.Prev != v.prev[st] || e.Seq <= v.cursor {
		v.t.Errorf("event %d of %s follows %d, its prev is %d; the cursor is %d", e.Seq, st, v.prev[st], e.Prev, v.cursor)
	}
	v.prev[st], v.cursor = e.Seq, e.Seq
}
