package wsapi

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"

	"tidemark/internal/origin"
	"tidemark/internal/wire"
	"tidemark/store"
	eventsync "tidemark/sync"
)

// Server is the http.Handler of the WebSocket. Its methods may be called concurrently.
type Server struct {
	opts      Options
	log       *slog.Logger
	origins   origin.Policy
	limits    wire.Limits
	heartbeat time.Duration
	connect   func(wake func(), token string) session
	budget    budget
	plain     *gws.Upgrader // for clients that name no subprotocol
	named     *gws.Upgrader
	stats     counters
	claims    atomic.Int64 // connections that wait for the budget
	started   time.Time    // where the clock begins

	tick    time.Duration
	stop    chan struct{}
	sweeper sync.WaitGroup
	work    sync.WaitGroup // the read and write goroutines

	// The sweeper's own.
	swept   []*conn
	traffic int64 // messages, when it last looked
	quiet   int64 // since when there is no more
	tidied  int64 // connections that had been opened then

	mu     sync.Mutex // guards what follows
	conns  []*conn
	places int                  // taken, by handshakes under way, too
	from   map[netip.Prefix]int // the same by address, where that is limited
	rush   rush
	closed bool
}

// budget is what bounds the memory of frames on their way in: the engine's *Budget.
type budget interface {
	Acquire(ctx context.Context, n int) error
	Release(n int)
}

// New makes a server for the clients of an engine, whose Encoder is NewEncoder's. It starts one goroutine, which ends with
// Shutdown.
func New(engine *eventsync.Engine, o Options) (*Server, error) {
	connect := func(wake func(), token string) session { return engine.Connect(wake, token) }
	return newServer(connect, engine.Budget(), wire.Limits(engine.Limits()), engine.Heartbeat(), o)
}

func newServer(connect func(func(), string) session, b budget, l wire.Limits, heartbeat time.Duration, o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	origins, err := origin.New(o.Origins)
	if err != nil {
		return nil, fmt.Errorf("wsapi: %w", err)
	}
	s := &Server{opts: o, log: o.Logger, origins: origins, limits: l, heartbeat: heartbeat, connect: connect, budget: b,
		started: time.Now(), stop: make(chan struct{}), from: make(map[netip.Prefix]int)}
	s.plain, s.named = s.upgrader(nil), s.upgrader([]string{wire.Subprotocol})
	s.tick = min(heartbeat, o.HelloTimeout, o.MessageTimeout, 8*time.Second) / 8
	s.sweeper.Add(1)
	go s.sweep()
	return s, nil
}

// upgrader makes gws's half of the handshake. gws is told of compression so that it answers the offer, but never sees a
// compressed frame.
func (s *Server) upgrader(protocols []string) *gws.Upgrader {
	return gws.NewUpgrader(events{}, &gws.ServerOption{
		ParallelGolimit:    1, // of a channel that is made in any case
		ReadMaxPayloadSize: s.limits.Frame,
		ReadBufferSize:     gwsBuffer,
		SubProtocols:       protocols,
		HandshakeTimeout:   s.opts.WriteTimeout,
		NewSession:         func() gws.SessionStorage { return nil },
		PermessageDeflate:  gws.PermessageDeflate{Enabled: s.opts.Compression, PoolSize: 1},
		Logger:             gwsLogger{s.log},
	})
}

// gwsBuffer is the size of gws's own read buffer, the least that there is: the guard has a better one.
const gwsBuffer = 16

type gwsLogger struct{ log *slog.Logger }

// Error implements gws.Logger.
func (l gwsLogger) Error(v ...any) { l.log.Error("wsapi: gws failed", "err", v) }

// events is what gws calls, always on the read goroutine of the connection.
type events struct{}

func owner(socket *gws.Conn) *conn { return socket.NetConn().(*guard).keeper.(*conn) }

func (events) OnOpen(*gws.Conn)                             {}
func (events) OnClose(socket *gws.Conn, err error)          { owner(socket).closed(err) }
func (events) OnPing(socket *gws.Conn, payload []byte)      { owner(socket).pinged(payload) }
func (events) OnPong(*gws.Conn, []byte)                     {}
func (events) OnMessage(socket *gws.Conn, msg *gws.Message) { owner(socket).message(msg) }
func (s *Server) upgrade(g *guard, hs *handshake) (*gws.Conn, error) {
	u := s.plain
	if hs.protocol {
		u = s.named
	}
	return u.UpgradeFromConn(g, bufio.NewReaderSize(g, gwsBuffer), hs.request())
}

