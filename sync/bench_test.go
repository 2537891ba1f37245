package sync_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"tidemark/store"
	eventsync "tidemark/sync"
)

// benchLog answers reads from memory as the store's tail does, and publishes without a disk.
type benchLog struct {
	*memLog
	mu     sync.RWMutex
	events []store.Event
	head   atomic.Uint64
}

func (l *benchLog) Read(f store.Filter, after store.Seq, lim store.PageLimit) (store.Page, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	name, exact := f.Stream()
	head := store.Seq(l.head.Load())
	p := store.Page{Through: head}
	size := 0
	for i := after; i < head; i++ {
		ev := &l.events[i]
		if exact && ev.Stream != name {
			continue
		}
		if p.Events = append(p.Events, *ev); size >= lim.Bytes {
			p.Through, p.More = ev.Seq, ev.Seq < head
			break
		}
		size += 160 + len(ev.Data)
	}
	return p, nil
}

func (l *benchLog) Resume(store.Filter, store.Cursor) (store.Standing, error) {
	h := store.Seq(l.head.Load())
	return store.Standing{Head: h, LogHead: h}, nil
}

func (l *benchLog) Mark(store.Seq) store.ID { return store.ID{} }

var benchData = []byte(`{"text":"` + string(make200()) + `"}`)

func make200() []byte {
	b := make([]byte, 190)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return b
}

// publish appends n events to streams, round robin, and tells the engine.
func (l *benchLog) publish(n, streams int) {
	l.mu.Lock()
	from := len(l.events)
	for i := range n {
		l.events = append(l.events, store.Event{Seq: store.Seq(from + i + 1), Prev: store.Seq(max(from+i-streams+1, 0)), ID: id(1),
			Stream: benchStreams[i%streams], Type: "said", Data: benchData, At: 1})
	}
	news := l.events[from:]
	l.head.Store(uint64(len(l.events)))
	l.mu.Unlock()
	l.watch(store.Commit{Events: news, Head: store.Seq(len(l.events))})
}

var benchStreams = func() (out []store.Stream) {
	for i := range 10000 {
		out = append(out, store.Stream(fmt.Sprint("room/", i)))
	}
	return out
}()

// follower is a subscribed connection whose edge throws the frames away.
type follower struct {
	s   *eventsync.Session
	got *atomic.Int64 // frames, of all
}

func (f *follower) wake() {
	go func() {
		for {
			fr, ok := f.s.Next()
			if !ok {
				return
			}
			f.got.Add(1)
			_ = fr.Len()
		}
	}()
}

func newBenchEngine(b *testing.B) (*eventsync.Engine, *benchLog) {
	l := &benchLog{memLog: newMemLog(), events: make([]store.Event, 0, 1<<20)}
	e, err := eventsync.New(l, eventsync.Options{Encoder: wireEncoder{frame: 1 << 20}, Authenticate: tokens})
	if err != nil {
		b.Fatal(err)
	}
	return e, l
}

func follow(b *testing.B, e *eventsync.Engine, st store.Stream, got *atomic.Int64) {
	f := &follower{got: got}
	f.s = e.Connect(f.wake, "")
	b.Cleanup(f.s.Close)
	hello := &eventsync.Hello{Subs: []eventsync.Subscribe{{Sub: 1, Filter: store.Only(st), From: eventsync.FromNow}}}
	before := got.Load()
	if err := f.s.Receive(hello); err != nil {
		b.Fatal(err)
	}
	for got.Load() < before+4 { // welcome, subscribed, presence, live
		runtime.Gosched()
	}
}

// BenchmarkFanOut is one writer with commits of 100 events and many subscribers of its stream; deliveries/s counts an event
// for each subscriber that it reached.
func BenchmarkFanOut(b *testing.B) {
	for _, subs := range []int{1, 100, 1000, 5000} {
		b.Run(fmt.Sprint(subs), func(b *testing.B) {
			e, l := newBenchEngine(b)
			var got atomic.Int64
			for range subs {
				follow(b, e, benchStreams[0], &got)
			}
			b.ReportAllocs()
			for b.Loop() {
				l.publish(100, 1)
				for e.Stats().Delivered < int64(len(l.events))*int64(subs) {
					runtime.Gosched()
				}
			}
			b.ReportMetric(float64(e.Stats().Delivered)/b.Elapsed().Seconds(), "deliveries/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkWatch is what the log's writer pays for one commit of 1,000 events when nobody, somebody else, or everybody
// follows.
func BenchmarkWatch(b *testing.B) {
	for _, c := range []struct {
		name            string
		streams, follow int
	}{{"nobody", 1000, 0}, {"others", 1000, 1}, {"oneStream", 1, 1}, {"manyStreams", 1000, 1000}} {
		b.Run(c.name, func(b *testing.B) {
			e, l := newBenchEngine(b)
			var got atomic.Int64
			for i := range c.follow {
				st := benchStreams[i]
				if c.name == "others" {
					st = benchStreams[9999]
				}
				follow(b, e, st, &got)
			}
			b.ReportAllocs()
			for b.Loop() {
				l.publish(1000, c.streams)
			}
		})
	}
}
