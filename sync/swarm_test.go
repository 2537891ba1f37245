package sync_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

// TestSwarm lets readers drop and resume at random while writers, who drop too, write; in the end every writer's mutations
// are in the log once and in order, and every reader has exactly what belongs to it.
func TestSwarm(t *testing.T) {
	seeds := 120
	if testing.Short() {
		seeds = 20
	}
	var total eventsync.Stats
	ran := 0
	defer func() {
		if ran == seeds { // not when one is run by its name
			everyPath(t, total)
		}
	}()
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newMemLog()
				log.hold = true
				log.pageMax = []int{0, 1, 3}[seed%3]
				s := newSwarm(t, uint64(seed), log)
				s.run(log.unsteady(s, seed%4 == 3))
				ran++
				st := s.engine.Stats()
				total.EventFrames += st.EventFrames
				total.SharedPages += st.SharedPages
				total.LogPages += st.LogPages
				total.SmallPages += st.SmallPages
				total.Takeovers += st.Takeovers
			})
		})
	}
}

// everyPath fails when the swarms did not take a way that they are there for.
func everyPath(t *testing.T, st eventsync.Stats) {
	for what, n := range map[string]int64{
		"frames of events": st.EventFrames, "pages of what was encoded before": st.SharedPages, "pages of the log": st.LogPages,
		"small pages": st.SmallPages, "takeovers": st.Takeovers,
	} {
		if n == 0 {
			t.Errorf("%s: the path was not taken", what)
		}
	}
}

// TestSwarmOnStore is TestSwarm over the real log.
func TestSwarmOnStore(t *testing.T) {
	seeds := 12
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := store.Options{TailBytes: []int{1 << 10, 1 << 20}[seed%2]}
				log, err := store.Open(filepath.Join(t.TempDir(), "log"), o)
				if err != nil {
					t.Fatal(err)
				}
				s := newSwarm(t, uint64(seed), log)
				s.run(func(context.Context) {})
				if err := log.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// unsteady commits now and then, tells the watcher late, makes reads slow, and may trim.
func (l *memLog) unsteady(s *swarm, trims bool) func(context.Context) {
	rnd := s.source()
	var slow sync.Mutex
	l.onRead = func() {
		slow.Lock()
		n := rnd.IntN(3)
		slow.Unlock()
		time.Sleep(time.Duration(n) * 200 * time.Microsecond)
	}
	mine := s.source()
	return func(ctx context.Context) {
		for ctx.Err() == nil {
			time.Sleep(time.Duration(mine.IntN(2000)) * time.Microsecond)
			l.mu.Lock()
			l.quiet = mine.IntN(3) == 0
			l.mu.Unlock()
			l.commit()
			if mine.IntN(2) == 0 {
				time.Sleep(time.Duration(mine.IntN(500)) * time.Microsecond)
			}
			l.tell()
			if head := s.engine.Head(); trims && mine.IntN(10) == 0 && head > 10 {
				l.trim(head - store.Seq(mine.IntN(10)))
			}
		}
		l.commit()
		l.tell()
	}
}

// swarm is a number of clients of one engine.
type swarm struct {
	t      *testing.T
	seed   uint64
	srcs   atomic.Uint64
	log    eventsync.Log
	engine *eventsync.Engine
}

var swarmStreams = []store.Stream{"room/1", "room/2", "room/2/a", "other"}

func newSwarm(t *testing.T, seed uint64, log eventsync.Log) *swarm {
	e, err := eventsync.New(log, eventsync.Options{
		Encoder: wireEncoder{frame: 1 << 20}, Authenticate: tokens,
		Limits: eventsync.Limits{Frame: []int{4 << 10, 1 << 20}[seed%2], Data: 1 << 10, Inflight: 20, Mutations: 10},
		Cache:  []int64{1, 4 << 10, 1 << 20}[seed/2%3],
	})
	if err != nil {
		t.Fatal(err)
	}
	return &swarm{t: t, seed: seed, log: log, engine: e}
}

func (s *swarm) source() *rand.Rand { return rand.New(rand.NewPCG(s.seed, s.srcs.Add(1))) }

func (s *swarm) run(background func(context.Context)) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var aside, writing, reading sync.WaitGroup
	aside.Go(func() { background(ctx) })
	var writers []*writer
	var readers []*reader
	for i := range 3 {
		w := &writer{swarm: s, rnd: s.source(), client: id(50 + i), acked: map[store.ID]store.Seq{}}
		writers = append(writers, w)
		writing.Go(w.run)
	}
	done := make(chan struct{})
	for i, filter := range []string{"room/1", "room/2", "room/**", "**", "room/1", "other"} {
		f, _ := store.ParseFilter(filter)
		from := []wire.From{wire.FromStart, wire.FromSnapshot}[(i+int(s.seed))%2]
		r := &reader{swarm: s, rnd: s.source(), filter: f, from: from, streams: map[store.Stream]store.Seq{}, docs: map[store.DocKey]store.Doc{}}
		readers = append(readers, r)
		reading.Go(func() { r.run(done) })
	}
	writing.Wait()
	close(done)
	reading.Wait()
	cancel()
	aside.Wait()
	synctest.Wait()
	s.judge(writers, readers)
	s.empty()
}

