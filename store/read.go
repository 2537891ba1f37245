package store

import (
	"encoding/binary"
	"errors"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// DefaultPage is the size of a page whose limit names none, in bytes.
const DefaultPage = 256 << 10

// Read returns the events of f after a seq, oldest first, up to the limit and the published head. The events are shared
// and must not be changed. A *TrimmedError tells that some of them are no longer in the log; a *CorruptError names an
// event that cannot be read. A page may be empty and still have More: then reading goes on from Through.
func (s *Store) Read(f Filter, after Seq, lim PageLimit) (Page, error) {
	page, err := s.read(f, after, lim)
	if _, trimmed := errors.AsType[*TrimmedError](err); trimmed {
		s.counters.trimmedReads.Add(1)
	}
	return page, err
}

func (s *Store) read(f Filter, after Seq, lim PageLimit) (Page, error) {
	if lim.Bytes <= 0 {
		lim.Bytes = DefaultPage
	}
	r := s.newReader(f, after, lim)
	switch {
	case s.gate.Load():
		return Page{}, ErrFailed
	case after >= r.head:
		return Page{Through: after}, nil
	case r.inTail() && r.known:
		s.counters.tailReads.Add(1)
		return r.fromTail()
	}
	s.counters.fileReads.Add(1)
	page, err := r.inTx()
	if errors.Is(err, errScan) { // waits for its turn with no transaction open, which would pin pages
		s.scans <- struct{}{}
		r.scan = true
		page, err = r.inTx()
		<-s.scans
	}
	if errors.Is(err, errTailOnly) { // the stream has nothing below the tail
		r.tx, r.log = nil, logBucket{}
		return r.fromTail()
	}
	return page, err
}

// inTx reads the page in a transaction of its own.
func (r *reader) inTx() (page Page, err error) {
	err = r.s.viewLog(func(tx *bolt.Tx, log logBucket) (err error) {
		r.tx, r.log = tx, log
		page, err = r.fromFile()
		return err
	})
	return page, err
}

// reader reads one page. It takes a consistent picture of what is published first; what is committed later is not seen.
type reader struct {
	s     *Store
	f     Filter
	after Seq
	pager pager
	head  Seq
	floor Seq
	tail  tailView
	strm  headState   // of an exact filter
	known bool        // strm is in the overlay, or not needed
	over  []namedHead // of a prefix: its streams in the overlay with news
	many  bool        // they are too many to be listed
	scan  bool        // it is the reader's turn to scan the log

	tx  *bolt.Tx
	log logBucket
}

func (s *Store) newReader(f Filter, after Seq, lim PageLimit) *reader {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := &reader{s: s, f: f, after: after, head: s.Head(), floor: s.floor.seq, tail: s.tail.view()}
	r.pager = pager{r: r, lim: lim, events: lim.Into[:0]}
	if name, exact := f.Stream(); !exact {
		r.known = true
		if f != All && after < r.head && !r.inTail() {
			r.listNews()
		}
	} else if e := s.heads[name]; e != nil {
		r.strm, r.known = e.headState, true
	}
	return r
}

// inTail reports whether the page can be read from memory. Below the floor the file tells whether a prefix has lost anything.
func (r *reader) inTail() bool {
	return r.tail.covers(r.after+1) && (r.floor <= r.after || !r.f.Wide())
}

var (
	errTailOnly = errors.New("store: read the tail")
	errScan     = errors.New("store: scan the log")
)

// pager collects the events of a page and knows when it is full.
type pager struct {
	r      *reader
	lim    PageLimit
	events []Event
	bytes  int
	stop   Seq // the page ends here, which is never inside an atomic push; 0: not yet full
}

// wireOverhead is about what the wire adds to an event's own bytes.
const wireOverhead = 160

func (e *Event) wireSize() int {
	return wireOverhead + len(e.Stream) + len(e.Type) + len(e.Key) + len(e.By) + len(e.Data)
}

// expect makes room for n more events, or as many as the page can have.
func (p *pager) expect(n int) {
	p.events = slices.Grow(p.events, min(n, 1+max(p.lim.Bytes-p.bytes, 0)/wireOverhead))
}

// add takes the next event, unless the page ended before it. It reports whether the page goes on.
func (p *pager) add(e *Event) (bool, error) {
	if p.stop != 0 && e.Seq > p.stop {
		return false, nil
	}
	p.events = append(p.events, *e)
	p.bytes += e.wireSize()
	if p.stop == 0 && (p.bytes >= p.lim.Bytes || (p.lim.Events > 0 && len(p.events) >= p.lim.Events)) {
		p.stop = e.Seq
		if e.Flags.Has(FlagMore) {
			end, err := p.r.pushEnd(e.Seq)
			if err != nil {
				return false, err
			}
			p.stop = end
		}
	}
	return p.stop == 0 || e.Seq < p.stop, nil
}

// page closes the page; reached is how far the log was read if the page did not fill up.
func (p *pager) page(reached Seq) Page {
	if p.stop != 0 {
		p.r.s.counters.pagesShrunk.Add(1)
		return Page{Events: p.events, Through: p.stop, More: p.stop < p.r.head}
	}
	return Page{Events: p.events, Through: reached, More: reached < p.r.head}
}

// pushEnd returns the last seq of the atomic push that the event at seq belongs to.
func (r *reader) pushEnd(seq Seq) (Seq, error) {
	for ; seq < r.head; seq++ {
		more, err := r.hasMore(seq)
		if err != nil || !more {
			return seq, err
		}
	}
	return seq, nil
}

func (r *reader) hasMore(seq Seq) (bool, error) {
	if e := r.tail.get(seq); e != nil {
		return e.Flags.Has(FlagMore), nil
	}
	if r.tx == nil {
		return false, nil
	}
	var rec record
	err := r.get(seq, &rec)
	return rec.Flags.Has(FlagMore), err
}

// get reads one record of the file; its bytes are only valid within the transaction.
func (r *reader) get(seq Seq, rec *record) error {
	v := r.log.get(seq)
	if v == nil {
		return &CorruptError{Seq: seq, Err: errors.New("the event is missing")}
	}
	return r.parse(seq, v, rec)
}

func (r *reader) parse(seq Seq, v []byte, rec *record) error {
	if r.s.opts.faults.noCRC {
		v = resealed(seq, v)
	}
	return parseRecord(seq, v, rec)
}

// check looks at a record that a scan passes over.
func (r *reader) check(seq Seq, v []byte) error {
	if r.s.opts.faults.noCRC {
		return nil
	}
	return checkRecord(seq, v)
}

// backSteps is how far a stream is followed back in the tail before a scan is cheaper.
const backSteps = 4096

// fromTail reads a page from memory.
func (r *reader) fromTail() (Page, error) {
	name, exact := r.f.Stream()
	if exact {
		if r.strm.floor > r.after {
			return Page{}, &TrimmedError{Floor: r.strm.floor}
		}
		if r.strm.last <= r.after {
			return Page{Through: r.head}, nil
		}
		if chain, rest := r.backInTail(r.after, r.strm.last); rest <= r.after {
			r.pager.expect(len(chain))
			_, err := r.emit(chain)
			return r.pager.page(r.head), err
		}
	}
	var err error
	r.tail.scan(r.after+1, r.head, func(e *Event) bool {
		if exact && e.Stream != name || !exact && !r.f.Match(e.Stream) {
			return true
		}
		var more bool
		more, err = r.pager.add(e)
		return more && err == nil
	})
	return r.pager.page(r.head), err
}

// backInTail follows prev links from high down to the cursor low, as far as the tail goes and backSteps allow; the newest
// event comes first. rest is where to go on; at or below low: the chain is whole.
func (r *reader) backInTail(low, high Seq) (chain []*Event, rest Seq) {
	for rest = high; rest > low && len(chain) < backSteps; {
		e := r.tail.get(rest)
		if e == nil {
			break
		}
		chain = append(chain, e)
		rest = e.Prev
	}
	return chain, rest
}

// emit adds a chain that runs from the newest event to the oldest; it reports whether the page goes on.
func (r *reader) emit(chain []*Event) (bool, error) {
	for i := len(chain) - 1; i >= 0; i-- {
		if chain[i].Seq > r.head {
			break
		}
		if more, err := r.pager.add(chain[i]); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// fromFile reads a page from the log's bucket.
//
// Trimming may have passed since the reader took its picture: floors are those of the transaction.
func (r *reader) fromFile() (Page, error) {
	mark, err := getFloor(r.tx)
	if err != nil {
		return Page{}, err
	}
	trimmed := mark.seq > r.floor
	r.floor = mark.seq
	name, exact := r.f.Stream()
	if !exact {
		return r.wideFromFile()
	}
	if r.known && trimmed {
		h, err := getHead(r.tx.Bucket(bucketHeads), name)
		if err != nil {
			return Page{}, err
		}
		r.strm.floor = h.floor
	}
	if !r.known {
		h, err := getHead(r.tx.Bucket(bucketHeads), name)
		if err != nil {
			return Page{}, err
		}
		r.strm = h
		if r.tail.covers(r.after + 1) {
			return Page{}, errTailOnly
		}
	}
	return r.streamFromFile(name, r.strm)
}

// resealed gives a record a checksum that fits, whatever it holds: only for the control of the test that damages files.
func resealed(seq Seq, v []byte) []byte {
	if len(v) < 4 {
		return v
	}
	body := v[: len(v)-4 : len(v)-4]
	return binary.BigEndian.AppendUint32(body, recordCRC(seq, body))
}
