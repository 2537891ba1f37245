package bench

import (
	"context"
	"fmt"
	"time"

	"tidemark/store"
)

// samplePeriod is how often a server is looked at while it is measured: seldom enough to cost nothing.
const samplePeriod = time.Second

// watch looks at the server while something is measured: memory, checkpoint lag, growth of log and file.
type watch struct {
	of   *served // nil: nobody can be looked at
	say  func(string)
	stop chan struct{}
	done chan struct{} // closed when the goroutine has ended; until then it owns what is below

	begin, last           store.Stats
	lagMax                int64
	own, ownMax, totalMax int64 // bytes
	err                   error
}

// watch starts to look; end stops it.
func (b *Bench) watch(ctx context.Context) *watch {
	w := &watch{of: b.server, say: b.Say, stop: make(chan struct{}), done: make(chan struct{})}
	if w.of == nil {
		close(w.done)
		return w
	}
	w.sample(ctx)
	w.begin = w.last
	go func() {
		defer close(w.done)
		t := time.NewTicker(samplePeriod)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				w.sample(ctx)
			case <-w.stop:
				return
			case <-ctx.Done(): // the run has failed before end
				return
			}
		}
	}()
	return w
}

func (w *watch) sample(ctx context.Context) {
	st, err := w.of.Stats(ctx)
	if err != nil {
		w.err = err
		return
	}
	w.last = st
	w.lagMax = max(w.lagMax, st.LagEvents)
	own, total := w.of.Memory()
	w.own, w.ownMax, w.totalMax = own, max(w.ownMax, own), max(w.totalMax, total)
}

// end takes the last look and returns the figures; none when a look failed, for half of them would mislead.
func (w *watch) end(ctx context.Context) []Figure {
	close(w.stop)
	<-w.done
	if w.of == nil {
		return nil
	}
	w.sample(ctx)
	if w.err != nil {
		w.say(fmt.Sprintf("no figures of the server: %v", w.err))
		return []Figure{}
	}
	mb := func(n int64) float64 { return float64(n) / 1e6 }
	fs := []Figure{
		{"memory max", mb(w.ownMax), "MB"}, {"memory at end", mb(w.own), "MB"}, {"with mapped file, max", mb(w.totalMax), "MB"},
		{"lag at begin", float64(w.begin.LagEvents), "events"}, {"lag max", float64(w.lagMax), "events"},
		{"lag at end", float64(w.last.LagEvents), "events"},
	}
	if n := float64(w.last.Head - w.begin.Head); n > 0 {
		fs = append(fs, Figure{"log growth", float64(w.last.LogBytes-w.begin.LogBytes) / n, "B/event"},
			Figure{"file growth", float64(w.last.FileBytes-w.begin.FileBytes) / n, "B/event"})
	}
	fs = append(fs, Figure{"events", float64(w.last.Head - w.last.Floor), ""},
		Figure{"log", mb(w.last.LogBytes), "MB"}, Figure{"file", mb(w.last.FileBytes), "MB"})
	if w.of.group != nil {
		fs = append(fs, w.of.group.figures()...)
	}
	return fs
}
