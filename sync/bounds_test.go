package sync

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/store"
)

// TestBudgetGivesInTurn: frames coming in wait for room, in order, and leave no trace when they give up.
func TestBudgetGivesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(100)
		if err := b.Acquire(t.Context(), 250); err != nil { // alone, even what is too large gets through
			t.Fatal(err)
		}
		var got []int
		for i := range 3 {
			go func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if b.Acquire(t.Context(), 60) == nil {
					got = append(got, i)
				}
			}()
		}
		time.Sleep(time.Second)
		for range 3 {
			before := len(got)
			b.Release(int(b.Used()))
			synctest.Wait()
			if len(got) != before+1 || got[before] != before {
				t.Fatalf("got %v", got)
			}
			if before == 2 {
				break
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := b.Acquire(ctx, 10); err == nil { // there is room, but others were first
				t.Fatal("a small frame overtook those that wait")
			}
			cancel()
		}
		b.Release(60)
		if b.Used() != 0 {
			t.Fatalf("%d bytes are left", b.Used())
		}
	})
}

// TestWhoGivesUpLetsOthersIn: a large frame that gives up waiting was first in the queue, and small ones behind it fit.
func TestWhoGivesUpLetsOthersIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(1000)
		if err := b.Acquire(t.Context(), 300); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			if b.Acquire(ctx, 400) == nil {
				t.Error("there was room for the large one")
			}
		}()
		synctest.Wait()
		small := make(chan struct{})
		go func() {
			defer close(small)
			if b.Acquire(t.Context(), 100) != nil {
				t.Error("the small one was refused")
			}
		}()
		<-small // nothing is released meanwhile
		b.Release(300)
		b.Release(100)
		if b.Used() != 0 {
			t.Errorf("%d bytes are left", b.Used())
		}
	})
}

// TestFramesLeaveRoomForPages: however much is declared to come in, pages go out.
func TestFramesLeaveRoomForPages(t *testing.T) {
	b := newBudget(1000)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	taken := 0
	for ; ; taken += 50 {
		if taken == 500 {
			cancel()
		}
		if b.Acquire(ctx, 50) != nil {
			break
		}
	}
	if taken != 500 || b.page(nil, 100) == 0 {
		t.Errorf("frames took %d of 1000, and pages get nothing", taken)
	}
	b.Release(500)
	if b.Used() != 0 || b.inbound != 0 {
		t.Errorf("%d bytes are left, %d of frames", b.Used(), b.inbound)
	}
}

// TestCacheStaysWithinItsLimit whatever comes and goes.
func TestCacheStaysWithinItsLimit(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	c := cache{limit: 1000}
	topics := []*pages{{}, {}, {}}
	for i := range 5000 {
		p := topics[rnd.IntN(len(topics))]
		r := &run{pages: p, after: store.Seq(i), through: store.Seq(i + 1), size: int64(rnd.IntN(300))}
		p.insert(r)
		c.add(r)
		if c.used > c.limit && c.used != r.size {
			t.Fatalf("%d bytes", c.used)
		}
		if rnd.IntN(50) == 0 {
			c.drop(p)
			*p = pages{}
		}
		if len(c.runs) > 200 {
			t.Fatalf("%d entries for %d bytes", len(c.runs), c.used)
		}
	}
	for _, p := range topics {
		c.drop(p)
	}
	if c.used != 0 {
		t.Fatalf("%d bytes are left", c.used)
	}
}

// TestPagesHaveEveryEventOnce: whatever is read, cached and evicted, a reader who goes from page to page gets every event
// once, and atomic pushes whole.
func TestPagesHaveEveryEventOnce(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		w := &world{}
		for range 1 + rnd.IntN(40) {
			push := 1 + rnd.IntN(4)
			for i := range push {
				n := store.Seq(len(w.events))
				ev := store.Event{Seq: n + 1, Prev: n, Stream: scopeStream}
				if i < push-1 {
					ev.Flags = store.FlagMore
				}
				w.events = append(w.events, ev)
			}
		}
		w.reader = reader{log: pagedLog{w, rnd}, enc: plainEncoder{}, cache: &cache{limit: int64(rnd.IntN(2000))}, budget: newBudget(1 << 20),
			stats: &counters{}, slots: make(chan struct{}, 1)}
		topic := &topic{filter: store.Only(scopeStream)}
		for range 10 {
			cursor := store.Seq(rnd.IntN(len(w.events) + 1))
			w.visible = max(w.visible, store.Seq(rnd.IntN(len(w.events)+1)))
			for cursor > 0 && w.events[cursor-1].Flags.Has(store.FlagMore) {
				cursor--
			}
			for w.visible < store.Seq(len(w.events)) && w.visible > 0 && w.events[w.visible-1].Flags.Has(store.FlagMore) {
				w.visible++
			}
			w.follow(t, topic, cursor, 1+rnd.IntN(60))
		}
	}
}

