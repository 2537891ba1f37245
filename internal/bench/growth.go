package bench

import (
	"context"
	"fmt"
	"time"

	"tidemark/client"
)

// Growth measures whether appends get slower as the file grows.
type Growth struct {
	Small    int           `default:"10000" help:"Events in the small file."`
	Large    int           `default:"5000000" help:"Events in the large file."`
	Streams  int           `default:"1000" help:"Streams."`
	Duration time.Duration `default:"5s" help:"How long to measure at each size."`
}

// Run implements Scenario.
func (a *Growth) Run(ctx context.Context, b *Bench) error {
	if err := b.start(ctx); err != nil {
		return err
	}
	if err := b.fill(ctx, a.Small, streams(a.Streams)); err != nil {
		return err
	}
	small, err := a.measure(ctx, b)
	if err != nil {
		return err
	}
	if err := b.fill(ctx, a.Large-a.Small, streams(a.Streams)); err != nil {
		return err
	}
	large, err := a.measure(ctx, b)
	if err != nil {
		return err
	}
	fs := append(latencies("small ", &small.hist), latencies("large ", &large.hist)...)
	fs = append(fs, Figure{"p50 large / small", float64(large.hist.quantile(0.5)) / float64(small.hist.quantile(0.5)), "×"})
	return b.report(ctx, fmt.Sprintf("growth: appends one at a time with %d and %d events, %s ids", a.Small, a.Large, b.IDs), fs...)
}

func (a *Growth) measure(ctx context.Context, b *Bench) (load, error) {
	c, err := b.client(ctx, client.Options{})
	if err != nil {
		return load{}, err
	}
	defer c.Close()
	return b.drive(ctx, []*client.Client{c}, 1, streams(a.Streams), a.Duration/5, a.Duration)
}
