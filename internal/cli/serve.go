package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"tidemark/store"
)

const (
	// DrainTime is how long clients have to take their goodbye and their last answers. What follows has bounds of its own
	// (wsapi.Grace, respond.Grace, durablestreams.CloseTime): all of them, and closing the file, fit into StopTime.
	DrainTime = 5 * time.Second

	// StopTime is the promise: so long after SIGTERM the process is gone.
	StopTime = 10 * time.Second

	headerTimeout = 5 * time.Second // against clients that send their request byte by byte
	idleTimeout   = 2 * time.Minute // of HTTP connections between requests
	maxHeader     = 16 << 10        // against memory held by headers
)

// Config is what a server is built from: the settings of serve.
type Config struct {
	Data      string
	Limits    Limits
	Retention store.Retention
	Tail      int64 // bytes of the newest events that are kept in memory
	Queue     int64 // bytes of mutations that wait to be written
	Budget    int64 // bytes of pages and frames in flight, over all connections
	Heartbeat time.Duration
	Origins   []string // of browsers, beside the server's own
	Compress  bool
	Conns     Conns
	MinApp    map[string]string
	LongPoll  time.Duration // how long a long-poll of Durable Streams waits
	HTTPRate  float64       // mutations and signals a second that one caller may send over HTTP; 0: any number
	HTTPBurst int           // how many at once

	WebhookLoopback bool // webhooks of Durable Streams may go to this machine

	Logger *slog.Logger
	OnFail func(error)                                  // the store has stopped for good
	Verify func(ctx context.Context, path string) error // checks a backup in a process of its own
}

// Limits are what clients are held to; zero fields mean defaults.
type Limits struct{ Frame, Mutations, Inflight, Subs, Data, Doc, Presence int }

// Conns are bounds of WebSocket connections; zero fields do not bound.
type Conns struct {
	Open       int // at once
	PerAddress int // at once, of one address
	Handshakes int // in a second, of one address
}

// Server is a server that was built and is not listening yet.
type Server struct {
	Handler http.Handler
	Store   *store.Store
	Drain   func(context.Context) error // takes no new work and says goodbye to every client
	Close   func() error
}

// Builder puts a server together.
type Builder func(Config) (*Server, error)

type serveCmd struct {
	Config kong.ConfigFlag `help:"TOML file with any of these settings, such as listen = \"127.0.0.1:9000\"." placeholder:"FILE"`

	Listen   string   `default:"127.0.0.1:8080" help:"Address to listen on."`
	Insecure bool     `help:"Listen on other than loopback addresses although nobody has to authenticate: whoever reaches the port may read and write everything."`
	Data     string   `default:"data.tidemark" help:"Data file; it is made when missing." type:"path"`
	Origin   []string `help:"Web origin, beside the server's own, whose pages may connect (https://app.example.org), and whose name a proxy on this machine may pass on. May be repeated."`
	Compress bool     `help:"Offer permessage-deflate to WebSocket clients. Costs memory and time for each connection."`

	Heartbeat time.Duration     `default:"25s" help:"Time between pings to clients."`
	MinApp    map[string]string `help:"Oldest version of an app that may connect (board=2.1)." placeholder:"APP=VERSION"`

	Retention struct {
		Age   time.Duration `help:"Trim events older than this from the log; documents stay. 0: never."`
		Bytes byteSize      `help:"Trim the oldest events when the log is larger. 0: never." placeholder:"SIZE"`
		Count uint64        `help:"Trim the oldest events when there are more. 0: never."`
	} `embed:"" prefix:"retention-"`

	Memory struct {
		Tail   byteSize `default:"32MiB" help:"Memory for the newest events."`
		Queue  byteSize `default:"16MiB" help:"Memory for mutations that wait to be written."`
		Budget byteSize `default:"64MiB" help:"Memory for pages and frames in flight, over all connections."`
	} `embed:"" prefix:"memory-"`

	Limit struct {
		Frame     byteSize `default:"1MiB" help:"Largest frame."`
		Mutations int      `default:"1000" help:"Most mutations of a push."`
		Inflight  int      `default:"1000" help:"Most unanswered mutations of a connection."`
		Subs      int      `default:"1000" help:"Most subscriptions of a connection."`
		Data      byteSize `default:"256KiB" help:"Largest data of a mutation."`
		Doc       byteSize `default:"1MiB" help:"Largest document."`
		Presence  int      `default:"1000" help:"Most members of a stream's presence."`

		Conns           int `help:"Most WebSocket connections. 0: as many as there are open files for."`
		ConnsPerAddress int `help:"Most WebSocket connections of one address (of IPv6: one /64 network). Behind a proxy all have its address. 0: any number."`
		Handshakes      int `help:"Most WebSocket connections that one address may open in a second. 0: any number."`
	} `embed:"" prefix:"limit-"`

	HTTP struct {
		Rate  float64 `help:"Mutations and signals a second that one caller may send over HTTP; more get 429. 0: any number."`
		Burst int     `help:"How many of them at once. 0: one second's worth."`
	} `embed:"" prefix:"http-"`

	Durable struct {
		LongPoll        time.Duration `default:"20s" help:"How long a long-poll of Durable Streams waits for data."`
		WebhookLoopback bool          `help:"Let webhooks go to this machine over plain HTTP. For development: whoever may subscribe can make the server call its neighbours."`
	} `embed:"" prefix:"durable-"`

	LogLevel  slog.Level `default:"info" help:"Least level that is logged: debug, info or error."`
	LogFormat string     `enum:"text,json" default:"text" help:"text or json."`
}

