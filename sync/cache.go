package sync

import "sync"

// cache bounds the encoded runs of all topics together: the oldest go first.
type cache struct {
	limit int64

	mu    sync.Mutex
	used  int64
	runs  []*run // oldest first
	first int    // index of the oldest
	dead  int    // of those from first on, about how many are gone already
}

// add takes in a run and drops the oldest ones beyond the limit; the newest always stays.
func (c *cache) add(r *run) {
	c.mu.Lock()
	c.used += r.size
	if r.dead { // its topic went before it came
		c.mu.Unlock()
		return
	}
	c.runs = append(c.runs, r)
	var out []*run
	for c.used > c.limit && c.first < len(c.runs)-1 {
		if old := c.pop(); old != nil {
			out = append(out, old)
		}
	}
	c.compact()
	c.mu.Unlock()
	for _, old := range out {
		old.pages.remove(old)
	}
}

// pop forgets the oldest run; nil: it was gone already.
func (c *cache) pop() *run {
	r := c.runs[c.first]
	c.runs[c.first] = nil
	c.first++
	if r.dead {
		c.dead = max(c.dead-1, 0)
		return nil
	}
	r.dead = true
	c.used -= r.size
	return r
}

// compact closes the gaps when they are more than half.
func (c *cache) compact() {
	if 2*(c.first+c.dead) < len(c.runs) {
		return
	}
	kept := c.runs[:0]
	for _, r := range c.runs[c.first:] {
		if !r.dead {
			kept = append(kept, r)
		}
	}
	clear(c.runs[len(kept):])
	c.runs, c.first, c.dead = kept, 0, 0
}

// drop forgets the runs of a topic that nobody follows any more.
func (c *cache) drop(p *pages) {
	p.mu.Lock()
	runs := p.runs
	p.runs, p.closed = nil, true
	p.mu.Unlock()
	c.forget(runs...)
}

// forget drops runs that are no longer in their topic.
func (c *cache) forget(runs ...*run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range runs {
		if !r.dead {
			r.dead = true
			c.dead++
			c.used -= r.size
		}
	}
	c.compact()
}

func (c *cache) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}
