package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"tidemark/internal/origin"
	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

// Log is what the API needs of a log; *store.Store is one.
type Log interface {
	eventsync.Reader
	Head() store.Seq
	Append(ctx context.Context, p *store.Push) error
	DocumentsAt(f store.Filter, at store.Seq, after store.DocKey, bytes int) (store.DocPage, error)
	Doc(st store.Stream, key string) (store.Doc, bool, error)
	DocAt(st store.Stream, key string, at store.Seq) (store.Doc, bool, error)
	Streams(prefix string, after store.Stream, limit int) ([]store.StreamInfo, error)
	HoldTrim(after store.Seq) (release func())
}

// Live is what the API needs of the engine.
type Live interface {
	// Wait returns nil once the filter has something after a seq, or the context's error.
	Wait(ctx context.Context, f store.Filter, after store.Seq) error
	// Signal passes compact JSON to those who are subscribed to the stream now.
	Signal(st store.Stream, by string, data []byte)
}

// Options configure the API. Log, Live and Authenticate are needed; zero values of the others mean the defaults.
type Options struct {
	Log          Log
	Live         Live
	Authenticate eventsync.Authenticator
	Limits       wire.Limits
	Ready        func() error  // nil, or why appends are refused now; default: always ready
	Note         func() string // what else the operator should know of a server that is ready; default: nothing
	Origins      []string      // of pages in browsers that may call the API, as --origin lists them; default: none
	Rates        *Rates        // of mutations and signals; default: any number
	Heartbeat    time.Duration // between comments on a silent stream of server-sent events; default 15 s
	Stall        time.Duration // a write that makes no progress for so long ends the answer; default 30 s
	Version      string        // told in the OpenAPI description; default "dev"
	Logger       *slog.Logger  // default: slog.Default

	// Mount hangs other handlers below the API, which leaves everything but CORS to them. A path that ends in "/" stands
	// for all that begin with it.
	Mount map[string]http.Handler
}

// API is the handler. It is safe for concurrent use.
type API struct {
	Options
	pages   origin.Policy
	openapi []byte
	ending  context.Context
	end     context.CancelFunc

	followers sync.WaitGroup // readers of server-sent events that have left the HTTP server
}

// Close is Drain, and waits for the readers that the HTTP server does not know of. The log must still be open.
func (a *API) Close() {
	a.Drain()
	a.followers.Wait()
}

// Drain ends the answers that wait for more: long polls get what there is, streams of server-sent events end. It is
// idempotent, and called before the server's Shutdown, which waits for them.
func (a *API) Drain() { a.end() }

// New returns the handler, which must be the root of its server.
func New(o Options) (*API, error) {
	if o.Log == nil || o.Live == nil || o.Authenticate == nil {
		return nil, errors.New("httpapi: Log, Live and Authenticate are needed")
	}
	if o.Heartbeat < 0 || o.Stall < 0 || o.Rates.negative() {
		return nil, errors.New("httpapi: options: a limit is negative")
	}
	o.Limits = o.Limits.WithDefaults()
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.Stall == 0 {
		o.Stall = 30 * time.Second
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Ready == nil {
		o.Ready = func() error { return nil }
	}
	if o.Note == nil {
		o.Note = func() string { return "" }
	}
	pages, err := origin.New(o.Origins)
	if err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	a := &API{Options: o, pages: pages}
	a.openapi = describe(o.Version)
	a.ending, a.end = context.WithCancel(context.Background())
	return a, nil
}

// route is one resource: what its path begins with, whether a stream's name follows, and a handler per method.
type route struct {
	path    string
	named   bool // the rest of the path is the name of a stream
	open    bool // no token is asked for
	methods map[string]func(*call) error
}

var routes = []route{
	{path: "/v1/events/", named: true, methods: map[string]func(*call) error{"GET": (*call).getEvents, "POST": (*call).postEvents}},
	{path: "/v1/docs/", named: true, methods: map[string]func(*call) error{"GET": (*call).getDocs}},
	{path: "/v1/signals/", named: true, methods: map[string]func(*call) error{"POST": (*call).postSignal}},
	{path: "/v1/streams", methods: map[string]func(*call) error{"GET": (*call).getStreams}},
	{path: "/v1/openapi.json", open: true, methods: map[string]func(*call) error{"GET": (*call).getOpenAPI}},
	{path: "/healthz", open: true, methods: map[string]func(*call) error{"GET": (*call).getHealth}},
	{path: "/readyz", open: true, methods: map[string]func(*call) error{"GET": (*call).getReady}},
}

func (r *route) allow() string {
	methods := []string{"OPTIONS"}
	for _, m := range []string{"GET", "HEAD", "POST"} {
		if r.methods[m] != nil || m == "HEAD" && r.methods["GET"] != nil {
			methods = append(methods, m)
		}
	}
	return strings.Join(methods, ", ")
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.keepOut(w, r) || a.cors(w, r) {
		return
	}
	if h := a.mounted(r.URL.Path); h != nil {
		h.ServeHTTP(w, r)
		return
	}
	c := &call{API: a, w: w, r: r}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		w.Header().Set("Tidemark-Log", a.Log.LogID().String())
	}
	if err := a.dispatch(c); err != nil {
		c.fail(err)
	}
}

func (a *API) mounted(path string) http.Handler {
	if h := a.Mount[path]; h != nil {
		return h
	}
	best := ""
	for p := range a.Mount {
		if strings.HasSuffix(p, "/") && strings.HasPrefix(path, p) && len(p) > len(best) {
			best = p
		}
	}
	return a.Mount[best]
}

func (a *API) dispatch(c *call) error {
	rt, name := find(c.r.URL.Path)
	if rt == nil {
		return fault(store.CodeNotFound, "there is nothing at this path")
	}
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	h := rt.methods[method]
	if method == http.MethodOptions {
		c.w.Header().Set("Allow", rt.allow())
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if h == nil {
		c.w.Header().Set("Allow", rt.allow())
		return &statusError{http.StatusMethodNotAllowed, fault(store.CodeUnsupported, "this path does not take "+method)}
	}
	if err := c.prepare(rt, name); err != nil {
		return err
	}
	return h(c)
}

func find(path string) (*route, string) {
	for i := range routes {
		rt := &routes[i]
		if path == rt.path && !rt.named {
			return rt, ""
		}
		if rest, ok := strings.CutPrefix(path, rt.path); ok && rt.named {
			return rt, rest
		}
	}
	return nil, ""
}
