package sync

import (
	"fmt"
	"runtime/debug"
	"testing"

	"tidemark/store"
)

// TestInterleavings runs every order in which commits, the telling of them, the steps of a subscriber, pings and cut
// connections can happen, in a small scope: whatever the order, in the end the client has every event once, is live, and no
// pong promised too much.
func TestInterleavings(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1000)) // each run is a small heap, and soon garbage
	scopes := map[From][]world{
		FromStart: {{commits: 2, pings: 1, drops: 1}, {commits: 3, drops: 1}},
		FromNow:   {{commits: 2, pings: 1, drops: 1}},
	}
	if testing.Short() {
		scopes = map[From][]world{FromStart: {{commits: 1, pings: 1, drops: 1}}, FromNow: {{commits: 1, drops: 1}}}
	}
	for from, list := range scopes {
		for _, scope := range list {
			name := fmt.Sprintf("from %d, %d commits, %d drops, %d pings", from, scope.commits, scope.drops, scope.pings)
			t.Run(name, func(t *testing.T) {
				runs, err := explore(scope, from, "")
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%d orders", runs)
			})
		}
	}
}

// TestInterleavingsCatch shows that the exploration can fail: each of these mistakes has an order that brings it out.
func TestInterleavingsCatch(t *testing.T) {
	for _, mistake := range []string{
		"head before topics",    // a pong promises what nobody has been told of
		"registered late",       // subscribed after asking where it stands
		"one too far",           // the cursor skips an event
		"cursor before writing", // what was read counts as delivered, and the connection is cut
		"told before visible",   // publish before commit
	} {
		t.Run(mistake, func(t *testing.T) {
			if runs, err := explore(world{commits: 3, drops: 1, pings: 1}, FromStart, mistake); err == nil {
				t.Fatalf("%d orders, and nobody noticed", runs)
			}
		})
	}
}

// world is one run: a log that is written to, and one client of one session after the other.
type world struct {
	commits, drops, pings int // how many there are still to be

	mistake string
	events  []store.Event // on disk
	visible store.Seq
	told    store.Seq
	head    store.Seq // as the engine knows it

	registry *registry
	reader   reader
	m        *machine
	sub      *sub
	doing    effect
	standing store.Standing // the answer to doResume
	page     batch          // the answer to doRead
	hidden   *topic

	list   []store.Event
	cursor store.Seq
	has    bool
	live   bool
}

const scopeStream = store.Stream("s")

// explore runs all orders: it repeats a run with the same choices up to one, and takes the next possibility there.
func explore(scope world, from From, mistake string) (runs int, err error) {
	var choices []int
	for {
		w := scope
		w.mistake = mistake
		w.begin(from)
		options := []int{}
		for step := 0; ; step++ {
			can := w.possible()
			if len(can) == 0 {
				break
			}
			if step == len(choices) {
				choices = append(choices, 0)
			}
			options = append(options, len(can))
			if err = can[choices[step]](); err != nil {
				return runs, fmt.Errorf("%v: %w", choices[:step+1], err)
			}
			if step > 200 {
				return runs, fmt.Errorf("%v: it does not end", choices)
			}
		}
		runs++
		if err = w.judge(); err != nil {
			return runs, fmt.Errorf("%v: %w", choices[:len(options)], err)
		}
		last := len(options) - 1
		for last >= 0 && choices[last] == options[last]-1 {
			last--
		}
		if last < 0 {
			return runs, nil
		}
		choices = append(choices[:last], choices[last]+1)
	}
}

func (w *world) begin(from From) {
	w.registry = newRegistry()
	w.reader = reader{log: w, enc: plainEncoder{}, cache: &cache{limit: 1 << 20}, budget: newBudget(1 << 20), stats: &counters{},
		slots: make(chan struct{}, 1)}
	w.commit() // there is something already
	w.tellAll()
	w.connect(from)
}

func (w *world) connect(from From) {
	w.m = &machine{phase: open, rules: &rules{limits: Limits{}.WithDefaults(), registry: w.registry,
		release: func(t *topic) { w.registry.detach(t) }, signals: &gauge{}}}
	w.m.owner = &Session{}
	w.doing, w.live = effect{}, false
	r := &Subscribe{Sub: 1, Filter: store.Only(scopeStream), From: from}
	if w.has {
		r.Resume, r.Cursor.Seq = true, w.cursor
	}
	w.m.subscribe(r)
	w.sub = w.m.subs[0]
	if w.mistake == "registered late" {
		w.hidden = w.registry.exact[scopeStream]
		delete(w.registry.exact, scopeStream)
	}
}

// possible lists what can happen next.
func (w *world) possible() (can []func() error) {
	if w.doing.do != doNothing || !w.m.idle() {
		can = append(can, w.step)
	}
	if w.commits > 0 {
		can = append(can, func() error { w.commits--; w.commit(); return nil })
	}
	if w.mistake == "head before topics" && w.head < w.visible {
		can = append(can, func() error { w.head = w.visible; return nil })
	}
	if w.told < w.visible || (w.mistake == "told before visible" && int(w.told) < len(w.events)) {
		can = append(can, func() error { w.tell(); return nil })
	}
	if w.mistake == "told before visible" && int(w.visible) < len(w.events) {
		can = append(can, func() error { w.visible = store.Seq(len(w.events)); return nil })
	}
	if w.drops > 0 && w.has {
		can = append(can, w.drop)
	}
	if w.pings > 0 {
		can = append(can, func() error { w.pings--; w.m.receive(&Ping{}); return nil })
	}
	return can
}

