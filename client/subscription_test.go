package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
)

func ev(seq, prev store.Seq) store.Event {
	return store.Event{Seq: seq, Prev: prev, ID: store.ID{0: 5, 15: byte(seq)}, Type: "said", Data: fmt.Appendf(nil, "%d", seq), At: 1}
}

func wideEv(s store.Stream, seq, prev store.Seq) store.Event {
	e := ev(seq, prev)
	e.Stream = s
	return e
}

// log is what a handler saw, in words.
type log struct{ lines []string }

func (g *log) handle(u *Update) {
	var line strings.Builder
	line.WriteString(fmt.Sprint(u.Kind))
	for _, e := range u.Events {
		line.WriteString(fmt.Sprintf(" %s#%d=%s", e.Stream, e.Seq, e.Data))
	}
	for _, d := range u.Docs {
		line.WriteString(fmt.Sprintf(" %s/%s@%d", d.Stream, d.Key, d.Seq))
	}
	if u.First || u.Last {
		line.WriteString(fmt.Sprintf(" first=%v last=%v", u.First, u.Last))
	}
	if u.Reason != "" {
		line.WriteString(" " + string(u.Reason))
	}
	if u.Placed {
		line.WriteString(fmt.Sprintf(" →%d", u.Cursor.Seq))
	}
	g.lines = append(g.lines, line.String())
}

func (g *log) check(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(g.lines, want) {
		t.Errorf("got:\n%q\nwant:\n%q", g.lines, want)
	}
	g.lines = nil
}

func TestSubscriptionResumesFromItsCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		var g log
		if _, err := c.Subscribe(Spec{Filter: store.Only("a"), From: FromStart}, g.handle); err != nil {
			t.Fatal(err)
		}
		l, hello := s.welcome()
		if len(hello.Subs) != 1 || hello.Subs[0].Resume || hello.Subs[0].From != wire.FromStart {
			t.Fatalf("%+v", hello.Subs)
		}
		n := hello.Subs[0].Sub
		l.send(&wire.Subscribed{Sub: n, Filter: store.Only("a"), Head: 9},
			&wire.Events{Sub: n, Events: []store.Event{ev(3, 0), ev(7, 3)}},
			&wire.Live{Sub: n, Seq: 9, Mark: testLog},
			&wire.Events{Sub: n, Events: []store.Event{ev(12, 7)}})
		synctest.Wait()
		g.check(t, "3", "0 a#3=3 a#7=7 →7", "4 →9", "0 a#12=12 →12")
		l.nc.Close()
		_, hello = s.welcome()
		got := hello.Subs[0]
		want := store.Cursor{Seq: 12, Mark: ev(12, 0).ID, Log: testLog}
		if !got.Resume || got.Cursor != want || got.Sub == 0 {
			t.Errorf("resumed with %+v, want %+v", got, want)
		}
	})
}

func TestGapIsRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		var g log
		sub, _ := c.Subscribe(Spec{Filter: store.All, From: FromStart}, g.handle)
		l, hello := s.welcome()
		n := hello.Subs[0].Sub
		l.send(&wire.Subscribed{Sub: n, Filter: store.All})
		l.send(&wire.Events{Sub: n, Wide: true, Events: []store.Event{wideEv("a", 1, 0), wideEv("b", 2, 0), wideEv("b", 4, 2)}})
		go l.offer(&wire.Events{Sub: n, Wide: true, Events: []store.Event{wideEv("a", 5, 3), wideEv("b", 6, 4)}}) // a's 3 is missing
		if u := expect[*wire.Unsubscribe](l); u.Sub != n {
			t.Errorf("unsubscribed %d", u.Sub)
		}
		again := expect[*wire.Subscribe](l)
		if again.Cursor.Seq != 1 || again.Sub == n {
			t.Errorf("subscribed again with %+v, want since 1", again)
		}
		n = again.Sub
		l.send(&wire.Subscribed{Sub: n, Filter: store.All, Since: 1},
			&wire.Events{Sub: n, Wide: true, Events: []store.Event{wideEv("b", 2, 0), wideEv("a", 3, 1), wideEv("b", 4, 2), wideEv("a", 5, 3), wideEv("b", 6, 4)}})
		synctest.Wait()
		g.check(t, "3", "0 a#1=1 b#2=2 b#4=4 →4", "3 →1", "0 a#3=3 a#5=5 b#6=6 →6")
		if st := sub.Stats(); st.Gaps != 1 || st.Duplicates != 2 {
			t.Errorf("%+v", st)
		}
		// The same gap again and again: the connection is given up.
		go l.offer(&wire.Events{Sub: n, Wide: true, Events: []store.Event{wideEv("b", 9, 8)}})
		expect[*wire.Unsubscribe](l)
		n = expect[*wire.Subscribe](l).Sub
		go l.offer(&wire.Events{Sub: n, Wide: true, Events: []store.Event{wideEv("b", 9, 8)}})
		l.gone()
		s.welcome()
	})
}

