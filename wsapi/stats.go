package wsapi

import (
	"maps"
	"sync"
	"sync/atomic"
)

// counters are the figures of a server; Stats reads them.
type counters struct {
	opened, refused, panics, received, sent, bytesOut atomic.Int64

	mu     sync.Mutex
	closes map[uint16]int64
}

// closed counts a connection that ended. Codes that a peer chose are counted together, for there are many of them.
func (c *counters) closed(code uint16) {
	if code > closeNoStatus && code < 4000 && code != 1007 && code != 1009 {
		code = closeNormal
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closes == nil {
		c.closes = make(map[uint16]int64)
	}
	c.closes[code]++
}

// Stats are figures since the start, and of now where they say so.
type Stats struct {
	Conns    int              // now
	Opened   int64            // connections
	Refused  int64            // upgrade requests
	Panics   int64            // connections that ended with a panic: each is a bug
	Received int64            // messages
	Sent     int64            // messages
	BytesOut int64            // with frame headers and after compression
	Closes   map[uint16]int64 // connections that ended, by close code; 0: without a close frame
}

// Stats returns the figures.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	conns := len(s.conns)
	s.mu.Unlock()
	c := &s.stats
	c.mu.Lock()
	closes := maps.Clone(c.closes)
	c.mu.Unlock()
	return Stats{Conns: conns, Opened: c.opened.Load(), Refused: c.refused.Load(), Panics: c.panics.Load(),
		Received: c.received.Load(), Sent: c.sent.Load(), BytesOut: c.bytesOut.Load(), Closes: closes}
}