// commit writes an event of the stream, and one of another.
func (w *world) commit() {
	n := store.Seq(len(w.events))
	prev := store.Seq(0)
	if n > 0 {
		prev = n - 1
	}
	w.events = append(w.events, store.Event{Seq: n + 1, Prev: prev, Stream: scopeStream}, store.Event{Seq: n + 2, Prev: n, Stream: "other"})
	if w.mistake != "told before visible" {
		w.visible = n + 2
	}
}

// tell is what Engine.watch does with the next commit.
func (w *world) tell() {
	topics := w.registry.publish(w.events[w.told : w.told+2])
	w.told += 2
	w.head = max(w.head, w.told)
	for _, t := range topics {
		for _, x := range t.rouse() {
			x.sub.session = nil
			w.m.settle(x.sub)
		}
	}
}

func (w *world) tellAll() {
	w.visible = store.Seq(len(w.events))
	for w.told < w.visible {
		w.tell()
	}
}

func (w *world) drop() error {
	w.drops--
	w.m.remove(w.sub)
	w.connect(FromStart)
	return nil
}

// step is one step of Session.Next: what the log is asked, and what is done with the answer, are two.
func (w *world) step() error {
	switch e := w.doing; e.do {
	case doResume:
		w.doing = effect{}
		w.m.resumed(e.sub, w.standing, nil)
		w.m.calls.pop() // presence is not looked at here
		if w.hidden != nil {
			w.registry.exact[scopeStream], w.hidden = w.hidden, nil
		}
		return nil
	case doRead:
		w.doing = effect{}
		return w.deliver()
	}
	e := w.m.next(w.head)
	switch e.do {
	case doResume:
		w.standing, _ = w.Resume(w.sub.filter, store.Cursor{})
		w.doing = e
	case doRead:
		w.page = batch{}
		if err := w.reader.fetch(&w.page, w.sub.topic, w.sub.cursor, pageBytes); err != nil {
			return err
		}
		if w.mistake == "cursor before writing" {
			w.cursor = w.page.through
		}
		w.doing = e
	case doSend:
		return w.hear(e.reply)
	}
	return nil
}

// deliver hands the page to the client.
func (w *world) deliver() error {
	through := w.page.through
	if w.mistake == "one too far" {
		through++
	}
	from := w.sub.cursor
	w.m.advanced(w.sub, through)
	for _, ev := range w.events[from:w.page.through] {
		if ev.Stream != scopeStream {
			continue
		}
		w.list = append(w.list, ev)
		w.cursor, w.has = ev.Seq, true
	}
	return nil
}

func (w *world) hear(r Reply) error {
	switch r := r.(type) {
	case *Subscribed:
		if !w.has && r.Since > 0 {
			w.list = append(w.list[:0], w.events[0]) // it begins now: what came before is not its affair
			for w.list[len(w.list)-1].Seq+2 <= r.Since {
				w.list = append(w.list, w.events[len(w.list)*2])
			}
		}
		w.cursor, w.has = max(w.cursor, r.Since), true
	case *Live:
		w.live = true
		return w.promised("live", r.Seq)
	case *Pong:
		if w.live {
			return w.promised("pong", r.Seq)
		}
	}
	return nil
}

// promised checks that the client has what a live or pong says, and moves its cursor there.
func (w *world) promised(what string, seq store.Seq) error {
	want := (int(seq) + 1) / 2
	if len(w.list) < want || seq < w.cursor {
		return fmt.Errorf("%s says %d at cursor %d, but the client has %d events", what, seq, w.cursor, len(w.list))
	}
	w.cursor = seq
	return nil
}

// judge looks at the end of a run.
func (w *world) judge() error {
	if len(w.list) != len(w.events)/2 || !w.live {
		return fmt.Errorf("live %v, %d events of %d", w.live, len(w.list), len(w.events)/2)
	}
	for i, ev := range w.list {
		if ev.Seq != store.Seq(2*i+1) {
			return fmt.Errorf("event %d is %d", i, ev.Seq)
		}
	}
	return nil
}

// The world is its own log.

func (w *world) Read(f store.Filter, after store.Seq, _ store.PageLimit) (store.Page, error) {
	p := store.Page{Through: max(after, w.visible)}
	for _, ev := range w.events[min(after, w.visible):w.visible] {
		if f.Match(ev.Stream) {
			p.Events = append(p.Events, ev)
		}
	}
	return p, nil
}

func (w *world) Documents(store.Filter, store.DocKey, int) (store.DocPage, error) {
	return store.DocPage{Head: w.visible}, nil
}

func (w *world) Resume(store.Filter, store.Cursor) (store.Standing, error) {
	return store.Standing{LogHead: w.visible, Head: max(w.visible, 1) - 1}, nil
}

func (w *world) Mark(store.Seq) store.ID { return store.ID{} }
func (w *world) LogID() store.ID         { return store.ID{} }

// plainEncoder writes seqs.
type plainEncoder struct{}

func (plainEncoder) AppendEvent(dst []byte, ev *store.Event, _ bool) []byte {
	return fmt.Appendf(dst, "%d", ev.Seq)
}
func (plainEncoder) AppendEventsOpen(dst []byte, _ uint64) []byte { return dst }
func (plainEncoder) AppendEventsClose(dst []byte) []byte          { return dst }
func (plainEncoder) AppendAck(dst []byte, _ *Push) []byte         { return dst }
func (plainEncoder) AppendReply(dst []byte, _ Reply) []byte       { return dst }
