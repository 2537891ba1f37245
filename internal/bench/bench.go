package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"tidemark/client"
	"tidemark/internal/child"
	"tidemark/store"
)

// Common is what all scenarios have in common.
type Common struct {
	Server  string `help:"Measure this server instead of one started for the purpose." placeholder:"URL"`
	Dir     string `help:"Folder for data files. Default: a temporary one, which a RAM disk would make meaningless." type:"path"`
	Payload int    `default:"200" help:"Bytes of each mutation's data."`
	IDs     string `name:"ids" enum:"v4,v7" default:"v7" help:"Kind of mutation ids: v7 (time-ordered) or v4 (random)."`
	JSON    bool   `name:"json" help:"Print results as JSON, one a line."`
	Profile string `help:"Write a CPU profile of the load generator to this file." type:"path" placeholder:"FILE"`
}

// Scenario is one measurement.
type Scenario interface {
	Run(ctx context.Context, b *Bench) error
}

// Bench is what a scenario works with: a server, and a place for results.
type Bench struct {
	Common
	Out      io.Writer
	Progress func(done, total int64) // never nil

	dir    string
	temp   bool
	server *child.Server // nil with Common.Server
}

// Figure is one measured number.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Result is what one measurement brought.
type Result struct {
	Name    string   `json:"name"`
	Figures []Figure `json:"figures"`
	Go      string   `json:"go"`
	CPUs    int      `json:"cpus"`
	At      string   `json:"at"`
}

// Run runs a scenario and cleans up after it.
func (b *Bench) Run(ctx context.Context, s Scenario) error {
	if b.Progress == nil {
		b.Progress = func(int64, int64) {}
	}
	b.dir = b.Dir
	if b.dir == "" {
		dir, err := os.MkdirTemp(".", ".tidemark-bench-")
		if err != nil {
			return err
		}
		b.dir, b.temp = dir, true
	}
	err := b.profiled(func() error { return s.Run(ctx, b) })
	return errors.Join(err, b.stop())
}

// profiled runs fn, and profiles it where that was asked for.
func (b *Bench) profiled(fn func() error) error {
	if b.Profile == "" {
		return fn()
	}
	f, err := os.Create(b.Profile)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return fn()
}

// start makes sure that there is a server with a fresh file; scenarios that measure several things call it for each.
func (b *Bench) start(ctx context.Context, args ...string) error {
	if b.Server != "" {
		return nil
	}
	if err := b.stopServer(); err != nil {
		return err
	}
	path := b.dataFile()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return b.restart(ctx, args...)
}

func (b *Bench) dataFile() string { return filepath.Join(b.dir, "bench.tidemark") }

// restart starts the server on the file that is there.
func (b *Bench) restart(ctx context.Context, args ...string) (err error) {
	b.server, err = child.Start(ctx, child.Options{Data: b.dataFile(), Args: args})
	return err
}

// ownServer returns an error when the scenario needs a server that it may start and kill.
func (b *Bench) ownServer() error {
	if b.Server != "" {
		return errors.New("bench: this scenario starts its own server; leave out --server")
	}
	return nil
}

func (b *Bench) stopServer() error {
	if b.server == nil {
		return nil
	}
	s := b.server
	b.server = nil
	return s.Stop()
}

func (b *Bench) stop() error {
	err := b.stopServer()
	if b.temp {
		err = errors.Join(err, os.RemoveAll(b.dir))
	}
	return err
}

func (b *Bench) url() string {
	if b.server != nil {
		return b.server.URL
	}
	return b.Server
}

// client returns a client of the server that has connected. Reconnecting is quick, for storms are measured elsewhere.
func (b *Bench) client(ctx context.Context, o client.Options) (*client.Client, error) {
	o.URL, o.App = b.url(), "tidemark-bench"
	c, err := client.New(o)
	if err != nil {
		return nil, err
	}
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// clients returns n connected clients; close ends all of them.
func (b *Bench) clients(ctx context.Context, n int) (cs []*client.Client, closeAll func(), err error) {
	closeAll = func() {
		for _, c := range cs {
			go c.Close()
		}
		for _, c := range cs {
			c.Close()
		}
	}
	for range n {
		c, err := b.client(ctx, client.Options{})
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		cs = append(cs, c)
	}
	return cs, closeAll, nil
}

// report prints a result. With a server of its own it adds what the server holds.
func (b *Bench) report(ctx context.Context, name string, fs ...Figure) error {
	if b.server != nil {
		fs = append(fs, Figure{"server RSS, mapped file aside", float64(b.server.RSS()) / 1e6, "MB"})
		if st, err := b.server.Stats(ctx); err == nil {
			fs = append(fs,
				Figure{"checkpoint lag", float64(st.LagEvents), "events"},
				Figure{"log", float64(st.LogBytes) / 1e6, "MB"},
				Figure{"file", float64(st.FileBytes) / 1e6, "MB"})
		}
	}
	r := Result{name, fs, runtime.Version(), runtime.NumCPU(), time.Now().UTC().Format(time.RFC3339)}
	if b.JSON {
		return json.NewEncoder(b.Out).Encode(r)
	}
	fmt.Fprintf(b.Out, "%s\n", name)
	for _, f := range fs {
		fmt.Fprintf(b.Out, "  %-28s %12s %s\n", f.Name, number(f.Value), f.Unit)
	}
	return nil
}

// number prints four significant digits, without an exponent.
func number(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 100:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.4f", v)
}

func latencies(prefix string, h *histogram) []Figure {
	ms := func(q float64) float64 { return h.quantile(q).Seconds() * 1000 }
	return []Figure{{prefix + "p50", ms(0.5), "ms"}, {prefix + "p99", ms(0.99), "ms"}, {prefix + "max", ms(1), "ms"}}
}

// streamName names the nth stream of a measurement.
func streamName(n int) store.Stream { return store.Stream(fmt.Sprintf("bench/%d", n)) }