// judge compares what everybody has with the log.
func (s *swarm) judge(writers []*writer, readers []*reader) {
	var all []store.Event
	for after := store.Seq(0); ; {
		if l, ok := s.log.(*memLog); ok {
			all = l.events
			break
		}
		page, err := s.log.Read(store.All, after, store.PageLimit{})
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, page.Events...)
		if after = page.Through; !page.More {
			break
		}
	}
	count := map[store.ID]int{}
	for i := range all {
		count[all[i].ID]++
	}
	total := 0
	for _, w := range writers {
		last := store.Seq(0)
		for _, m := range w.sent {
			total++
			seq := w.acked[m.ID]
			if count[m.ID] != 1 || seq <= last || all[seq-1].ID != m.ID {
				s.t.Errorf("mutation %s: %d times in the log, acknowledged at %d after %d", m.ID, count[m.ID], seq, last)
			}
			last = seq
		}
	}
	if total != len(all) || total == 0 {
		s.t.Errorf("%d events in the log, %d were sent", len(all), total)
	}
	for _, r := range readers {
		r.judge(all)
	}
}

// empty checks that nothing is left behind.
func (s *swarm) empty() {
	st := s.engine.Stats()
	if st.Sessions != 0 || st.Topics != 0 || st.BudgetBytes != 0 || st.CacheBytes != 0 || st.PresenceBytes != 0 {
		s.t.Errorf("left behind: %+v", st)
	}
}

// line is one connection that can be cut at any time: what is handed out after that is lost.
type line struct {
	session *eventsync.Session
	decoder wire.Decoder
	hear    func(wire.Message)
	over    chan struct{}
	pumps   sync.WaitGroup
	slow    *rand.Rand // the writer's

	mu  sync.Mutex
	cut bool
}

func (s *swarm) dial(hear func(wire.Message)) *line {
	l := &line{hear: hear, over: make(chan struct{}), slow: s.source()}
	l.decoder.Limits = wire.Limits{}.WithDefaults()
	l.session = s.engine.Connect(func() { l.pumps.Go(func() { l.pump(s.t) }) }, "")
	l.session.Stalled(s.source().IntN(4) == 0)
	return l
}

func (l *line) pump(t *testing.T) {
	for {
		f, ok := l.session.Next()
		if !ok {
			return
		}
		var text []byte
		for _, p := range f.Pieces {
			text = append(text, p...)
		}
		if l.slow.IntN(8) == 0 { // not with the lock: time stands still while somebody waits for one
			time.Sleep(time.Duration(l.slow.IntN(3000)) * time.Microsecond)
		}
		l.mu.Lock()
		switch {
		case l.cut:
		case f.End != eventsync.EndNone:
			l.cut = true
			close(l.over)
		default:
			m, err := wire.DecodeServer(text)
			if err != nil {
				t.Errorf("%v: %s", err, text)
			}
			l.hear(m)
		}
		l.mu.Unlock()
	}
}

// say hands in a message; false: the connection is over.
func (l *line) say(m wire.Message) bool {
	return l.session.Receive(fromWire(&l.decoder, m.Append(nil))) == nil
}

func (l *line) drop() {
	l.mu.Lock()
	if !l.cut {
		l.cut = true
		close(l.over)
	}
	l.mu.Unlock()
	l.session.Close()
	l.pumps.Wait()
}

// writer sends mutations, and again what was not acknowledged.
type writer struct {
	*swarm
	rnd    *rand.Rand
	client store.ID
	n      uint64
	sent   []store.Mutation // all, in order

	mu    sync.Mutex
	acked map[store.ID]store.Seq
}

const swarmPushes = 25

