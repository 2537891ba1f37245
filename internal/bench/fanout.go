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
	Duration    time.Duration `default:"10s" help:"How long to measure each."`
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
	if err := b.start(ctx); err != nil {
		return err
	}
	spec := client.Spec{Filter: store.Only(streamName(0)), From: client.FromNow}
	rs, err := b.subscribers(ctx, n, func(int) client.Spec { return spec }, nil)
	if err != nil {
		return err
	}
	fs, err := a.deliver(ctx, b, rs)
	if err == nil {
		err = b.report(ctx, fmt.Sprintf("fan-out: 1 writer, %d subscribers", n), fs...)
	}
	return errors.Join(err, closeReaders(rs))
}

func (a *Fanout) deliver(ctx context.Context, b *Bench, rs []*reader) ([]Figure, error) {
	c, err := b.client(ctx, client.Options{})
	if err != nil {
		return nil, err
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
		return nil, err
	}
	if err := sleep(ctx, a.Duration/5); err != nil {
		return nil, err
	}
	record.Store(true)
	n0, w0, t0, cpu := total(), w.acked.Load(), time.Now(), b.cpu()
	err = b.wait(ctx, a.Duration)
	n1, w1, took := total(), w.acked.Load(), time.Since(t0)
	used := cpu.since("delivery", n1-n0)
	stop.Store(true)
	<-w.done
	if err = errors.Join(err, w.err); err != nil {
		return nil, err
	}
	caught := time.Now()
	if err := waitAll(ctx, rs, store.Seq(w.acked.Load())); err != nil {
		return nil, err
	}
	fs := []Figure{{"deliveries", float64(n1-n0) / took.Seconds(), "/s"}, {"appends", float64(w1-w0) / took.Seconds(), "/s"},
		{"all caught up after", time.Since(caught).Seconds(), "s"}}
	return append(append(fs, used...), latencies("append ", &w.hist)...), nil
}
