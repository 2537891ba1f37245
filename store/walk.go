package store

import "errors"

// A stream is read forward without an index of its own: skip links lead from its head back to the block of events that
// holds the cursor; then block after block is emitted, each either by scanning the log between its ends, where the stream
// is dense, or by following prev links. Which is cheaper was measured: a scanned record costs a twentieth of a looked-up one.
const denseFactor = 20

// streamFromFile reads a page of one stream whose state is h.
func (r *reader) streamFromFile(name Stream, h headState) (Page, error) {
	if h.floor > r.after {
		return Page{}, &TrimmedError{Floor: h.floor}
	}
	if h.last <= r.after {
		return Page{Through: r.head}, nil
	}
	ends, err := r.blocks(h)
	if err != nil {
		return Page{}, err
	}
	low := r.after
	for i := len(ends) - 1; i >= 0; i-- {
		more, err := r.block(name, low, ends[i])
		if err != nil {
			return Page{}, err
		}
		if !more {
			return r.pager.page(r.head), nil
		}
		low = ends[i]
	}
	if low >= min(h.last, r.head) {
		return r.pager.page(r.head), nil
	}
	end, err := r.pushEnd(low)
	if err != nil {
		return Page{}, err
	}
	if end > low { // the far boundary is inside an atomic push
		if _, err := r.scanBlock(name, low, end); err != nil {
			return Page{}, err
		}
	}
	return r.pager.page(end), nil
}

// blocks returns the upper ends of the stream's blocks above the cursor, the lowest last. Beyond a far boundary only that
// boundary is known: the page ends there at the latest, and the next page finds the blocks above it.
func (r *reader) blocks(h headState) ([]Seq, error) {
	top, near := h.last, h.skip1
	var rec record
	for far := h.skip2; far > r.after; far = rec.Skip2 {
		if err := r.get(far, &rec); err != nil {
			return nil, err
		}
		r.s.counters.skipsFar.Add(1)
		top, near = far, rec.Skip1
	}
	ends := []Seq{top}
	for near > r.after {
		if near != top {
			ends = append(ends, near)
		}
		if err := r.get(near, &rec); err != nil {
			return nil, err
		}
		if rec.Skip1 >= near {
			return nil, &CorruptError{Seq: near, Err: errors.New("its skip link does not lead back")}
		}
		r.s.counters.skipsNear.Add(1)
		near = rec.Skip1
	}
	return ends, nil
}

// block emits the stream's events in (low, high]; it reports whether the page goes on.
func (r *reader) block(name Stream, low, high Seq) (bool, error) {
	if high-low <= denseFactor*skipBlock {
		r.s.counters.denseScans.Add(1)
		return r.scanBlock(name, low, high)
	}
	r.s.counters.hopReads.Add(1)
	return r.hopBlock(low, high)
}

func (r *reader) scanBlock(name Stream, low, high Seq) (bool, error) {
	c := r.log.cursor()
	defer func() { r.s.counters.readAheads.Add(c.ahead.asked) }()
	for seq, v := c.seek(low + 1); v != nil && seq <= min(high, r.head); seq, v = c.next() {
		st, ok := peekStream(v)
		if ok && st != name {
			if err := r.check(seq, v); err != nil {
				return false, err
			}
			continue
		}
		more, err := r.take(seq, v)
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// hopBlock follows prev links down from high, keeping only where the events are, then emits upwards. What the tail has is
// found there without a search, a checksum or a copy.
func (r *reader) hopBlock(low, high Seq) (bool, error) {
	tail, high := r.backInTail(low, high)
	records, err := r.backInFile(low, high)
	if err != nil {
		return false, err
	}
	r.pager.expect(len(records) + len(tail))
	for i := len(records) - 1; i >= 0; i-- {
		if records[i].seq > r.head {
			return true, nil
		}
		more, err := r.take(records[i].seq, records[i].v)
		if err != nil || !more {
			return false, err
		}
	}
	return r.emit(tail)
}

// backInFile follows prev links from high down to the cursor low; the newest record comes first.
func (r *reader) backInFile(low, high Seq) (chain []rawRecord, err error) {
	c := r.log.cursor()
	var rec record
	for seq := high; seq > low; seq = rec.Prev {
		at, v := c.seek(seq)
		if v == nil || at != seq {
			return nil, &CorruptError{Seq: seq, Err: errors.New("the event is missing")}
		}
		if err := r.parse(seq, v, &rec); err != nil {
			return nil, err
		}
		chain = append(chain, rawRecord{seq, v})
	}
	return chain, nil
}

// take adds the record to the page, in memory of its own.
func (r *reader) take(seq Seq, v []byte) (bool, error) {
	var rec record
	if err := r.parse(seq, v, &rec); err != nil {
		return false, err
	}
	rec.clone()
	return r.pager.add(&rec.Event)
}