func (w *writer) run() {
	pushes, next := [][]store.Mutation{}, 0
	for len(pushes) < swarmPushes {
		push := make([]store.Mutation, 1+w.rnd.IntN(4))
		for i := range push {
			push[i] = w.mutation()
		}
		pushes = append(pushes, push)
		w.sent = append(w.sent, push...)
	}
	for !w.complete() {
		next = w.unacked(pushes)
		line := w.dial(w.heard)
		w.n++
		open := line.say(&wire.Hello{Client: w.client, N: w.n})
		for open && next < len(pushes) {
			p := wire.Push{Stream: "room/1", HasStream: true}
			p.Mutations, p.Atomic = pushes[next], len(pushes[next]) > 2
			open = line.say(&p)
			next++
			time.Sleep(time.Duration(w.rnd.IntN(1500)) * time.Microsecond)
			if w.rnd.IntN(12) == 0 {
				break
			}
		}
		if w.rnd.IntN(4) > 0 {
			time.Sleep(time.Duration(w.rnd.IntN(6)) * time.Millisecond)
		}
		if w.rnd.IntN(3) == 0 { // the next connection comes before this one ends
			defer line.drop()
		} else {
			line.drop()
		}
	}
}

func (w *writer) mutation() store.Mutation {
	m := store.Mutation{ID: store.NewID(), Type: "t", Stream: swarmStreams[w.rnd.IntN(len(swarmStreams))]}
	m.Data = fmt.Appendf(nil, `{"n":%d,"pad":"%0*d"}`, w.rnd.IntN(100), 1+w.rnd.IntN(200), 0)
	switch w.rnd.IntN(4) {
	case 0:
		m.Op, m.Key = store.OpPut, fmt.Sprint("k", w.rnd.IntN(5))
	case 1:
		m.Op, m.Key = store.OpPatch, fmt.Sprint("k", w.rnd.IntN(5))
	case 2:
		m.Op, m.Key, m.Data = store.OpDelete, fmt.Sprint("k", w.rnd.IntN(5)), nil
	}
	return m
}

func (w *writer) heard(m wire.Message) {
	a, ok := m.(*wire.Ack)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range a.Results {
		if have := w.acked[r.ID]; r.Err != nil || (have != 0 && have != r.Seq) {
			w.t.Errorf("acknowledged at %d before: %+v", have, r)
		}
		w.acked[r.ID] = r.Seq
	}
}

func (w *writer) complete() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked) == len(w.sent)
}

func (w *writer) unacked(pushes [][]store.Mutation) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.IndexFunc(pushes, func(p []store.Mutation) bool { return w.acked[p[0].ID] == 0 })
}

// reader follows one filter as the rules for clients say.
type reader struct {
	*swarm
	rnd    *rand.Rand
	filter store.Filter
	from   wire.From

	// Guarded by the line's lock.
	has      bool // there is a cursor to go on from
	cursor   store.Cursor
	begun    store.Seq // the cursor that the list began after
	list     []store.Event
	streams  map[store.Stream]store.Seq
	docs     map[store.DocKey]store.Doc
	snapping bool
	settled  bool // the documents are a state that the log had
	upto     store.Seq
	live     bool
	pong     store.Seq
	resets   int
}

func (r *reader) run(done chan struct{}) {
	for last := false; ; {
		select {
		case <-done:
			last = true
		default:
		}
		l := r.dial(r.heard)
		l.mu.Lock()
		r.live, r.pong = false, 0
		if !r.settled && r.from == wire.FromSnapshot {
			r.forget()
		}
		sub := wire.Subscribe{Sub: 1, Filter: r.filter, From: r.from, Resume: r.has, Cursor: r.cursor}
		l.mu.Unlock()
		l.say(&wire.Hello{Log: r.log.LogID(), Subs: []wire.Subscribe{sub}})
		for range r.rnd.IntN(30) {
			time.Sleep(time.Duration(r.rnd.IntN(1000)) * time.Microsecond)
			if r.rnd.IntN(5) == 0 {
				l.say(&wire.Ping{})
			}
		}
		if last {
			r.finish(l)
			return
		}
		l.drop()
	}
}

// finish stays until everything is there.
func (r *reader) finish(l *line) {
	for {
		time.Sleep(50 * time.Millisecond)
		l.say(&wire.Ping{})
		time.Sleep(50 * time.Millisecond)
		l.mu.Lock()
		head := r.engine.Head()
		there := r.live && r.pong == head && r.cursor.Seq == head
		l.mu.Unlock()
		if there {
			l.drop()
			return
		}
	}
}

// forget drops the confirmed state.
func (r *reader) forget() {
	r.has, r.cursor, r.settled = false, store.Cursor{}, false
	r.list, r.begun, r.upto, r.snapping = nil, 0, 0, false
	clear(r.streams)
	clear(r.docs)
}