// follow reads from a cursor to the end and checks what it gets.
func (w *world) follow(t *testing.T, topic *topic, cursor store.Seq, limit int) {
	for {
		var b batch
		if err := w.reader.fetch(&b, topic, cursor, limit); err != nil {
			t.Fatal(err)
		}
		text := string(bytes.Join(b.pieces, nil))
		want := ""
		for seq := cursor + 1; seq <= b.through && seq <= store.Seq(len(w.events)); seq++ {
			if want != "" {
				want += ","
			}
			want += fmt.Sprint(seq)
		}
		w.reader.budget.give(unpin(b.pins))
		if text != want {
			t.Fatalf("after %d: %q, want %q", cursor, text, want)
		}
		if b.events == 0 {
			if cursor < w.visible || w.reader.budget.Used() != 0 {
				t.Fatalf("it ends at %d of %d, %d bytes are left", cursor, w.visible, w.reader.budget.Used())
			}
			return
		}
		if cursor = b.through; w.events[cursor-1].Flags.Has(store.FlagMore) {
			t.Fatalf("an atomic push was cut at %d", cursor)
		}
	}
}

// pagedLog cuts pages at random, never inside a push.
type pagedLog struct {
	*world
	rnd *rand.Rand
}

func (l pagedLog) Read(f store.Filter, after store.Seq, lim store.PageLimit) (store.Page, error) {
	p, err := l.world.Read(f, after, lim)
	n := 1 + l.rnd.IntN(10)
	for n < len(p.Events) && p.Events[n-1].Flags.Has(store.FlagMore) {
		n++
	}
	if n < len(p.Events) {
		p.Events = p.Events[:n]
		p.Through, p.More = p.Events[n-1].Seq, true
	}
	return p, err
}

// TestPresenceReachesEverybody: receivers that are told at random times, in frames of any size, end with what is there.
func TestPresenceReachesEverybody(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		p := &presence{}
		now := map[store.ID]string{}
		type receiver struct {
			told told
			has  map[store.ID]string
		}
		all := make([]receiver, 4)
		tell := func(i, limit int) bool {
			r := &all[i]
			m := p.next(&r.told, store.ID{byte(i + 1)}, limit)
			if m == nil {
				return false
			}
			if m.Full {
				r.has = map[store.ID]string{}
			}
			for _, x := range m.Set {
				r.has[x.Session] = string(x.Data)
			}
			for _, x := range m.Gone {
				delete(r.has, x)
			}
			return true
		}
		for n := range 3000 {
			who := store.ID{byte(rnd.IntN(40)), byte(n / 100), 1}
			if n%100 > 50 {
				p.set(Member{Session: who}, true, 1000)
				delete(now, who)
			} else {
				p.set(Member{Session: who, Data: fmt.Append(nil, n)}, false, 1000)
				now[who] = fmt.Sprint(n)
			}
			if rnd.IntN([]int{20, 200, 2000}[seed%3]) == 0 { // the last ones miss more than is remembered of those who left
				tell(rnd.IntN(len(all)), 1+rnd.IntN(1000))
			}
		}
		if len(p.changes) > 2*(len(now)+2*goneKept)+2 {
			t.Fatalf("%d changes are kept for %d members", len(p.changes), len(now))
		}
		for i := range all {
			for tell(i, 500) {
			}
			if fmt.Sprint(all[i].has) != fmt.Sprint(now) {
				t.Fatalf("seed %d, receiver %d has %v of %v", seed, i, all[i].has, now)
			}
		}
	}
}

// TestClientsAreForgotten: what is remembered of clients that left is bounded in time and number.
func TestClientsAreForgotten(t *testing.T) {
	c := clients{of: map[clientKey]*tenure{}}
	now := time.Unix(0, 0)
	for i := range maxLeft + 1000 {
		k := clientKey{client: store.ID{byte(i), byte(i >> 8), byte(i >> 16)}}
		s := &Session{}
		if _, ok := c.claim(k, 5, s, now); !ok {
			t.Fatal("a new client was refused")
		}
		c.leave(k, s, now)
	}
	if len(c.of) != maxLeft {
		t.Errorf("%d are remembered, not %d", len(c.of), maxLeft)
	}
	c.claim(clientKey{subject: "other"}, 1, &Session{}, now.Add(2*time.Minute))
	if len(c.of) != 1 {
		t.Errorf("%d are remembered after two minutes", len(c.of))
	}
}

func TestTooOld(t *testing.T) {
	oldest := map[string]string{"board": "2.1"}
	for app, want := range map[string]bool{
		"board/2.1": false, "board/2.10": false, "board/2.1.1": false, "board/3": false, "board/2.1-rc1": false,
		"board/2.0.9": true, "board/2": true, "board/x": true, "board": true, "": false, "other/0.1": false,
	} {
		if tooOld(app, oldest) != want {
			t.Errorf("%q: too old is %v", app, !want)
		}
	}
}
