package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"tidemark/client"
)

// Growth measures whether appends get slower as the file grows: a server with a small and one with a large file take turns, so
// that both see the same disk.
type Growth struct {
	Small    int           `default:"10000" help:"Events in the small file."`
	Events   int           `default:"5000000" help:"Events in the large file."`
	Streams  int           `default:"1000" help:"Streams."`
	Rounds   int           `default:"6" help:"Turns of each."`
	Duration time.Duration `default:"60s" help:"How long to measure, in all."`
}

// Run implements Scenario.
func (a *Growth) Run(ctx context.Context, b *Bench) error {
	if err := b.ownServer(); err != nil {
		return err
	}
	if err := b.start(ctx, a.Events, streams(a.Streams)); err != nil {
		return err
	}
	var small, large histogram
	w := b.watch(ctx)
	for i := range a.Rounds {
		if err := a.round(ctx, b, i, &small, &large); err != nil {
			return err
		}
	}
	fs := append(latencies("small ", &small), latencies("large ", &large)...)
	fs = append(fs, ratio("p50 large / small", &large, &small))
	name := fmt.Sprintf("growth: appends one at a time with %d and %d events, %s ids", a.Small, max(int64(a.Events), b.events), b.IDs)
	return b.report(ctx, name, w.end(ctx), fs...)
}

// round measures both files once, in turns that change places. The small file begins anew, so that it stays small.
func (a *Growth) round(ctx context.Context, b *Bench, i int, small, large *histogram) error {
	path := filepath.Join(b.dir, "small.tidemark")
	if err := remove(path); err != nil {
		return err
	}
	if err := b.preload(ctx, path, a.Small, streams(a.Streams)); err != nil {
		return err
	}
	fresh, err := b.launch(ctx, path)
	if err != nil {
		return err
	}
	first, second := &turnOf{fresh, small}, &turnOf{b.server, large}
	if i%2 == 1 {
		first, second = second, first
	}
	for _, t := range []*turnOf{first, second} {
		if err := a.measure(ctx, b, t); err != nil {
			fresh.stop(false)
			return err
		}
	}
	return fresh.stop(false)
}

// turnOf is a server and where its latencies go.
type turnOf struct {
	server *served
	hist   *histogram
}

func (a *Growth) measure(ctx context.Context, b *Bench, t *turnOf) error {
	c, err := connect(ctx, t.server.URL, client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	d := a.Duration / time.Duration(2*a.Rounds)
	h, err := b.burst(ctx, c, streams(a.Streams), d/5, d*4/5)
	if err == nil {
		t.hist.merge(h)
	}
	return err
}
