package bench

import (
	"context"
	"path/filepath"
	"time"

	"tidemark/client"
)

// Latency measures one client that waits for each answer, beside what the disk alone takes for one fdatasync and for the
// writes and the two fdatasyncs of a commit. The three take turns, so that they see the same disk.
type Latency struct {
	Duration time.Duration `default:"60s" help:"How long to measure, in all."`
}

const (
	turn   = 100 * time.Millisecond // of appends and of the disk
	settle = 20 * time.Millisecond  // after which the server has nothing left to write
)

// Run implements Scenario.
func (a *Latency) Run(ctx context.Context, b *Bench) error {
	if err := b.start(ctx, 0, streams(1)); err != nil {
		return err
	}
	p, err := newProbe(filepath.Join(b.dir, "probe"))
	if err != nil {
		return err
	}
	defer p.close()
	c, err := b.client(ctx, client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := b.burst(ctx, c, streams(1), 0, a.Duration/5); err != nil { // warms up
		return err
	}
	w := b.watch(ctx)
	var appends, sync, commit histogram
	for begin := time.Now(); time.Since(begin) < a.Duration; {
		b.Progress(time.Since(begin).Milliseconds(), a.Duration.Milliseconds())
		h, err := b.burst(ctx, c, streams(1), settle, turn)
		if err != nil {
			return err
		}
		appends.merge(h)
		if err := sleep(ctx, settle); err != nil {
			return err
		}
		if err := p.turn(turn, &sync, &commit); err != nil {
			return err
		}
	}
	fs := append(latencies("append ", &appends), latencies("fdatasync ", &sync)...)
	fs = append(fs, latencies("commit on the bare disk ", &commit)...)
	fs = append(fs, ratio("append p50 / fdatasync p50", &appends, &sync), ratio("append p50 / commit p50", &appends, &commit))
	return b.report(ctx, "latency: one client, one at a time", w.end(ctx), fs...)
}
