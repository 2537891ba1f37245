package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidemark/client"
	"tidemark/store"
)

// history is everything that clients asked for, were answered, and read. judge compares it with the log.
type history struct {
	mu      sync.Mutex
	pushes  [][]store.Mutation // in the order in which each writer asked; more than one mutation: atomic
	writer  []int              // of each push
	acked   map[store.ID]store.Seq
	readers []*historyReader
	errs    []error
	answers atomic.Int64
	moved   chan struct{} // has a token when a reader got something
}

// historyReader is what one subscriber read.
type historyReader struct {
	h      *history
	filter store.Filter
	events []store.Event
}

func newHistory() *history {
	return &history{acked: make(map[store.ID]store.Seq), moved: make(chan struct{}, 1)}
}

func (h *history) asked(writer int, ms []store.Mutation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pushes = append(h.pushes, ms)
	h.writer = append(h.writer, writer)
}

func (h *history) answered(rs []client.Result, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.errs = append(h.errs, err)
	}
	for _, r := range rs {
		if r.Err != nil {
			h.errs = append(h.errs, fmt.Errorf("%w: %v: %w", errUnexpected, r.ID, r.Err))
			continue
		}
		h.acked[r.ID] = r.Seq
		h.answers.Add(1)
	}
}

func (h *history) reader(f store.Filter) *historyReader {
	r := &historyReader{h: h, filter: f}
	h.readers = append(h.readers, r)
	return r
}

func (r *historyReader) update(u *client.Update) {
	if u.Kind != client.KindEvents {
		return
	}
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	for _, e := range u.Events {
		e.Data = bytes.Clone(e.Data)
		r.events = append(r.events, e)
	}
	select {
	case r.h.moved <- struct{}{}:
	default:
	}
}

// sleep waits for about d, but no longer than the context lives.
func (h *history) sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// everybodyHas waits until every reader has read the last acknowledged event of its filter. Nothing is asked any more.
func (h *history) everybodyHas(ctx context.Context) error {
	lasts := h.lastOfEach()
	for !h.reached(lasts) {
		select {
		case <-h.moved:
		case <-ctx.Done():
			return fmt.Errorf("a subscriber does not get everything: %w", ctx.Err())
		}
	}
	return nil
}

// lastOfEach returns, for each reader, the last acknowledged event of its filter.
func (h *history) lastOfEach() []store.Seq {
	h.mu.Lock()
	defer h.mu.Unlock()
	lasts := make([]store.Seq, len(h.readers))
	for _, ms := range h.pushes {
		for i := range ms {
			for k, r := range h.readers {
				if r.filter.Match(ms[i].Stream) {
					lasts[k] = max(lasts[k], h.acked[ms[i].ID])
				}
			}
		}
	}
	return lasts
}

func (h *history) reached(lasts []store.Seq) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, r := range h.readers {
		if n := len(r.events); lasts[k] > 0 && (n == 0 || r.events[n-1].Seq < lasts[k]) {
			return false
		}
	}
	return true
}

// judge compares the history with the log: every mutation is there once, as it was asked for and where it was
// acknowledged, atomic pushes whole, each writer's in its order; every reader read exactly the events of its filter.
func (h *history) judge(log []store.Event) (problems []string) {
	bad := func(format string, a ...any) {
		if len(problems) < 20 {
			problems = append(problems, fmt.Sprintf(format, a...))
		}
	}
	for _, err := range h.errs {
		bad("%v", err)
	}
	place := make(map[store.ID]int, len(log))
	lasts := map[store.Stream]store.Seq{}
	for i := range log {
		e := &log[i]
		if e.Seq != store.Seq(i+1) {
			bad("the log has seq %d at place %d", e.Seq, i+1)
		}
		if e.Prev != lasts[e.Stream] {
			bad("event %d says prev %d, the one before it in %s is %d", e.Seq, e.Prev, e.Stream, lasts[e.Stream])
		}
		lasts[e.Stream] = e.Seq
		if j, twice := place[e.ID]; twice {
			bad("%v is in the log twice: %d and %d", e.ID, j+1, i+1)
		}
		place[e.ID] = i
	}
	h.judgePushes(log, place, bad)
	for _, r := range h.readers {
		r.judge(log, bad)
	}
	return problems
}