// ServeHTTP takes the connection over, or answers why not.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	hs, f := s.check(r)
	if f == nil {
		f = s.take(r.RemoteAddr)
	}
	if f != nil {
		s.stats.refused.Add(1)
		s.log.Debug("wsapi: refused", "status", f.status, "why", f.text, "remote", r.RemoteAddr)
		f.write(w)
		return
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.giveBack(r.RemoteAddr)
		s.stats.refused.Add(1)
		s.log.Error("wsapi: cannot take the connection over", "err", err)
		http.Error(w, "cannot upgrade", http.StatusInternalServerError)
		return
	}
	if rw.Reader.Buffered() > 0 { // frames before our answer: nobody who waits for it does that
		s.giveBack(r.RemoteAddr)
		s.stats.refused.Add(1)
		s.reject(nc)
		return
	}
	s.tune(nc)
	s.open(nc, &hs)
}

// reject answers on a socket that was taken over already.
func (s *Server) reject(nc net.Conn) {
	_ = nc.SetDeadline(time.Now().Add(lingering))
	_, _ = nc.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
	_ = nc.Close()
}

// tune forgets what net/http has set up, and bounds the kernel's memory.
func (s *Server) tune(nc net.Conn) {
	_ = nc.SetDeadline(time.Time{})
	if b, ok := nc.(interface{ SetWriteBuffer(int) error }); ok {
		_ = b.SetWriteBuffer(s.opts.SendBuffer)
	}
}

// take takes a place for one more connection of an address, unless there is none.
func (s *Server) take(addr string) *refusal {
	from, known := network(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || s.opts.Conns > 0 && s.places >= s.opts.Conns:
		return full(http.StatusServiceUnavailable, store.CodeOverloaded, "no further connection can be taken now")
	case known && s.opts.Handshakes > 0 && !s.rush.admit(from, s.opts.Handshakes, s.now()):
		f := full(http.StatusTooManyRequests, store.CodeRateLimited, "this address opens connections too fast")
		f.header[1] = "1"
		return f
	case known && s.opts.ConnsPerAddress > 0 && s.from[from] >= s.opts.ConnsPerAddress:
		return full(http.StatusTooManyRequests, store.CodeRateLimited, "there are too many connections from this address")
	}
	s.places++
	if known && s.opts.ConnsPerAddress > 0 {
		s.from[from]++
	}
	return nil
}

// rush counts the handshakes of each address in the second that runs; the one before is forgotten as a whole.
type rush struct {
	second int64
	count  map[netip.Prefix]int
}

// admit counts one more, unless there were limit already.
func (r *rush) admit(from netip.Prefix, limit int, now int64) bool {
	if second := now / int64(time.Second); second != r.second || r.count == nil {
		r.second, r.count = second, make(map[netip.Prefix]int)
	}
	if r.count[from] >= limit {
		return false
	}
	r.count[from]++
	return true
}

func full(status int, code store.Code, text string) *refusal {
	f := refuse(status, code, text)
	f.header = [2]string{"Retry-After", "5"}
	return f
}

// giveBack gives a place back.
func (s *Server) giveBack(addr string) {
	from, known := network(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places--
	if !known || s.opts.ConnsPerAddress == 0 {
		return
	}
	if s.from[from]--; s.from[from] == 0 {
		delete(s.from, from)
	}
}

// network returns what counts as one address: of IPv6 what one customer gets.
func network(addr string) (netip.Prefix, bool) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return netip.Prefix{}, false
	}
	ip, bits := at.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	return p, err == nil
}

// enter adds a connection; false: the server is closed.
func (s *Server) enter(c *conn) bool {
	now := s.now()
	c.opened, c.nextPing = now, s.firstPing(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	c.index = len(s.conns)
	s.conns = append(s.conns, c)
	s.work.Add(1)
	s.stats.opened.Add(1)
	return true
}

// leave takes a connection out; its read goroutine ends.
func (s *Server) leave(c *conn) {
	s.mu.Lock()
	last := s.conns[len(s.conns)-1]
	s.conns[c.index], last.index = last, c.index
	s.conns[len(s.conns)-1] = nil
	s.conns = s.conns[:len(s.conns)-1]
	s.mu.Unlock()
	s.giveBack(c.guard.RemoteAddr().String())
	s.work.Done()
}

// now returns the time since the start in nanoseconds, at least 1: 0 stands for never.
func (s *Server) now() int64 { return int64(time.Since(s.started)) + 1 }

// Shutdown takes no further connections and returns when those that are open have ended: the engine's Drain ends them, with
// a goodbye. What is left when the context ends is closed with 1001 at once. It may be called more than once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.work.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		s.mu.Lock()
		for _, c := range s.conns {
			c.end(wire.CloseShutdown)
		}
		s.mu.Unlock()
		<-done // within Grace
	}
	if first {
		close(s.stop)
	}
	s.sweeper.Wait()
	return err
}
