package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidemark/client"
	"tidemark/internal/child"
	"tidemark/store"
)

var (
	crashRounds = flag.Int("crash.rounds", 0, "how often TestCrash kills the server; 0: 200, or 25 with -short")
	crashSeed   = flag.Uint64("crash.seed", 0, "seed of TestCrash; 0: a random one, which it logs")
)

// TestCrash kills the server at random moments while clients push and subscribers read, starts it again, and lets everybody
// go on. In the end nothing acknowledged may be lost, nothing doubled, no subscriber may have seen a gap, and the file must
// be sound. SIGKILL leaves the page cache alone: what a power cut does is store's power-loss test.
func TestCrash(t *testing.T) {
	rounds, seed := *crashRounds, *crashSeed
	if rounds == 0 {
		rounds = 200
		if testing.Short() {
			rounds = 25
		}
	}
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("go test -run TestCrash . -crash.seed %d -crash.rounds %d", seed, rounds)
	rng := rand.New(rand.NewPCG(seed, 0))
	srv := newServer(t, "--limit-inflight", "200", "--limit-mutations", "50")
	srv.start()
	h := newHistory()
	crowd := newCrowd(t, srv, h, rng)
	kills := 0
	for ; kills < rounds || h.answers.Load() < int64(rounds); kills++ {
		if kills == 20*rounds {
			t.Fatalf("%d answers in %d rounds: the test proves nothing", h.answers.Load(), kills)
		}
		if err := h.sleep(t.Context(), time.Duration(rng.Int64N(int64(50*time.Millisecond)))); err != nil {
			t.Fatal(err)
		}
		srv.kill()
		if kills%25 == 24 {
			srv.check()
		}
		srv.start()
	}
	crowd.finish()
	log := srv.readLog()
	for _, problem := range h.judge(log) {
		t.Error(problem)
	}
	srv.stop()
	srv.check()
	t.Logf("%d kills, %d events, %d acknowledged, %d sent again", kills, len(log), h.answers.Load(), crowd.resent())
}

// server is a tidemark server in a child process that keeps its port and its file across restarts.
type server struct {
	t    *testing.T
	opts child.Options
	proc *child.Server

	address string // where clients go; "": to the server itself
}

// tidemarkBinary is the test binary under the name of the program; see TestMain.
func tidemarkBinary(t *testing.T) string {
	exe, err := exec.LookPath("tidemark")
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func newServer(t *testing.T, args ...string) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := &server{t: t, opts: child.Options{Exe: tidemarkBinary(t), Listen: ln.Addr().String(),
		Data: filepath.Join(t.TempDir(), "data.tidemark"), Args: args}}
	t.Cleanup(func() {
		if s.proc != nil {
			s.proc.Kill()
		}
	})
	return s
}

func (s *server) start() {
	s.t.Helper()
	var err error
	if s.proc, err = child.Start(s.t.Context(), s.opts); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) kill() {
	s.t.Helper()
	select {
	case <-s.proc.Exited():
		s.t.Fatalf("the server ended by itself: %v\n%s", s.proc.Err(), s.proc.Stderr())
	default:
	}
	if err := s.proc.Kill(); err != nil {
		s.t.Fatal(err)
	}
	s.proc = nil
}

func (s *server) stop() {
	s.t.Helper()
	begin := time.Now()
	if err := s.proc.Stop(); err != nil {
		s.t.Fatal(err)
	}
	if d := time.Since(begin); d > 10*time.Second {
		s.t.Errorf("stopping took %v", d)
	}
	s.proc = nil
}

// check verifies the file of the stopped server.
func (s *server) check() {
	s.t.Helper()
	if out, err := exec.Command(s.opts.Exe, "check", s.opts.Data).CombinedOutput(); err != nil {
		s.t.Fatalf("check: %v\n%s", err, out)
	}
}

func (s *server) url() string {
	if s.address != "" {
		return s.address
	}
	return "http://" + s.opts.Listen
}

