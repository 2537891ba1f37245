package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"tidemark/client"
	"tidemark/store"
)

// Stopped measures what a subscriber that stops reading costs while much passes it by: the server's memory, and the
// latency of everybody else.
type Stopped struct {
	Readers int `default:"1" help:"Subscribers that stop reading."`
	Pass    int `default:"300" help:"Megabytes that pass them by."`
	Warm    int `default:"64" help:"Megabytes that fill the server's memory of the newest events before the first look."`
	Large   int `default:"10000" help:"Bytes of the data of each mutation that passes."`
}

// Run implements Scenario.
func (a *Stopped) Run(ctx context.Context, b *Bench) error {
	if err := b.ownServer(); err != nil {
		return err
	}
	b.Common.Payload = a.Large
	without, _, err := a.measure(ctx, b, 0)
	if err != nil {
		return err
	}
	with, grown, err := a.measure(ctx, b, a.Readers)
	if err != nil {
		return err
	}
	return b.report(ctx, fmt.Sprintf("stopped: %d readers that do not read, %d MB pass", a.Readers, a.Pass), nil,
		Figure{"RSS grew by", float64(grown) / 1e6, "MB"},
		Figure{"append p99 without", without.quantile(0.99).Seconds() * 1000, "ms"},
		Figure{"append p99 with", with.quantile(0.99).Seconds() * 1000, "ms"})
}

// measure lets the megabytes pass n stopped readers and one that reads. The memory that the tail cache takes anyway is
// filled before the first look.
func (a *Stopped) measure(ctx context.Context, b *Bench, n int) (*histogram, int64, error) {
	if err := b.start(ctx, 0, streams(1)); err != nil {
		return nil, 0, err
	}
	blocked := make(chan struct{})
	spec := client.Spec{Filter: store.Only(streamName(0)), From: client.FromNow}
	good, err := b.subscribers(ctx, 1, func(int) client.Spec { return spec }, nil)
	if err != nil {
		return nil, 0, err
	}
	if _, err := b.fill(ctx, a.Warm*1e6/a.Large, streams(1)); err != nil {
		return nil, 0, err
	}
	stopped, err := b.subscribers(ctx, n, func(int) client.Spec { return spec }, func(u *client.Update) {
		if u.Kind == client.KindEvents {
			<-blocked
		}
	})
	if err != nil {
		return nil, 0, err
	}
	before := b.server.RSS()
	h, peak, err := a.pass(ctx, b)
	close(blocked)
	for _, r := range stopped {
		r.c.Close() // it may have been sent away as slow, which is no fault
	}
	return h, peak - before, errors.Join(err, closeReaders(good))
}

// pass writes the megabytes and returns the latencies and the largest RSS seen.
func (a *Stopped) pass(ctx context.Context, b *Bench) (*histogram, int64, error) {
	c, err := b.client(ctx, client.Options{})
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	var stop, record atomic.Bool
	record.Store(true)
	w := b.newWriter(c, 16, streams(1), &stop, &record)
	if err := w.start(ctx); err != nil {
		return nil, 0, err
	}
	peak := int64(0)
	total := int64(a.Pass) * 1e6
	for {
		passed := w.acked.Load() * int64(a.Large)
		peak = max(peak, b.server.RSS())
		b.Progress(passed, total)
		if passed >= total {
			break
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return nil, 0, err
		}
	}
	stop.Store(true)
	<-w.done
	return &w.hist, peak, w.err
}
