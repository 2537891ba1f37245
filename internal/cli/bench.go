package cli

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"

	"tidemark/internal/bench"
)

type benchCmd struct {
	bench.Common
	Memory byteSize `env:"-" help:"Run the server in a memory control group of this size. Linux, root." placeholder:"SIZE"`

	Append  benchAppend  `cmd:"" default:"withargs" help:"Durable appends: clients that keep mutations outstanding (the default)."`
	Latency benchLatency `cmd:"" help:"One client, one mutation at a time, beside the disk's fdatasync."`
	Replay  benchReplay  `cmd:"" help:"One client that gets a whole log, and a hundred missed events."`
	Fanout  benchFanout  `cmd:"" help:"One writer as fast as it goes, many subscribers."`
	Arrival benchArrival `cmd:"" help:"Publish to last arrival at many subscribers."`
	Storm   benchStorm   `cmd:"" help:"Many clients that reconnect at once."`
	Idle    benchIdle    `cmd:"" help:"Memory of idle connections."`
	Start   benchStart   `cmd:"" help:"Time from process start to serving."`
	Stopped benchStopped `cmd:"" help:"Subscribers that stop reading."`
	Growth  benchGrowth  `cmd:"" help:"Appends to a small and to a large file."`
	HTTP    benchHTTP    `cmd:"" name:"http" help:"Durable Streams: appends, a read of everything, server-sent events."`
	All     benchAll     `cmd:"" help:"Every row of the table in docs/benchmarks.md, as Markdown; goes on where it was cut short."`
}

// The scenarios as commands.
type (
	benchAppend  struct{ bench.Append }
	benchLatency struct{ bench.Latency }
	benchReplay  struct{ bench.Replay }
	benchFanout  struct{ bench.Fanout }
	benchArrival struct{ bench.Arrival }
	benchStorm   struct{ bench.Storm }
	benchIdle    struct{ bench.Idle }
	benchStart   struct{ bench.Start }
	benchStopped struct{ bench.Stopped }
	benchGrowth  struct{ bench.Growth }
	benchHTTP    struct{ bench.HTTP }
	benchAll     struct{ bench.All }
)

func (c *benchCmd) measure(ctx context.Context, sys *system, s bench.Scenario) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGPIPE) // nobody reads any more: the server and its folder go before we do
	defer stop()
	p := sys.progress("bench")
	defer p.done()
	b := &bench.Bench{Common: c.Common, Memory: int64(c.Memory), Out: sys.out, Progress: p.show, Say: func(line string) {
		p.done()
		fmt.Fprintf(sys.err, "tidemark: %s\n", line)
	}}
	return b.Run(ctx, s)
}

func (s *benchAppend) Run(ctx context.Context, sys *system, c *commands) error {
	return c.Bench.measure(ctx, sys, &s.Append)
}

func (s *benchLatency) Run(ctx context.Context, sys *system, c *commands) error {
	return c.Bench.measure(ctx, sys, &s.Latency)
}

func (s *benchReplay) Run(ctx context.Context, sys *system, c *commands) error {
	return c.Bench.measure(ctx, sys, &s.Replay)
}

func (s *benchFanout) Run(ctx context.Context, sys *system, c *commands) error {
	return c.Bench.measure(ctx, sys, &s.Fanout)
}

func (s *benchArrival) Run(ctx context.Context, sys *system, c *commands) error {
	return c.Bench.measure(ctx, sys, &s.Arrival)
}

func (s *benchStorm) Run(ctx context.Context, sys *system, c *commands) error {
	return c.Bench.measure(ctx, sys, &s.Storm)
}

func (s *benchIdle) Run(ctx context.Context, sys *system, c *commands) error {
	return c.Bench.measure(ctx, sys, &s.Idle)
}

func (s *benchStart) Run(ctx context.Context, sys *system, c *commands) error {
	return c.Bench.measure(ctx, sys, &s.Start)
}

func (s *benchStopped) Run(ctx context.Context, sys *system, c *commands) error {
	return c.Bench.measure(ctx, sys, &s.Stopped)
}

func (s *benchGrowth) Run(ctx context.Context, sys *system, c *commands) error {
	return c.Bench.measure(ctx, sys, &s.Growth)
}

func (s *benchAll) Run(ctx context.Context, sys *system, c *commands) error {
	return c.Bench.measure(ctx, sys, &s.All)
}

func (s *benchHTTP) Run(ctx context.Context, sys *system, c *commands) error {
	return c.Bench.measure(ctx, sys, &s.HTTP)
}
