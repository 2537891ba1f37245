package durablestreams

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"tidemark/store"
	eventsync "tidemark/sync"
)

// Path is where the handler wants to be mounted.
const Path = "/v1/stream/"

// Log is what this protocol needs of a log; *store.Store is one.
type Log interface {
	eventsync.Log
	Head() store.Seq
	Doc(st store.Stream, key string) (store.Doc, bool, error)
	Streams(prefix string, after store.Stream, limit int) ([]store.StreamInfo, error)
	// KeepAfter keeps trimming from going beyond a seq until the next call. A log that others trim lets nothing go before the
	// first one: store.Options.KeepAll.
	KeepAfter(seq store.Seq)
}

// Options configure a Server. Log and Authenticate are needed; zero values of the others mean the defaults.
type Options struct {
	Log          Log
	Authenticate eventsync.Authenticator

	LongPoll time.Duration // how long a long-poll waits for data; default 20 s
	SSELife  time.Duration // a reader of server-sent events is let go after it or up to an eighth earlier; default 60 s
	Stall    time.Duration // a write that makes no progress for so long ends the answer; default 30 s

	MaxAppend   int // bytes of one append; default 1 MiB
	MaxMessage  int // bytes of one JSON message, and of one event of bytes; default 256 KiB, the store's limit
	MaxMessages int // messages of one append; default 10,000
	MaxStreams  int // streams whose state is kept in memory; default 16,384

	// Charge counts n writes of a request against its caller, and returns 0, or how long to wait before they may come;
	// default: any number may.
	Charge func(r *http.Request, subject string, n int) (wait time.Duration)

	// WebhookLoopback lets webhooks go to this machine, over plain HTTP: for development only, because whoever may create
	// subscriptions can then make the server call its own neighbours.
	WebhookLoopback bool

	Logger *slog.Logger // default: slog.Default
}

// Server is the handler. It is safe for concurrent use.
type Server struct {
	Options
	marks   *marks
	streams registry
	waiters waiters
	subs    *subscriptions
	ending  context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	// forking is held by whoever locks more than one stream, so that two of them never wait for each other.
	forking sync.Mutex
}

// New brings the view over the producers up to the log and starts what runs in the background. It registers with the log's
// Watch, so call it before the first Append.
func New(o Options) (*Server, error) {
	if o.Log == nil || o.Authenticate == nil {
		return nil, errors.New("durablestreams: Log and Authenticate are needed")
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Server{Options: o}
	s.ending, s.end = context.WithCancel(context.Background())
	s.streams = registry{server: s, known: make(map[store.Stream]*stream)}
	s.waiters = waiters{topics: make(map[store.Stream]*topic)}
	var err error
	if s.marks, err = openMarks(o.Log); err != nil {
		return nil, err
	}
	if err = s.streams.loadMortal(); err != nil {
		return nil, err
	}
	if s.subs, err = openSubscriptions(s); err != nil {
		return nil, err
	}
	o.Log.Watch(s.watch)
	s.running.Go(s.housekeep)
	s.running.Go(s.subs.run)
	return s, nil
}

func (o *Options) validate() error {
	if o.LongPoll < 0 || o.SSELife < 0 || o.Stall < 0 || o.MaxAppend < 0 || o.MaxMessage < 0 || o.MaxMessages < 0 || o.MaxStreams < 0 {
		return errors.New("durablestreams: options: a limit is negative")
	}
	for _, d := range []struct {
		have *time.Duration
		want time.Duration
	}{{&o.LongPoll, 20 * time.Second}, {&o.SSELife, time.Minute}, {&o.Stall, 30 * time.Second}} {
		if *d.have == 0 {
			*d.have = d.want
		}
	}
	for _, n := range []struct {
		have *int
		want int
	}{{&o.MaxAppend, 1 << 20}, {&o.MaxMessage, 256 << 10}, {&o.MaxMessages, 10_000}, {&o.MaxStreams, 16 << 10}} {
		if *n.have == 0 {
			*n.have = n.want
		}
	}
	if o.Charge == nil {
		o.Charge = func(*http.Request, string, int) time.Duration { return 0 }
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return nil
}

// Drain ends answers that wait for more. It is idempotent, and called before the HTTP server's Shutdown, which waits for them.
func (s *Server) Drain() { s.end() }

// CloseTime is how long Close waits for the log to take what is only in memory.
const CloseTime = time.Second

// Close ends waiting readers and what runs in the background, and writes down what is only in memory. The log must still be
// open; call it after the HTTP server was shut down.
func (s *Server) Close() error {
	s.end()
	s.subs.close()
	s.running.Wait()
	if !s.marks.worth() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), CloseTime)
	defer cancel()
	return s.marks.save(ctx)
}

// watch runs on the log's own goroutine: it only folds, and wakes who waits.
func (s *Server) watch(c store.Commit) {
	s.marks.fold(c.Events)
	s.marks.letGo()
	s.waiters.wake(c.Events)
	s.subs.note(c.Events)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Server: s, w: w, r: r}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Tidemark-Log", s.Log.LogID().String())
	if err := c.dispatch(); err != nil {
		c.fail(err)
	}
}

// reserved is the first segment of paths that are not streams.
const reserved = "__ds"

func (c *call) dispatch() error {
	name, ok := strings.CutPrefix(c.r.URL.Path, Path)
	if !ok {
		return refuse(http.StatusNotFound, "not_found", "there is nothing at this path")
	}
	if name == reserved || strings.HasPrefix(name, reserved+"/") {
		return c.control(strings.TrimPrefix(strings.TrimPrefix(name, reserved), "/"))
	}
	switch c.r.Method {
	case http.MethodPut, http.MethodPost, http.MethodGet, http.MethodHead, http.MethodDelete:
	case http.MethodOptions:
		return c.options()
	default:
		c.w.Header().Set("Allow", methods)
		return refuse(http.StatusMethodNotAllowed, "unsupported", "a stream does not take "+c.r.Method)
	}
	if err := c.identify(); err != nil {
		return err
	}
	if err := c.locate(name); err != nil {
		return err
	}
	switch c.r.Method {
	case http.MethodPut:
		return c.put()
	case http.MethodPost:
		return c.post()
	case http.MethodDelete:
		return c.delete()
	case http.MethodHead:
		return c.head()
	}
	return c.get()
}

const methods = "GET, HEAD, POST, PUT, DELETE, OPTIONS"

// options answers a request that asks what a stream takes. What browsers ask for before a call from another origin is
// answered before it comes here.
func (c *call) options() error {
	h := c.w.Header()
	h.Set("Allow", methods)
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-None-Match, Stream-Seq, Stream-TTL, Stream-Expires-At, "+
		"Stream-Closed, Stream-Forked-From, Stream-Fork-Offset, Stream-Fork-Sub-Offset, Producer-Id, Producer-Epoch, Producer-Seq")
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// housekeep ends streams whose time has come, writes down when streams with a sliding life were used, and moves the
// checkpoint.
func (s *Server) housekeep() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.ending.Done():
			return
		case <-tick.C:
		}
		s.streams.expire(time.Now())
		if s.marks.due(time.Now()) {
			if err := s.marks.save(s.ending); err != nil && s.ending.Err() == nil {
				s.Logger.Debug("durablestreams: checkpoint", "err", err)
			}
		}
	}
}