// Run serves until SIGTERM or an interrupt; then it drains and returns nil.
func (c *serveCmd) Run(ctx context.Context, sys *system) error {
	if err := cmp.Or(c.checkAddress(), c.checkLimits(), c.checkTimes()); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	defer ln.Close()
	failed := make(chan error, 1)
	conf := c.config(sys, func(err error) { failed <- err })
	if err := recoverFile(ctx, sys, c.Data, conf.Logger); err != nil {
		return err
	}
	srv, err := sys.build(conf)
	if err != nil {
		return err
	}
	defer srv.Close()
	control, err := listenControl(srv.Store)
	if err != nil {
		conf.Logger.Error("no control socket; backups of the running server are not possible", "err", err)
	} else {
		defer control.Close()
		drain := srv.Drain
		srv.Drain = func(ctx context.Context) error { // a backup is given up first: it reads the file that is to be closed
			return errors.Join(control.Close(), drain(ctx))
		}
	}
	web := &http.Server{Handler: srv.Handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(conf.Logger.Handler(), slog.LevelDebug)}
	served := make(chan error, 1)
	go func() { served <- web.Serve(ln) }()
	c.announce(sys, ln.Addr(), srv)
	select {
	case <-ctx.Done():
		return c.stop(sys, web, srv)
	case err := <-failed:
		return fmt.Errorf("%w: %w", store.ErrFailed, err)
	case err := <-served:
		return err
	}
}

// checkAddress refuses to open an unauthenticated server to others by accident.
func (c *serveCmd) checkAddress() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return usagef("--listen %s: %w", c.Listen, err)
	}
	ip := net.ParseIP(host)
	if c.Insecure || host == "localhost" || (ip != nil && ip.IsLoopback()) {
		return nil
	}
	return usagef("%s can be reached from other machines, and this server lets everybody read and write everything; "+
		"listen on 127.0.0.1 behind a proxy that authenticates, or say --insecure", c.Listen)
}

// eventHead is more than what stands around the data of one event in a frame.
const eventHead = 4 << 10

// maxFrame is far above what is useful: frames of that size are held in memory as a whole.
const maxFrame = 256 << 20

// checkLimits refuses limits that cannot be meant. Those that are told to clients have no value that says "none".
func (c *serveCmd) checkLimits() error {
	l := &c.Limit
	for name, n := range map[string]int{"frame": int(l.Frame), "mutations": l.Mutations, "inflight": l.Inflight, "subs": l.Subs,
		"data": int(l.Data), "doc": int(l.Doc), "presence": l.Presence} {
		if n <= 0 {
			return usagef("--limit-%s must be above 0", name)
		}
	}
	for name, n := range map[string]int{"limit-conns": l.Conns, "limit-conns-per-address": l.ConnsPerAddress,
		"limit-handshakes": l.Handshakes, "http-burst": c.HTTP.Burst} {
		if n < 0 {
			return usagef("--%s must not be negative", name)
		}
	}
	switch {
	case l.Mutations > l.Inflight:
		return usagef("--limit-mutations %d must not exceed --limit-inflight %d", l.Mutations, l.Inflight)
	case l.Frame > maxFrame:
		return usagef("--limit-frame %v must not exceed %v", l.Frame, byteSize(maxFrame))
	case l.Data+eventHead > l.Frame:
		return usagef("--limit-frame %v is too small: one event of --limit-data %v, and %v around it, must fit in", l.Frame, l.Data, byteSize(eventHead))
	case c.HTTP.Rate < 0:
		return usagef("--http-rate must not be negative")
	}
	return nil
}

