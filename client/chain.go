package client

import "tidemark/store"

// chain proves that nothing is missing: within a stream, the prev of each event is the seq of the one before it. It knows
// the seq that the subscription began from and the last event of every stream since then.
type chain struct {
	start   store.Seq
	wide    bool
	last    store.Seq                  // of the one stream; 0: none since start
	streams map[store.Stream]store.Seq // of a wide filter's streams
}

// link is what the chain says of an event.
type link uint8

const (
	linkNext   link = iota // the next of its stream
	linkSeen               // it came before
	linkBroken             // something between it and the last one is missing
)

// begin starts anew: every stream's next event follows what was at seq start.
func (c *chain) begin(start store.Seq) {
	c.start, c.last = start, 0
	clear(c.streams)
}

// add judges an event and remembers it when it is the next.
func (c *chain) add(e *store.Event) link {
	last := c.last
	if c.wide {
		last = c.streams[e.Stream]
	}
	switch {
	case last == 0 && e.Seq <= c.start, e.Seq <= last:
		return linkSeen
	case last == 0 && e.Prev > c.start, last != 0 && e.Prev != last:
		return linkBroken
	}
	if !c.wide {
		c.last = e.Seq
		return linkNext
	}
	if c.streams == nil {
		c.streams = make(map[store.Stream]store.Seq)
	}
	c.streams[e.Stream] = e.Seq
	return linkNext
}

// resume returns from where to subscribe again after a broken link: the last event of that stream that was applied, or
// else where it all began.
func (c *chain) resume(s store.Stream) store.Seq {
	last := c.last
	if c.wide {
		last = c.streams[s]
	}
	if last != 0 {
		return last
	}
	return c.start
}
