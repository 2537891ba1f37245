package sync

import (
	"sync"

	"tidemark/store"
)

// runCap bounds the room that a run gets for growing, so that a topic with one event a minute stays small.
const runCap = 64 << 10

// runOverhead is what a run costs beside its bytes.
const runOverhead = 256

// scratches hold the events of a page from when it is read until it is encoded.
var scratches = sync.Pool{New: func() any { return new([]store.Event) }}

// scratchKept is how many events a scratch may have room for between two pages.
const scratchKept = 1024

func takeScratch() *[]store.Event { return scratches.Get().(*[]store.Event) }

// putScratch takes back the memory that a page was read into, or what it has outgrown that to.
func putScratch(s *[]store.Event, page *store.Page) {
	clear(page.Events)
	if page.Events == nil { // an error: some may have been read
		clear((*s)[:cap(*s)])
	}
	switch n := cap(page.Events); {
	case n > scratchKept:
		*s = nil
	case n > 0:
		*s = page.Events[:0]
	}
	scratches.Put(s)
}

// reader fetches pages of topics for sessions: out of the runs that are there, else from the log, once for all who wish for
// the same.
type reader struct {
	log    Reader
	enc    Encoder
	cache  *cache
	budget *Budget
	slots  chan struct{} // a token per read of the log that may run at once
	stats  *counters
}

// fetch fills b with what follows a cursor, up to about limit bytes, and pins it. b.through is the cursor to go on from;
// when it is not above after, there is nothing more.
func (r *reader) fetch(b *batch, t *topic, after store.Seq, limit int) error {
	p := &t.pages
	for {
		p.mu.Lock()
		if p.gather(b, after, limit) {
			r.budget.charge(b.pinned())
			p.mu.Unlock()
			r.stats.sharedPages.Add(1)
			return nil
		}
		key := p.flightKey(after)
		f := p.flights[key]
		if f == nil {
			f = &flight{done: make(chan struct{}), after: after}
			if p.flights == nil {
				p.flights = make(map[store.Seq]*flight)
			}
			p.flights[key] = f
			last := p.newest()
			p.mu.Unlock()
			return r.fly(b, t, key, f, last, limit)
		}
		p.mu.Unlock()
		<-f.done
		if f.empty && f.after <= after {
			b.through = max(after, f.through)
			return nil
		}
	}
}

func (p *pages) flightKey(after store.Seq) store.Seq {
	if last := p.newest(); last == nil || after >= last.through {
		return edge
	}
	return after
}

// fly reads the log, encodes what it found and makes it a run, or the continuation of the newest one.
func (r *reader) fly(b *batch, t *topic, key store.Seq, f *flight, last *run, limit int) error {
	defer func() { // also when the log panics, or everybody behind would wait for ever
		t.pages.mu.Lock()
		delete(t.pages.flights, key)
		if len(t.pages.flights) == 0 {
			t.pages.flights = nil
		}
		t.pages.mu.Unlock()
		close(f.done)
	}()
	into := takeScratch()
	r.slots <- struct{}{}
	page, err := r.log.Read(t.filter, f.after, store.PageLimit{Bytes: limit, Into: *into})
	<-r.slots
	defer putScratch(into, &page)
	if err != nil {
		return err
	}
	r.stats.logPages.Add(1)
	f.through = page.Through
	if len(page.Events) == 0 && !page.More {
		f.empty = true
		b.through = max(f.after, page.Through)
		return nil
	}
	if key != edge || last == nil || !continues(t.filter, last, f.after, page.Events) {
		last = nil
	}
	r.land(b, t, r.encode(t, f.after, &page, last), limit)
	return nil
}

// continues reports whether nothing of the filter lies between the end of a run and where a page begins.
func continues(f store.Filter, last *run, after store.Seq, events []store.Event) bool {
	if last.through == after {
		return true
	}
	return !f.Wide() && len(events) > 0 && last.through < after && events[0].Prev <= last.through
}

