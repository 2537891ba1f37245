package main

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// cutter is a TCP proxy that cuts every connection after a random number of bytes, in the middle of whatever is under way.
type cutter struct {
	ln     net.Listener
	target string
	mean   int64
	mu     sync.Mutex
	rng    *rand.Rand
	open   map[net.Conn]struct{}
	off    bool
	cuts   int
	work   sync.WaitGroup
}

func newCutter(t *testing.T, target string, mean int64, rng *rand.Rand) *cutter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{ln: ln, target: target, mean: mean, rng: rng, open: map[net.Conn]struct{}{}}
	c.work.Go(c.accept)
	t.Cleanup(c.close)
	return c
}

func (c *cutter) url() string { return "ws://" + c.ln.Addr().String() }

func (c *cutter) accept() {
	for {
		in, err := c.ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.target)
		if err != nil {
			in.Close()
			continue
		}
		c.mu.Lock()
		c.open[in], c.open[out] = struct{}{}, struct{}{}
		// Both directions: requests, too, end in the middle.
		up, down := c.rng.Int64N(c.mean), c.rng.Int64N(2*c.mean)
		if c.off {
			up, down = 1<<60, 1<<60
		}
		c.mu.Unlock()
		c.work.Go(func() { c.carry(out, in, up) })
		c.work.Go(func() { c.carry(in, out, down) })
	}
}

// carry copies n bytes; then both sides are cut, sometimes with a reset.
func (c *cutter) carry(dst, src net.Conn, n int64) {
	io.CopyN(dst, src, n)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, is := c.open[dst]; is {
		c.cuts++
	}
	for _, conn := range []net.Conn{dst, src} {
		if c.rng.IntN(3) == 0 {
			conn.(*net.TCPConn).SetLinger(0)
		}
		conn.Close()
		delete(c.open, conn)
	}
}

// cut is the number of connections cut so far.
func (c *cutter) cut() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cuts
}

// calm lets new connections live.
func (c *cutter) calm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = true
}

func (c *cutter) close() {
	c.ln.Close()
	c.mu.Lock()
	for conn := range c.open {
		conn.Close()
	}
	c.mu.Unlock()
	c.work.Wait()
}
