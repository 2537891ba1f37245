package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tidemark/client"
	"tidemark/store"
)

// Storm measures clients that all come back at once, each having missed some events.
type Storm struct {
	Clients []int `default:"1000,5000" help:"Numbers of clients to measure with."`
	Missed  int   `default:"100" help:"Events that each has missed."`
	Streams []int `default:"1,1000" help:"Numbers of streams that the clients are spread over."`
}

// Run implements Scenario.
func (a *Storm) Run(ctx context.Context, b *Bench) error {
	for _, streams := range a.Streams {
		for _, clients := range a.Clients {
			if err := a.measure(ctx, b, clients, streams); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *Storm) measure(ctx context.Context, b *Bench, clients, n int) error {
	names := streams(n)
	if err := b.start(ctx, 0, names); err != nil {
		return err
	}
	// One event in every stream for the cursors to stand on, then what is missed, the streams in turn.
	first, err := b.fill(ctx, n, names)
	if err != nil {
		return err
	}
	if _, err := b.fill(ctx, n*a.Missed, names); err != nil {
		return err
	}
	fs, err := a.reconnect(ctx, b, clients, names, first)
	if err != nil {
		return err
	}
	return b.report(ctx, fmt.Sprintf("storm: %d clients, %d missed events each, %d streams", clients, a.Missed, n), nil, fs...)
}

// reconnect measures from the first dial until every client is live. The clients are made before; dialling, handshake,
// hello and replay count.
func (a *Storm) reconnect(ctx context.Context, b *Bench, clients int, names []store.Stream, first store.Seq) ([]Figure, error) {
	cs := make([]*client.Client, clients)
	for i := range cs {
		c, err := client.New(client.Options{URL: b.url(), App: "tidemark-bench"})
		if err != nil {
			return nil, err
		}
		cs[i] = c
	}
	rs := make([]*reader, clients)
	begin, cpu := time.Now(), b.cpu()
	for i, c := range cs {
		stream := i % len(names)
		at := store.Cursor{Seq: first + store.Seq(stream)} // the one event of the stream before those that were missed
		r, err := b.subscribeOn(c, client.Spec{Filter: store.Only(names[stream]), Since: &at}, nil)
		if err != nil {
			return nil, err
		}
		rs[i] = r
	}
	var err error
	for _, r := range rs {
		if e := r.waitLive(ctx); e != nil {
			err = e
			break
		}
	}
	fs := append([]Figure{{"all caught up", time.Since(begin).Seconds(), "s"}}, cpu.since("client", int64(clients))...)
	for _, r := range rs {
		if n := int(r.events.Load()); err == nil && n != a.Missed {
			err = fmt.Errorf("bench: a client got %d events, not %d", n, a.Missed)
		}
	}
	return fs, errors.Join(err, closeReaders(rs))
}