// landing is a page that was read and encoded, and the run that its text was appended to, if there was room.
type landing struct {
	after store.Seq
	run   *run // nil: a run of its own
	start int  // where the page's text begins in bytes
	bytes []byte
	marks []mark
	until store.Seq
}

func (r *reader) encode(t *topic, after store.Seq, page *store.Page, last *run) landing {
	need := 0
	for i := range page.Events {
		need += textSize(&page.Events[i], t.filter.Wide())
	}
	l := landing{after: after, until: page.Through, marks: make([]mark, 0, len(page.Events))}
	if last != nil && len(last.bytes) > 0 && cap(last.bytes)-len(last.bytes) > need {
		l.run, l.bytes, l.start = last, last.bytes, len(last.bytes)+len(comma)
	} else {
		l.bytes = make([]byte, 0, max(need, growth(last)))
	}
	for i := range page.Events {
		if len(l.bytes) > 0 {
			l.bytes = append(l.bytes, ',')
		}
		ev := &page.Events[i]
		l.bytes = r.enc.AppendEvent(l.bytes, ev, t.filter.Wide())
		more := ev.Flags.Has(store.FlagMore) && i < len(page.Events)-1 // a page never ends inside a push
		l.marks = append(l.marks, mark{seq: ev.Seq, end: uint32(len(l.bytes)), more: more})
	}
	if l.run != nil && cap(l.bytes) != cap(l.run.bytes) { // it did not fit after all, and moved
		l.part()
	}
	return l
}

// textSize is what an event takes on the wire, with the comma, and a little more; only what has to be escaped may take less
// here than there.
func textSize(ev *store.Event, withStream bool) int {
	const always = len(`{"seq":,"prev":,"id":"01234567-89ab-cdef-0123-456789abcdef","type":"delete","data":,"at":1234567890123},`)
	n := always + 2*decimals(ev.Seq) + len(ev.Type) + len(ev.Data)
	if withStream {
		n += len(`"stream":"",`) + len(ev.Stream)
	}
	if ev.Key != "" || ev.By != "" || ev.Op != store.OpNone {
		n += len(`"key":"","op":"delete","by":"",`) + len(ev.Key) + len(ev.By)
	}
	if ev.Flags.Has(store.FlagBytes) {
		n += len(`64"..."`) + len(ev.Data)/3
	}
	return n
}

func decimals(n store.Seq) int {
	d := 1
	for ; n >= 10; n /= 10 {
		d++
	}
	return d
}

// growth is the room for a run that follows another: busy topics get more.
func growth(last *run) int {
	if last == nil {
		return 0
	}
	return min(2*cap(last.bytes), runCap)
}

// part makes the page a run of its own.
func (l *landing) part() {
	l.bytes = append([]byte(nil), l.bytes[min(l.start, len(l.bytes)):]...) // a page without events ends before its comma
	for i := range l.marks {
		l.marks[i].end -= uint32(l.start)
	}
	l.run, l.start = nil, 0
}

// land publishes a page to the others, fills b from it and keeps it in the cache.
func (r *reader) land(b *batch, t *topic, l landing, limit int) {
	fresh, replaced := r.publish(b, &t.pages, l, limit)
	if replaced != nil {
		r.cache.forget(replaced)
	}
	if fresh != nil {
		r.cache.add(fresh)
	}
}

// publish returns the run that the page has become, if the cache is to keep it, and the one whose place it has taken.
func (r *reader) publish(b *batch, p *pages, l landing, limit int) (fresh, replaced *run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.run != nil && p.newest() != l.run { // it left the cache meanwhile
		l.part()
	}
	if l.run != nil {
		l.run.bytes, l.run.through = l.bytes, l.until
		l.run.marks = append(l.run.marks, l.marks...)
	} else {
		fresh = &run{pages: p, after: l.after, through: l.until, bytes: l.bytes, marks: l.marks}
		fresh.size = int64(cap(l.bytes)) + runOverhead
		replaced = p.insert(fresh)
	}
	p.gather(b, l.after, limit)
	r.budget.charge(b.pinned())
	if p.closed {
		fresh = nil
	}
	return fresh, replaced
}