// client returns a client that comes back quickly.
func (s *server) client(o client.Options) *client.Client {
	s.t.Helper()
	o.URL, o.BackoffMin, o.BackoffMax = s.url(), time.Millisecond, 20*time.Millisecond
	c, err := client.New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// readLog returns every event of the log.
func (s *server) readLog() (log []store.Event) {
	s.t.Helper()
	c := s.client(client.Options{})
	defer c.Close()
	for u, err := range c.Updates(s.t.Context(), client.Spec{Filter: store.All, From: client.FromStart}) {
		if err != nil {
			s.t.Fatal(err)
		}
		log = append(log, u.Events...)
		if u.Kind == client.KindLive {
			break
		}
	}
	return log
}

// crowd is the writers and subscribers of one test.
type crowd struct {
	t       *testing.T
	h       *history
	clients []*client.Client
	subs    []*client.Subscription
	stop    atomic.Bool
	writers sync.WaitGroup
}

const crowdWriters = 4

func newCrowd(t *testing.T, srv *server, h *history, rng *rand.Rand) *crowd {
	c := &crowd{t: t, h: h}
	for _, f := range []string{"crash/0", "crash/**", "**"} {
		filter, err := store.ParseFilter(f)
		if err != nil {
			t.Fatal(err)
		}
		r := h.reader(filter)
		cl := srv.client(client.Options{})
		sub, err := cl.Subscribe(client.Spec{Filter: filter, From: client.FromStart}, r.update)
		if err != nil {
			t.Fatal(err)
		}
		c.clients, c.subs = append(c.clients, cl), append(c.subs, sub)
	}
	for i := range crowdWriters {
		cl := srv.client(client.Options{ID: store.NewID(), PushBytes: 1 + rng.IntN(20000)})
		c.clients = append(c.clients, cl)
		own := rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))
		c.writers.Go(func() { c.write(cl, i, own) })
	}
	return c
}

// write pushes until the end, mostly single mutations, now and then an atomic push over several streams.
func (c *crowd) write(cl *client.Client, writer int, rng *rand.Rand) {
	window := make(chan struct{}, 1+rng.IntN(100))
	for n := 0; !c.stop.Load(); {
		size := 1
		if rng.IntN(10) == 0 {
			size = 2 + rng.IntN(4)
		}
		ms := make([]store.Mutation, size)
		for i := range ms {
			ms[i] = store.Mutation{ID: store.NewID(), Stream: store.Stream(fmt.Sprintf("crash/%d", rng.IntN(5))),
				Type: "crash", Data: fmt.Appendf(nil, `{"w":%d,"n":%d,"pad":"%0*d"}`, writer, n, rng.IntN(300), 0)}
			if rng.IntN(3) == 0 {
				ms[i].Key, ms[i].Op = fmt.Sprint("k", rng.IntN(20)), store.OpPut
			}
			n++
		}
		c.h.asked(writer, ms)
		window <- struct{}{}
		if size > 1 {
			rs, err := cl.PushAtomic(context.Background(), ms...)
			c.h.answered(rs, err)
			<-window
			continue
		}
		err := cl.Send(context.Background(), &ms[0], func(r client.Result) {
			c.h.answered([]client.Result{r}, nil)
			<-window
		})
		if err != nil {
			c.h.answered(nil, err)
			return
		}
	}
}

// finish lets the writers end, and waits until everything is answered and everybody has read it.
func (c *crowd) finish() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	c.stop.Store(true)
	c.writers.Wait()
	for _, cl := range c.clients {
		if err := cl.Flush(ctx); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := c.h.everybodyHas(ctx); err != nil {
		c.t.Fatal(err)
	}
	for i, cl := range c.clients {
		cl.Close()
		if i < len(c.subs) {
			if st := c.subs[i].Stats(); st.Gaps > 0 || st.Resets > 0 {
				c.t.Errorf("a subscriber saw %+v", st)
			}
		}
	}
}

func (c *crowd) resent() (n uint64) {
	for _, cl := range c.clients {
		n += cl.Stats().Resent
	}
	return n
}

// errUnexpected is an answer that no mutation of these tests should get.
var errUnexpected = errors.New("unexpected answer")