func (c *serveCmd) checkTimes() error {
	switch {
	case c.Heartbeat < time.Second:
		return usagef("--heartbeat %v must be 1s at least", c.Heartbeat)
	case c.Durable.LongPoll <= 0:
		return usagef("--durable-long-poll must be above 0")
	case c.Retention.Age < 0:
		return usagef("--retention-age must not be negative")
	}
	return nil
}

func (c *serveCmd) config(sys *system, onFail func(error)) Config {
	o := &slog.HandlerOptions{Level: c.LogLevel}
	var h slog.Handler = slog.NewTextHandler(sys.err, o)
	if c.LogFormat == "json" {
		h = slog.NewJSONHandler(sys.err, o)
	}
	return Config{
		Data: c.Data,
		Limits: Limits{int(c.Limit.Frame), c.Limit.Mutations, c.Limit.Inflight, c.Limit.Subs,
			int(c.Limit.Data), int(c.Limit.Doc), c.Limit.Presence},
		Retention:       store.Retention{Age: c.Retention.Age, Bytes: int64(c.Retention.Bytes), Count: c.Retention.Count},
		Tail:            int64(c.Memory.Tail),
		Queue:           int64(c.Memory.Queue),
		Budget:          int64(c.Memory.Budget),
		Heartbeat:       c.Heartbeat,
		Origins:         c.Origin,
		Compress:        c.Compress,
		Conns:           Conns{c.Limit.Conns, c.Limit.ConnsPerAddress, c.Limit.Handshakes},
		MinApp:          c.MinApp,
		LongPoll:        c.Durable.LongPoll,
		HTTPRate:        c.HTTP.Rate,
		HTTPBurst:       c.HTTP.Burst,
		WebhookLoopback: c.Durable.WebhookLoopback,
		Logger:          slog.New(h),
		OnFail:          onFail,
		Verify:          sys.verify,
	}
}

// announce tells where the server is, and one thing to do next.
func (c *serveCmd) announce(sys *system, addr net.Addr, srv *Server) {
	me := "tidemark"
	if exe, err := os.Executable(); err == nil && strings.Contains(filepath.ToSlash(exe), "/go-build") {
		me = "go run ."
	}
	more := ""
	if addr.String() != "127.0.0.1:8080" {
		more = " --server http://" + addr.String()
	}
	fmt.Fprintf(sys.out, "tidemark %s\n", Version)
	fmt.Fprintf(sys.out, "  listening  http://%s  (WebSocket: ws://%s/v1/ws)\n", addr, addr)
	fmt.Fprintf(sys.out, "  data       %s\n", c.Data)
	fmt.Fprintf(sys.out, "  log        %s  head %d\n", srv.Store.LogID(), srv.Store.Head())
	fmt.Fprintf(sys.out, "  try        %s push room/1 '\"hello\"' --type said%s\n", me, more)
	fmt.Fprintf(sys.out, "             %s tail '**' --since 0%s\n", me, more)
}

// stop drains: no new work, what is committed is answered, clients are told when to come back.
func (c *serveCmd) stop(sys *system, web *http.Server, srv *Server) error {
	fmt.Fprintln(sys.err, "tidemark: stopping")
	ctx, cancel := context.WithTimeout(context.Background(), DrainTime)
	defer cancel()
	err := errors.Join(srv.Drain(ctx), web.Shutdown(ctx))
	if errors.Is(err, context.DeadlineExceeded) {
		fmt.Fprintln(sys.err, "tidemark: some clients did not take their goodbye in time; cutting them off")
		web.Close()
		err = nil // those who did not take their goodbye lose nothing: what was acknowledged is on disk
	}
	return errors.Join(err, srv.Close())
}
