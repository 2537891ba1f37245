package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"tidemark/client"
	"tidemark/store"
)

// Arrival measures the time from a publish until the last of many subscribers has the event, fsync included.
type Arrival struct {
	Subscribers int           `default:"200" help:"Subscribers."`
	Rate        int           `default:"50" help:"Events a second."`
	Warm        int           `default:"50" help:"Events that warm up."`
	Duration    time.Duration `default:"60s" help:"How long to measure."`
}

// arrivals counts, for each event under way, how many subscribers have it.
type arrivals struct {
	mu    sync.Mutex
	need  int
	count map[store.Seq]int
	last  map[store.Seq]time.Time // when the last of them had it
	bell  chan store.Seq          // gets the seq of an event that all have
}

func (a *arrivals) update(u *client.Update) {
	if u.Kind != client.KindEvents {
		return
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range u.Events {
		seq := u.Events[i].Seq
		if a.count[seq]++; a.count[seq] == a.need {
			delete(a.count, seq)
			a.last[seq] = now
			a.bell <- seq
		}
	}
}

// Run implements Scenario.
func (a *Arrival) Run(ctx context.Context, b *Bench) error {
	if err := b.start(ctx, 0, streams(1)); err != nil {
		return err
	}
	n := int(a.Duration.Seconds()*float64(a.Rate)) + a.Warm
	got := &arrivals{need: a.Subscribers, count: map[store.Seq]int{}, last: map[store.Seq]time.Time{}, bell: make(chan store.Seq, n)}
	spec := client.Spec{Filter: store.Only(streamName(0)), From: client.FromNow}
	rs, err := b.subscribers(ctx, a.Subscribers, func(int) client.Spec { return spec }, got.update)
	if err != nil {
		return err
	}
	w := b.watch(ctx)
	h, err := a.publish(ctx, b, got, n)
	held := w.end(ctx)
	if err == nil {
		err = b.report(ctx, fmt.Sprintf("arrival: %d/s to %d subscribers, publish to last arrival", a.Rate, a.Subscribers),
			held, latencies("", h)...)
	}
	return errors.Join(err, closeReaders(rs))
}

// publish sends n events at the rate; the first ones warm up.
func (a *Arrival) publish(ctx context.Context, b *Bench, got *arrivals, n int) (*histogram, error) {
	c, err := b.client(ctx, client.Options{})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	g := newIDs(b.IDs)
	sent := make(map[store.Seq]time.Time)
	tick := time.NewTicker(time.Second / time.Duration(a.Rate))
	defer tick.Stop()
	for i := range n {
		<-tick.C
		b.Progress(int64(i), int64(n))
		begin := time.Now()
		rs, err := c.Push(ctx, store.Mutation{ID: g.next(), Stream: streamName(0), Type: "bench", Data: payload(b.Payload)})
		if err != nil || rs[0].Err != nil {
			return nil, errors.Join(err, rs[0].Err)
		}
		if i >= a.Warm {
			sent[rs[0].Seq] = begin
		}
	}
	for range n {
		select {
		case <-got.bell:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	h := new(histogram)
	for seq, begin := range sent {
		h.add(got.last[seq].Sub(begin))
	}
	return h, nil
}