func TestSnapshotPlacesTheCursorWhenItIsConsistent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		var g log
		c.Subscribe(Spec{Filter: store.Only("a")}, g.handle)
		l, hello := s.welcome()
		n := hello.Subs[0].Sub
		doc := func(key string, seq store.Seq) []store.Doc {
			return []store.Doc{{Key: key, Seq: seq, Data: []byte("1")}}
		}
		l.send(&wire.Subscribed{Sub: n, Filter: store.Only("a"), Head: 10},
			&wire.Snapshot{Sub: n, Seq: 10, Docs: doc("x", 4)})
		l.nc.Close()
		l, hello = s.welcome()
		if hello.Subs[0].Resume {
			t.Error("resumed in the middle of a snapshot")
		}
		n = hello.Subs[0].Sub
		l.send(&wire.Subscribed{Sub: n, Filter: store.Only("a"), Head: 10},
			&wire.Snapshot{Sub: n, Seq: 10, Docs: doc("x", 4)},
			&wire.Snapshot{Sub: n, Seq: 10, Docs: doc("y", 12), Done: true, Upto: 12},
			&wire.Events{Sub: n, Events: []store.Event{ev(11, 10)}},
			&wire.Events{Sub: n, Events: []store.Event{ev(12, 11)}})
		synctest.Wait()
		g.check(t, "3", "1 a/x@4 first=true last=false",
			"3", "1 a/x@4 first=true last=false", "1 a/y@12 first=false last=true", "0 a#11=11", "0 a#12=12 →12")
	})
}

func TestResetDropsTheCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		var g log
		other := store.ID{0: 7}
		c.Subscribe(Spec{Filter: store.Only("a"), Since: &store.Cursor{Seq: 50, Log: other}, From: FromStart}, g.handle)
		l, hello := s.welcome()
		n := hello.Subs[0].Sub
		if hello.Subs[0].Cursor.Log != other {
			t.Errorf("%+v", hello.Subs[0])
		}
		l.send(&wire.Subscribed{Sub: n, Filter: store.Only("a"), Since: 50, Head: 10},
			&wire.Reset{Sub: n, Reason: store.ResetLogChanged, Log: testLog, Floor: 2, Head: 10},
			&wire.Events{Sub: n, Events: []store.Event{ev(3, 2), ev(10, 3)}},
			&wire.Live{Sub: n, Seq: 10})
		synctest.Wait()
		g.check(t, "3 →50", "2 log_changed →2", "0 a#3=3 a#10=10 →10", "4 →10")
		go l.offer(&wire.Pong{Seq: 30, Mark: testLog})
		synctest.Wait()
		g.check(t, "5 →30")
	})
}

func TestRefusedSubscriptionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		sub, _ := c.Subscribe(Spec{Filter: store.Only("a")}, func(*Update) {})
		l, hello := s.welcome()
		l.send(&wire.Error{Sub: hello.Subs[0].Sub, Code: store.CodeForbidden, Message: "no"})
		<-sub.Done()
		if r, ok := errors.AsType[*store.Refusal](sub.Err()); !ok || r.Code != store.CodeForbidden {
			t.Error(sub.Err())
		}
	})
}

func TestIteratorMayPushWhileItReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{BufferBytes: 2000})
		defer c.Close()
		go func() {
			l, hello := s.welcome()
			n := hello.Subs[0].Sub
			l.send(&wire.Subscribed{Sub: n, Filter: store.Only("a")})
			go serveRange(l, n, 1, 100)
			seen := store.Seq(0)
			for m, ok := l.try(); ok; m, ok = l.try() {
				switch m := m.(type) {
				case *wire.Push:
					a := &wire.Ack{Ref: m.Ref}
					for i := range m.Mutations {
						a.Results = append(a.Results, wire.Result{ID: m.Mutations[i].ID, Seq: 1000})
					}
					go l.offer(a)
				case *wire.Subscribe:
					if m.Cursor.Seq < seen {
						t.Errorf("went back to %d from %d", m.Cursor.Seq, seen)
					}
					seen = m.Cursor.Seq
					go serveRange(l, m.Sub, m.Cursor.Seq+1, 100)
				}
			}
		}()
		next := store.Seq(1)
		for u, err := range c.Updates(t.Context(), Spec{Filter: store.Only("a"), From: FromStart}) {
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range u.Events {
				if e.Seq != next {
					t.Fatalf("seq %d, want %d", e.Seq, next)
				}
				next++
				if _, err := c.Push(t.Context(), mutation(int(e.Seq))); err != nil {
					t.Fatal(err)
				}
			}
			if next > 100 {
				break
			}
		}
	})
}

