package bench

import (
	"context"
	"fmt"
	"time"
)

// Append measures durable appends: clients that keep a number of mutations outstanding.
type Append struct {
	Clients     int           `default:"16" help:"Clients."`
	Outstanding int           `default:"64" help:"Unanswered mutations of each client."`
	Streams     int           `default:"1" help:"Streams that are written to in turn."`
	Duration    time.Duration `default:"60s" help:"How long to measure, after a warm-up of a fifth of it."`
}

// Run implements Scenario.
func (a *Append) Run(ctx context.Context, b *Bench) error {
	if err := b.start(ctx, 0, streams(a.Streams)); err != nil {
		return err
	}
	cs, closeAll, err := b.clients(ctx, a.Clients)
	if err != nil {
		return err
	}
	defer closeAll()
	l, err := b.drive(ctx, cs, a.Outstanding, streams(a.Streams), a.Duration/5, a.Duration)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("append: %d clients × %d outstanding, %d streams, %s ids", a.Clients, a.Outstanding, a.Streams, b.IDs)
	fs := append(l.figures("appends"), latencies("", &l.hist)...)
	return b.report(ctx, name, l.held, append(fs, l.cpu...)...)
}
