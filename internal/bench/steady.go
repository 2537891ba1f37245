package bench

import (
	"context"
	"time"
)

// stretch is a part of a run in which a rate was measured.
type stretch struct {
	n      int64
	took   time.Duration
	thirds [3]float64 // rates of the parts, per second: a rate that falls is seen
	cpu    []Figure
	held   []Figure // what the server held; nil: not known
}

// steady measures for the duration d how fast something (what, in the singular) is counted, and looks at the server meanwhile.
func (b *Bench) steady(ctx context.Context, d time.Duration, what string, count func() int64) (stretch, error) {
	var s stretch
	w, cpu := b.watch(ctx), b.cpu()
	begin, n := time.Now(), count()
	at, sofar := begin, n
	var err error
	for i := range s.thirds {
		if err = b.waitUntil(ctx, begin, d*time.Duration(i+1)/3, d); err != nil {
			break
		}
		now, total := time.Now(), count()
		s.thirds[i] = float64(total-sofar) / now.Sub(at).Seconds()
		at, sofar = now, total
	}
	s.n, s.took = sofar-n, at.Sub(begin)
	s.cpu = cpu.since(what, s.n)
	s.held = w.end(ctx)
	return s, err
}

func (s *stretch) rate() float64 { return float64(s.n) / max(s.took.Seconds(), 1e-9) }

// figures returns the rate, by its name, and how it changed on the way.
func (s *stretch) figures(name string) []Figure {
	return []Figure{{name, s.rate(), "/s"}, {"first third", s.thirds[0], "/s"}, {"last third", s.thirds[2], "/s"}}
}

// wait sleeps and shows progress in seconds.
func (b *Bench) wait(ctx context.Context, d time.Duration) error {
	return b.waitUntil(ctx, time.Now(), d, d)
}

// waitUntil waits until d has passed since begin, as a part of a total.
func (b *Bench) waitUntil(ctx context.Context, begin time.Time, d, total time.Duration) error {
	for {
		spent := time.Since(begin)
		if spent >= d {
			return nil
		}
		b.Progress(spent.Milliseconds(), total.Milliseconds())
		if err := sleep(ctx, min(d-spent, 200*time.Millisecond)); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
