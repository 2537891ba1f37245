package bench

import (
	"context"
	"fmt"
	"time"

	"tidemark/client"
	"tidemark/store"
)

// Replay measures how fast one client gets what it missed: all of one stream that has the log for itself, all of one
// between many others, and the last hundred events.
type Replay struct {
	Events int `default:"1000000" help:"Events in the log."`
	Others int `default:"1000" help:"Other streams, for the interleaved part."`
	Share  int `default:"10" help:"One event in this many belongs to the stream that is read, in the interleaved part."`
}

// Run implements Scenario.
func (a *Replay) Run(ctx context.Context, b *Bench) error {
	if err := a.alone(ctx, b); err != nil {
		return err
	}
	return a.interleaved(ctx, b)
}

func (a *Replay) alone(ctx context.Context, b *Bench) error {
	if err := b.start(ctx); err != nil {
		return err
	}
	target := store.Stream("bench/alone")
	if err := b.fill(ctx, a.Events, []store.Stream{target}); err != nil {
		return err
	}
	fs, err := b.replay(ctx, target)
	if err != nil {
		return err
	}
	return b.report(ctx, fmt.Sprintf("replay: %d events of one stream", a.Events), fs...)
}

func (a *Replay) interleaved(ctx context.Context, b *Bench) error {
	if err := b.start(ctx); err != nil {
		return err
	}
	target := store.Stream("bench/between")
	names := make([]store.Stream, 0, a.Others*a.Share)
	for i := range a.Others * (a.Share - 1) {
		if i%(a.Share-1) == 0 {
			names = append(names, target)
		}
		names = append(names, streamName(i%a.Others))
	}
	if err := b.fill(ctx, a.Events, names); err != nil {
		return err
	}
	fs, err := b.replay(ctx, target)
	if err != nil {
		return err
	}
	missed, err := b.missed(ctx, target)
	if err != nil {
		return err
	}
	fs = append(fs, latencies("100 missed ", missed)...)
	return b.report(ctx, fmt.Sprintf("replay: one in %d of %d events, between %d streams", a.Share, a.Events, a.Others), fs...)
}

// replay reads a stream from its start, three times, and keeps the best.
func (b *Bench) replay(ctx context.Context, s store.Stream) ([]Figure, error) {
	var best float64
	var events int64
	for range 3 {
		c, err := b.client(ctx, client.Options{})
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		r, err := b.subscribeOn(c, client.Spec{Filter: store.Only(s), From: client.FromStart}, nil)
		if err == nil {
			err = r.waitLive(ctx)
		}
		took := time.Since(begin)
		c.Close()
		if err != nil {
			return nil, err
		}
		events = r.events.Load()
		best = max(best, float64(events)/took.Seconds())
	}
	return []Figure{{"replayed", best, "events/s"}, {"events", float64(events), ""}}, nil
}

// missed measures a hundred missed events: from the subscribe until they are there and the subscription is live.
func (b *Bench) missed(ctx context.Context, s store.Stream) (*histogram, error) {
	var seqs []store.Seq
	c, err := b.client(ctx, client.Options{})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r, err := b.subscribeOn(c, client.Spec{Filter: store.Only(s), From: client.FromStart}, func(u *client.Update) {
		for i := range u.Events {
			seqs = append(seqs, u.Events[i].Seq)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := r.waitLive(ctx); err != nil {
		return nil, err
	}
	r.sub.Close()
	h := new(histogram)
	n := min(100, len(seqs)-1)
	at := store.Cursor{Seq: seqs[len(seqs)-1-n]}
	for range 200 {
		took, err := b.catchUp(ctx, c, store.Only(s), at, int64(n))
		if err != nil {
			return nil, err
		}
		h.add(took)
	}
	return h, nil
}

// catchUp measures from the subscribe until n events have come.
func (b *Bench) catchUp(ctx context.Context, c *client.Client, f store.Filter, at store.Cursor, n int64) (time.Duration, error) {
	got := make(chan struct{})
	count, done := int64(0), false
	begin := time.Now()
	r, err := b.subscribeOn(c, client.Spec{Filter: f, Since: &at}, func(u *client.Update) {
		if count += int64(len(u.Events)); count >= n && !done {
			done = true
			close(got)
		}
	})
	if err != nil {
		return 0, err
	}
	defer r.sub.Close()
	select {
	case <-got:
		return time.Since(begin), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
