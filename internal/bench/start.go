package bench

import (
	"context"
	"fmt"
	"time"

	"tidemark/client"
	"tidemark/store"
)

// Start measures the time from the start of the process until it serves, after a clean end and after kill -9.
type Start struct {
	Events int `default:"1000000" help:"Events on disk."`
	Behind int `default:"20000" help:"Events that the views have not caught up with at kill -9."`
	Rounds int `default:"5" help:"Starts of each kind."`
}

// Run implements Scenario.
func (a *Start) Run(ctx context.Context, b *Bench) error {
	if err := b.ownServer(); err != nil {
		return err
	}
	if err := b.start(ctx, a.Events, streams(1000)); err != nil {
		return err
	}
	var clean, killed histogram
	for range a.Rounds {
		if err := b.stopServer(); err != nil {
			return err
		}
		if err := a.timed(ctx, b, &clean); err != nil {
			return err
		}
		// Work that the views have not caught up with, then the end without warning.
		if _, err := b.fill(ctx, a.Behind, streams(1000)); err != nil {
			return err
		}
		if err := b.endServer(true); err != nil {
			return err
		}
		if err := a.timed(ctx, b, &killed); err != nil {
			return err
		}
	}
	s := func(h *histogram) float64 { return h.quantile(0.5).Seconds() }
	return b.report(ctx, fmt.Sprintf("start: %d events on disk", max(int64(a.Events), b.events)), nil,
		Figure{"after a clean end", s(&clean), "s"}, Figure{"after kill -9", s(&killed), "s"})
}

// timed starts the server and measures until a subscription is live.
func (a *Start) timed(ctx context.Context, b *Bench, h *histogram) error {
	begin := time.Now()
	if err := b.restart(ctx); err != nil {
		return err
	}
	r, err := b.subscribe(ctx, client.Spec{Filter: store.Only(streamName(0)), From: client.FromNow}, nil)
	if err != nil {
		return err
	}
	if err := r.waitLive(ctx); err != nil {
		return err
	}
	h.add(time.Since(begin))
	return r.close()
}