func (r *reader) heard(m wire.Message) {
	switch m := m.(type) {
	case *wire.Subscribed:
		if !r.has && r.from == wire.FromStart {
			r.has, r.begun, r.cursor = true, m.Since, store.Cursor{Seq: m.Since}
		}
	case *wire.Reset:
		r.resets++
		r.forget()
		r.live = false
		if r.from == wire.FromStart {
			r.has, r.begun, r.cursor = true, m.Floor, store.Cursor{Seq: m.Floor}
		}
	case *wire.Snapshot:
		r.snapshot(m)
	case *wire.Events:
		for i := range m.Events {
			r.event(m.Events[i])
		}
	case *wire.Live:
		if r.live || m.Seq < r.cursor.Seq || m.Seq < r.upto {
			r.t.Errorf("live at %d, cursor %d, upto %d", m.Seq, r.cursor.Seq, r.upto)
		}
		r.live, r.settled = true, true
		r.cursor = store.Cursor{Seq: m.Seq, Mark: m.Mark}
	case *wire.Pong:
		if r.pong = m.Seq; r.live && m.Seq > r.cursor.Seq {
			r.cursor = store.Cursor{Seq: m.Seq, Mark: m.Mark}
		}
	case *wire.Welcome, *wire.Presence:
	default:
		r.t.Errorf("%T: %+v", m, m)
	}
}

func (r *reader) snapshot(m *wire.Snapshot) {
	if !r.snapping {
		r.forget()
		r.snapping = true
	}
	for _, d := range m.Docs {
		if d.Stream == "" {
			d.Stream, _ = r.filter.Stream()
		}
		r.docs[store.DocKey{Stream: d.Stream, Key: d.Key}] = d
	}
	if m.Done {
		r.snapping = false
		r.upto, r.has, r.begun = m.Upto, true, m.Seq
		r.cursor = store.Cursor{Seq: m.Seq, Mark: m.Mark}
	}
}

func (r *reader) event(ev store.Event) {
	if ev.Stream == "" {
		ev.Stream, _ = r.filter.Stream()
	}
	prev, known := r.streams[ev.Stream]
	if !r.has || ev.Seq <= r.cursor.Seq || !r.filter.Match(ev.Stream) || (known && ev.Prev != prev) || (!known && ev.Prev > r.begun) {
		r.t.Errorf("event %d of %s with prev %d at cursor %d, last of its stream %d", ev.Seq, ev.Stream, ev.Prev, r.cursor.Seq, prev)
	}
	r.streams[ev.Stream] = ev.Seq
	r.list = append(r.list, ev)
	r.cursor = store.Cursor{Seq: ev.Seq, Mark: ev.ID}
	r.fold(ev)
}

func (r *reader) fold(ev store.Event) {
	at := store.DocKey{Stream: ev.Stream, Key: ev.Key}
	d := r.docs[at]
	if ev.Op == store.OpNone || ev.Seq <= d.Seq {
		return
	}
	d.Stream, d.Key, d.Seq = ev.Stream, ev.Key, ev.Seq
	switch ev.Op {
	case store.OpPut:
		d.Data = ev.Data
	case store.OpPatch:
		d.Data, _ = store.MergePatch(nil, d.Data, ev.Data)
	case store.OpDelete:
		d.Data = nil
	}
	r.docs[at] = d
}

// judge compares the list with the log's, and the documents with a fold of all.
func (r *reader) judge(all []store.Event) {
	var want []store.Event
	whole := reader{swarm: r.swarm, docs: map[store.DocKey]store.Doc{}}
	for _, ev := range all {
		if r.filter.Match(ev.Stream) {
			whole.fold(ev)
			if ev.Seq > r.begun {
				want = append(want, ev)
			}
		}
	}
	same := slices.EqualFunc(r.list, want, func(a, b store.Event) bool {
		return a.Seq == b.Seq && a.ID == b.ID && a.Stream == b.Stream && string(a.Data) == string(b.Data)
	})
	if !same {
		r.t.Errorf("%s: %d events after %d, the log has %d", r.filter, len(r.list), r.begun, len(want))
	}
	gone := func(_ store.DocKey, d store.Doc) bool { return d.Data == nil }
	maps.DeleteFunc(r.docs, gone)
	maps.DeleteFunc(whole.docs, gone)
	sameDoc := func(a, b store.Doc) bool { return string(a.Data) == string(b.Data) && a.Seq == b.Seq }
	if r.from == wire.FromSnapshot && !maps.EqualFunc(r.docs, whole.docs, sameDoc) {
		r.t.Errorf("%s: documents differ: %v, the log has %v", r.filter, r.docs, whole.docs)
	}
}
