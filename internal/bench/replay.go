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
	Rounds int `default:"200" help:"Times that a hundred missed events are read."`
	Share  int `default:"10" help:"One event in this many belongs to the stream that is read, in the interleaved part."`
}

// Run implements Scenario. On a file that was there before it reads the first stream of that file.
func (a *Replay) Run(ctx context.Context, b *Bench) error {
	if b.hasBase() {
		return a.measure(ctx, b, "was there already", a.between())
	}
	if err := a.measure(ctx, b, "has the log for itself", streams(1)); err != nil {
		return err
	}
	return a.measure(ctx, b, fmt.Sprintf("is one event in %d, between %d streams", a.Share, a.Others), a.between())
}

// between returns the streams in turn: one event in Share is of the first stream, the others take turns.
func (a *Replay) between() []store.Stream {
	others := streams(a.Others + 1)[1:]
	names := make([]store.Stream, 0, a.Others*a.Share/(a.Share-1)+1)
	for i, s := range others {
		if i%(a.Share-1) == 0 {
			names = append(names, streamName(0))
		}
		names = append(names, s)
	}
	return names
}

// measure reads the first stream as a whole, and its end. The last tenth of the events comes through the server, so that the
// newest are in its memory, as they are after a day's work.
func (a *Replay) measure(ctx context.Context, b *Bench, what string, names []store.Stream) error {
	last := a.Events / 10
	if err := b.start(ctx, a.Events-last, names); err != nil {
		return err
	}
	if _, err := b.fill(ctx, last, names); err != nil {
		return err
	}
	fs, err := b.replay(ctx, streamName(0))
	if err != nil {
		return err
	}
	missed, err := b.missed(ctx, streamName(0), a.Rounds)
	if err != nil {
		return err
	}
	fs = append(fs, latencies("100 missed ", missed)...)
	return b.report(ctx, fmt.Sprintf("replay: a stream that %s", what), nil, fs...)
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
func (b *Bench) missed(ctx context.Context, s store.Stream, rounds int) (*histogram, error) {
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
	if len(seqs) == 0 {
		return nil, fmt.Errorf("bench: the stream %s is empty", s)
	}
	h := new(histogram)
	n := min(100, len(seqs)-1)
	at := store.Cursor{Seq: seqs[len(seqs)-1-n]}
	for range rounds {
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
