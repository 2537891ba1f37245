package client

import "tidemark/store"

// chain proves that nothing is missing: within a stream, the prev of each event is the seq of the one before it. It knows
// the seq that the subscription began from and the last event of every stream since then.
type chain struct {
	start   place
	wide    bool
	last    place                  // of the one stream; zero: none since start
	streams map[store.Stream]place // of a wide filter's streams
}

// place is where an event stands, and its id where that is known.
type place struct {
	seq store.Seq
	id  store.ID
}

// link is what the chain says of an event.
type link uint8

const (
	linkNext   link = iota // the next of its stream
	linkSeen               // it came before
	linkBroken             // something between it and the last one is missing
)

// begin starts anew: every stream's next event follows what was at start.
func (c *chain) begin(start place) {
	c.start, c.last = start, place{}
	clear(c.streams)
}

func (c *chain) lastOf(s store.Stream) place {
	if c.wide {
		return c.streams[s]
	}
	return c.last
}

// add judges an event and remembers it when it is the next.
func (c *chain) add(e *store.Event) link {
	last := c.lastOf(e.Stream).seq
	switch {
	case last == 0 && e.Seq <= c.start.seq, e.Seq <= last:
		return linkSeen
	case last == 0 && e.Prev > c.start.seq, last != 0 && e.Prev != last:
		return linkBroken
	}
	at := place{e.Seq, e.ID}
	if !c.wide {
		c.last = at
		return linkNext
	}
	if c.streams == nil {
		c.streams = make(map[store.Stream]place)
	}
	c.streams[e.Stream] = at
	return linkNext
}

// resume returns from where to subscribe again after a broken link: the last event of that stream that was applied, or
// else where it all began.
func (c *chain) resume(s store.Stream) place {
	if last := c.lastOf(s); last.seq != 0 {
		return last
	}
	return c.start
}