func (h *history) judgePushes(log []store.Event, place map[store.ID]int, bad func(string, ...any)) {
	reached := map[int]int{} // of each writer
	asked := 0
	for p, ms := range h.pushes {
		for i := range ms {
			asked++
			at, ok := place[ms[i].ID]
			seq, acked := h.acked[ms[i].ID]
			switch {
			case !ok:
				bad("%v is lost (acknowledged: %v, as %d)", ms[i].ID, acked, seq)
				continue
			case !acked:
				bad("%v has no answer", ms[i].ID)
			case seq != store.Seq(at+1):
				bad("%v was acknowledged as %d and is %d", ms[i].ID, seq, at+1)
			}
			if e := &log[at]; e.Stream != ms[i].Stream || e.Key != ms[i].Key || !bytes.Equal(e.Data, ms[i].Data) {
				bad("event %d is not what was asked for", e.Seq)
			}
			if i > 0 && at != place[ms[i-1].ID]+1 {
				bad("an atomic push is torn at %d", at+1)
			}
			if w := h.writer[p]; at < reached[w] {
				bad("writer %d: %d overtook %d", w, reached[w]+1, at+1)
			} else {
				reached[w] = at
			}
		}
	}
	if asked != len(log) {
		bad("%d mutations were asked for, the log has %d", asked, len(log))
	}
}

// judge compares what a reader read with the log.
func (r *historyReader) judge(log []store.Event, bad func(string, ...any)) {
	i := 0
	for j := range log {
		if !r.filter.Match(log[j].Stream) {
			continue
		}
		if i == len(r.events) {
			bad("reader of %v: has no %d", r.filter, log[j].Seq)
			return
		}
		if a, b := &r.events[i], &log[j]; a.Seq != b.Seq || a.ID != b.ID || a.Prev != b.Prev || !bytes.Equal(a.Data, b.Data) {
			bad("reader of %v: read %d where the log has %d", r.filter, a.Seq, b.Seq)
			return
		}
		i++
	}
	if i < len(r.events) {
		bad("reader of %v: read %d, which is not in the log there", r.filter, r.events[i].Seq)
	}
}

// TestHistoryCanFail makes sure that judge finds each of the faults that it is there for.
func TestHistoryCanFail(t *testing.T) {
	for name, spoil := range map[string]func(h *history, log *[]store.Event){
		"": func(*history, *[]store.Event) {},
		"acknowledged event lost": func(_ *history, log *[]store.Event) {
			*log = slices.Delete(*log, 9, 10)
		},
		"doubled": func(_ *history, log *[]store.Event) {
			e := (*log)[4]
			e.Seq, e.Prev = 11, 10
			*log = append(*log, e)
		},
		"acknowledged elsewhere": func(h *history, log *[]store.Event) { h.acked[(*log)[3].ID] = 7 },
		"other data":             func(_ *history, log *[]store.Event) { (*log)[3].Data = []byte("9") },
		"overtaken": func(h *history, log *[]store.Event) {
			h.pushes[1], h.pushes[2] = h.pushes[2], h.pushes[1]
		},
		"atomic push torn": func(h *history, log *[]store.Event) {
			h.pushes = append(h.pushes[:4], append([][]store.Mutation{{h.pushes[4][0], h.pushes[6][0]}}, h.pushes[5:]...)...)
		},
		"reader missed one": func(h *history, _ *[]store.Event) { h.readers[0].events = slices.Delete(h.readers[0].events, 3, 4) },
		"reader got one twice": func(h *history, _ *[]store.Event) {
			h.readers[0].events = slices.Insert(h.readers[0].events, 3, h.readers[0].events[3])
		},
		"reader is behind":  func(h *history, _ *[]store.Event) { h.readers[0].events = h.readers[0].events[:9] },
		"unexpected answer": func(h *history, _ *[]store.Event) { h.answered(nil, errUnexpected) },
		"no answer":         func(h *history, log *[]store.Event) { delete(h.acked, (*log)[2].ID) },
		"prev is wrong":     func(_ *history, log *[]store.Event) { (*log)[5].Prev = 1 },
	} {
		h := newHistory()
		r := h.reader(store.All)
		var log []store.Event
		for i := range store.Seq(10) {
			m := store.Mutation{ID: store.NewID(), Stream: "s", Type: "t", Data: []byte("1")}
			h.asked(0, []store.Mutation{m})
			h.answered([]client.Result{{ID: m.ID, Seq: i + 1}}, nil)
			log = append(log, store.Event{Seq: i + 1, Prev: i, ID: m.ID, Stream: "s", Type: "t", Data: m.Data})
		}
		r.update(&client.Update{Kind: client.KindEvents, Events: log})
		spoil(h, &log)
		if problems := h.judge(log); (len(problems) > 0) != (name != "") {
			t.Errorf("%q: %v", name, problems)
		}
	}
}
