package wsapi

import (
	"math/rand/v2"
	"runtime/debug"
	"time"

	"tidemark/internal/wire"
)

// sweep is the one goroutine that keeps time for all connections: they have neither timers nor read deadlines of their own.
func (s *Server) sweep() {
	defer s.sweeper.Done()
	t := time.NewTicker(s.tick)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
		s.mu.Lock()
		s.swept = append(s.swept[:0], s.conns...)
		s.mu.Unlock()
		for _, c := range s.swept {
			c.look(s.now())
		}
		clear(s.swept)
		s.tidy()
	}
}

// hoarding is how long a message may stand still that holds memory for which others wait.
const hoarding = 5 * time.Second

const (
	tidyAfter = 2 * time.Second // of silence
	tidyCount = 500             // connections that were opened
)

// tidy returns the garbage of many handshakes to the system once everybody is silent: until the next collection, which may
// never come on an idle server, it is more than what the connections themselves need.
func (s *Server) tidy() {
	now := s.now()
	if traffic := s.stats.received.Load() + s.stats.sent.Load(); traffic != s.traffic {
		s.traffic, s.quiet = traffic, now
		return
	}
	if opened := s.stats.opened.Load(); opened-s.tidied >= tidyCount && now-s.quiet > int64(tidyAfter) {
		s.tidied = opened
		debug.FreeOSMemory()
	}
}

// look ends the connection when its time is up, and sends a ping when one is due.
func (c *conn) look(now int64) {
	beat := int64(c.srv.heartbeat)
	alive, due := c.alive.Load(), c.due.Load()
	switch {
	case !c.greeted.Load() && now-c.opened > int64(c.srv.opts.HelloTimeout):
		c.end(wire.CloseProtocol)
	case alive != 0 && now-alive > 2*beat:
		c.end(wire.CloseSilent)
	case due != 0 && now > due:
		c.end(wire.CloseSilent)
	case alive != 0 && now-alive > int64(hoarding) && c.holds.Load() && c.srv.claims.Load() > 0:
		c.end(wire.CloseOverloaded)
	case now >= c.nextPing:
		c.nextPing = now + beat
		c.mu.Lock()
		c.ping = true
		c.startWriter()
		c.mu.Unlock()
	}
}

// firstPing spreads the pings of connections that were opened at the same time.
func (s *Server) firstPing(now int64) int64 {
	return now + int64(s.heartbeat)/2 + rand.Int64N(int64(s.heartbeat)/2+1)
}
