package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tidemark/client"
	"tidemark/store"
)

// Idle measures the server's memory for subscribed connections that nothing happens on.
type Idle struct {
	Connections int           `default:"5000" help:"Connections."`
	Settle      time.Duration `default:"5s" help:"How long to wait before looking."`
}

// Run implements Scenario.
func (a *Idle) Run(ctx context.Context, b *Bench) error {
	if err := b.ownServer(); err != nil {
		return err
	}
	if err := b.start(ctx, 1000, streams(100)); err != nil {
		return err
	}
	if err := sleep(ctx, a.Settle); err != nil {
		return err
	}
	before := b.server.RSS()
	names := streams(100)
	rs, err := b.subscribers(ctx, a.Connections, func(i int) client.Spec {
		return client.Spec{Filter: store.Only(names[i%len(names)]), From: client.FromNow}
	}, nil)
	if err != nil {
		return err
	}
	if err = b.wait(ctx, a.Settle); err == nil {
		each := float64(b.server.RSS()-before) / float64(a.Connections)
		err = b.report(ctx, fmt.Sprintf("idle: %d subscribed connections", a.Connections), nil, Figure{"RSS of each", each / 1000, "kB"})
	}
	return errors.Join(err, closeReaders(rs))
}
