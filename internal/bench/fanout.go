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

// Fanout measures deliveries: one client that writes as fast as it can, and many that read the stream.
type Fanout struct {
	Subscribers []int         `default:"100,1000,5000" help:"Numbers of subscribers to measure with."`
	Outstanding int           `default:"64" help:"Unanswered mutations of the writer."`
	Duration    time.Duration `default:"60s" help:"How long to measure each."`
}

// Run implements Scenario.
func (a *Fanout) Run(ctx context.Context, b *Bench) error {
	for _, n := range a.Subscribers {
		if err := a.measure(ctx, b, n); err != nil {
			return err
		}
	}
	return nil
}

func (a *Fanout) measure(ctx context.Context, b *Bench, n int) error {
	if err := b.start(ctx, 0, streams(1)); err != nil {
		return err
	}
	spec := client.Spec{Filter: store.Only(streamName(0)), From: client.FromNow}
	rs, err := b.subscribers(ctx, n, func(int) client.Spec { return spec }, nil)
	if err != nil {
		return err
	}
	s, fs, err := a.deliver(ctx, b, rs)
	if err == nil {
		err = b.report(ctx, fmt.Sprintf("fan-out: 1 writer, %d subscribers", n), s.held, fs...)
	}
	return errors.Join(err, closeReaders(rs))
}

// deliver lets one client write and counts what the readers get.
func (a *Fanout) deliver(ctx context.Context, b *Bench, rs []*reader) (s stretch, fs []Figure, err error) {
	c, err := b.client(ctx, client.Options{})
	if err != nil {
		return s, nil, err
	}
	defer c.Close()
	total := func() (sum int64) {
		for _, r := range rs {
			sum += r.events.Load()
		}
		return sum
	}
	var stop, record atomic.Bool
	w := b.newWriter(c, a.Outstanding, streams(1), &stop, &record)
	if err := w.start(ctx); err != nil {
		return s, nil, err
	}
	if err := sleep(ctx, a.Duration/5); err != nil {
		return s, nil, err
	}
	record.Store(true)
	begin := w.acked.Load()
	s, err = b.steady(ctx, a.Duration, "delivery", total)
	appends := float64(w.acked.Load()-begin) / s.took.Seconds()
	stop.Store(true)
	if err != nil {
		return s, nil, err
	}
	<-w.done
	if w.err != nil {
		return s, nil, w.err
	}
	caught := time.Now()
	if err := waitCount(ctx, rs, w.acked.Load()); err != nil {
		return s, nil, err
	}
	fs = append(s.figures("deliveries"), Figure{"appends", appends, "/s"}, Figure{"all caught up after", time.Since(caught).Seconds(), "s"})
	return s, append(append(fs, s.cpu...), latencies("append ", &w.hist)...), nil
}
