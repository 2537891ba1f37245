package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"tidemark/client"
	"tidemark/store"
)

// Common is what all scenarios have in common.
type Common struct {
	Server  string `help:"Measure this server instead of one started for the purpose." placeholder:"URL"`
	Dir     string `help:"Folder for data files. Default: the current one. A RAM disk would make figures meaningless." type:"path"`
	Payload int    `default:"200" help:"Bytes of each mutation's data."`
	IDs     string `name:"ids" enum:"v4,v7" default:"v7" help:"Kind of mutation ids: v7 (time-ordered) or v4 (random)."`
	Preload int    `help:"Events that the file has before anything is measured. They are written by the store itself, without a server, over the scenario's streams." placeholder:"N"`
	Data    string `env:"-" help:"File to begin with; with --preload it is made when missing. It stays as it is: measured is a copy." type:"path" placeholder:"FILE"`
	InPlace bool   `help:"Measure --data itself, not a copy; it then keeps what is measured."`
	Keep    bool   `help:"Leave the preloaded file, for --data of another run."`
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
	Memory   int64 // bytes of a control group for the server; 0: none
	Out      io.Writer
	Progress func(done, total int64) // nil: nobody looks
	Say      func(line string)       // tells what is going on; nil: nobody listens

	dir       string         // a folder of our own, removed in the end
	preloaded string         // the file of Preload, unless Data is given
	layout    []store.Stream // of the file of Preload; nil: the scenario's
	baseReady bool           // the file to begin with has been made or looked at
	events    int64          // in it
	server    *served        // nil with Common.Server
	results   []Result
	fail      func(error) // ends the run
}

// Run runs a scenario and cleans up after it.
func (b *Bench) Run(ctx context.Context, s Scenario) (err error) {
	if err := b.validate(); err != nil {
		return err
	}
	if b.Progress == nil {
		b.Progress = func(int64, int64) {}
	}
	if b.Say == nil {
		b.Say = func(string) {}
	}
	if b.dir, err = os.MkdirTemp(cmp.Or(b.Dir, "."), ".tidemark-bench-"); err != nil {
		return err
	}
	if b.Preload > 0 {
		b.preloaded = filepath.Join(b.dir, "preloaded.tidemark")
		if b.Keep {
			b.preloaded = filepath.Join(cmp.Or(b.Dir, "."), fmt.Sprintf("preloaded-%d-%s.tidemark", b.Preload, b.IDs))
		}
	}
	ctx, b.fail = context.WithCancelCause(ctx)
	defer b.fail(nil)
	err = b.profiled(func() error { return s.Run(ctx, b) })
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	return errors.Join(err, b.stopServer(), os.RemoveAll(b.dir))
}

func (b *Bench) validate() error {
	switch {
	case b.Server != "" && (b.Preload > 0 || b.Data != "" || b.Memory > 0):
		return errors.New("bench: --preload, --data and --memory are for a server of the benchmark's own; leave out --server")
	case b.InPlace && b.Data == "":
		return errors.New("bench: --in-place needs --data")
	case b.Keep && b.Preload == 0:
		return errors.New("bench: --keep needs --preload")
	}
	return nil
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

// start makes sure that there is a server with a fresh file; scenarios that measure several things call it for each. The file
// has n events over the streams in turn; with Preload or Data it begins as that file, whatever n is.
func (b *Bench) start(ctx context.Context, n int, streams []store.Stream) error {
	if b.Server != "" {
		_, err := b.fill(ctx, n, streams)
		return err
	}
	if err := b.stopServer(); err != nil {
		return err
	}
	path := b.dataFile()
	base, err := b.base(ctx, streams)
	switch {
	case err != nil || b.InPlace:
		// used as it is
	case base != "":
		err = errors.Join(remove(path), b.copyFile(ctx, base, path))
	case n > 0:
		err = errors.Join(remove(path), b.preload(ctx, path, n, streams))
	default:
		err = remove(path)
	}
	if err != nil {
		return err
	}
	return b.restart(ctx)
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// hasBase reports whether measurements begin with a file that was there before.
func (b *Bench) hasBase() bool { return b.Preload > 0 || b.Data != "" }

func (b *Bench) dataFile() string {
	if b.InPlace {
		return b.Data
	}
	return filepath.Join(b.dir, "bench.tidemark")
}

// restart starts the server on the file that is there.
func (b *Bench) restart(ctx context.Context) (err error) {
	b.server, err = b.launch(ctx, b.dataFile())
	return err
}

// ownServer returns an error when the scenario needs a server that it may start and kill.
func (b *Bench) ownServer() error {
	if b.Server != "" {
		return errors.New("bench: this scenario starts its own server; leave out --server")
	}
	return nil
}

func (b *Bench) stopServer() error { return b.endServer(false) }

func (b *Bench) endServer(kill bool) error {
	if b.server == nil {
		return nil
	}
	s := b.server
	b.server = nil
	return s.stop(kill)
}

func (b *Bench) url() string {
	if b.server != nil {
		return b.server.URL
	}
	return b.Server
}

// client returns a client of the server that has connected. Reconnecting is quick, for storms are measured elsewhere.
func (b *Bench) client(ctx context.Context, o client.Options) (*client.Client, error) {
	return connect(ctx, b.url(), o)
}

// connectWait is how long a server has to answer: a client goes on trying for ever.
const connectWait = 10 * time.Second

func connect(ctx context.Context, url string, o client.Options) (*client.Client, error) {
	o.URL, o.App = url, "tidemark-bench"
	c, err := client.New(o)
	if err != nil {
		return nil, err
	}
	first, cancel := context.WithTimeoutCause(ctx, connectWait, fmt.Errorf("bench: no server answers at %s", url))
	defer cancel()
	if err := c.Connect(first); err != nil {
		c.Close()
		return nil, cmp.Or(context.Cause(first), err)
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

// streamName names the nth stream of a measurement.
func streamName(n int) store.Stream { return store.Stream(fmt.Sprintf("bench/%d", n)) }