func serveRange(l *line, sub uint64, from, to store.Seq) {
	for seq := from; seq <= to; seq++ {
		m := wire.Events{Sub: sub, Events: []store.Event{ev(seq, seq-1)}}
		if l.raw(opText, m.Append(nil)) != nil {
			return
		}
	}
}

// iterate reads stream a, and takes nothing more until stop.
func iterate(ctx context.Context, c *Client, stop chan struct{}) {
	for range c.Updates(ctx, Spec{Filter: store.Only("a"), From: FromStart}) {
		<-stop
	}
}

func TestIteratorThatStopsHoldsBackOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{BufferBytes: 1000})
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		stop := make(chan struct{})
		go iterate(ctx, c, stop)
		synctest.Wait()
		var g log
		c.Subscribe(Spec{Filter: store.Only("b"), From: FromNow}, g.handle)
		l, hello := s.welcome()
		slow, quick := hello.Subs[0].Sub, hello.Subs[1].Sub
		if hello.Subs[0].Filter != store.Only("a") {
			slow, quick = quick, slow
		}
		l.send(&wire.Subscribed{Sub: slow, Filter: store.Only("a")}, &wire.Subscribed{Sub: quick, Filter: store.Only("b")})
		go func() {
			serveRange(l, slow, 1, 50)
			l.offer(&wire.Events{Sub: quick, Events: []store.Event{ev(51, 0)}})
		}()
		if u := expect[*wire.Unsubscribe](l); u.Sub != slow {
			t.Errorf("unsubscribed %d", u.Sub)
		}
		synctest.Wait()
		g.check(t, "3", "0 b#51=51 →51")
		close(stop)
		if m := expect[*wire.Subscribe](l); m.Cursor.Seq == 0 || m.Cursor.Seq > 20 {
			t.Errorf("goes on from %+v", m.Cursor)
		}
	})
}

// A subscription that is made anew, after a pause or for a gap, takes the presence on its stream along: the server ends it
// with the old one.
func TestPresenceOutlivesARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{BufferBytes: 1000})
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stop := make(chan struct{})
		go iterate(ctx, c, stop)
		synctest.Wait()
		var g log
		c.Subscribe(Spec{Filter: store.Only("b"), From: FromStart}, g.handle)
		c.SetPresence("a", []byte(`"slow"`))
		c.SetPresence("b", []byte(`"quick"`))
		l, hello := s.welcome()
		subs := map[store.Filter]uint64{}
		for _, sub := range hello.Subs {
			subs[sub.Filter] = sub.Sub
		}
		expect[*wire.SetPresence](l)
		expect[*wire.SetPresence](l)
		renewed := func(want store.Stream, data string) {
			t.Helper()
			if stream, _ := expect[*wire.Subscribe](l).Filter.Stream(); stream != want {
				t.Errorf("subscribed again to %s, not to %s", stream, want)
			}
			if p := expect[*wire.SetPresence](l); p.Stream != want || string(p.Data) != data {
				t.Errorf("presence %s on %s", p.Data, p.Stream)
			}
		}
		go serveRange(l, subs[store.Only("a")], 1, 50)
		expect[*wire.Unsubscribe](l)
		close(stop)
		renewed("a", `"slow"`)
		go l.offer(&wire.Events{Sub: subs[store.Only("b")], Events: []store.Event{ev(1, 0), ev(9, 8)}})
		expect[*wire.Unsubscribe](l)
		renewed("b", `"quick"`)
	})
}

func TestPresenceSetBeforeTheWelcomeIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		c.Subscribe(Spec{Filter: store.Only("a")}, func(*Update) {})
		l, _ := s.accept()
		c.SetPresence("a", []byte(`"early"`))
		go l.offer(&wire.Welcome{Log: testLog, Session: store.NewID(), HeartbeatMS: 25000, Limits: wire.Limits{}.WithDefaults()})
		if p := expect[*wire.SetPresence](l); string(p.Data) != `"early"` {
			t.Errorf("presence %s", p.Data)
		}
	})
}

func TestPresenceSetBeforeTheSubscriptionIsSentWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client(Options{})
		defer c.Close()
		c.Subscribe(Spec{Filter: store.Only("other")}, func(*Update) {})
		l, _ := s.welcome()
		synctest.Wait()
		c.SetPresence("a", []byte(`"here"`))
		expect[*wire.SetPresence](l) // the server refuses it
		c.Subscribe(Spec{Filter: store.All}, func(*Update) {})
		expect[*wire.Subscribe](l)
		c.Subscribe(Spec{Filter: store.Only("a")}, func(*Update) {})
		expect[*wire.Subscribe](l)
		if p := expect[*wire.SetPresence](l); p.Stream != "a" || string(p.Data) != `"here"` {
			t.Errorf("presence %s on %s", p.Data, p.Stream)
		}
	})
}
