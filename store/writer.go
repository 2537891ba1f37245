package store

import (
	"errors"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Bounds of one group: what one commit writes, and with it the longest time that it takes.
const (
	groupBytes = 4 << 20
	tickEvery  = 250 * time.Millisecond
)

// run is the writer goroutine: it owns every write transaction. Started by Open, ended by Close or by a failure.
func (s *Store) run() {
	defer close(s.done)
	debug.SetPanicOnFault(true)
	s.initReserve()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var pushes []*Push
	for s.failure() == nil {
		select {
		case <-s.queue.wake:
			pushes = s.queue.take(pushes[:0], groupBytes)
			s.step(pushes)
			clear(pushes)
		case <-s.prepared:
			if s.flushing != nil {
				s.flushSlice()
			}
		case j := <-s.jobs:
			j.done <- j.fn()
		case <-s.trimAgain:
			s.trimMore()
		case <-tick.C:
			s.idle()
		case <-s.closing:
			s.drain()
			return
		}
	}
}

// step commits one group and, when the views are behind, one slice of them.
func (s *Store) step(pushes []*Push) {
	if len(pushes) == 0 {
		return
	}
	s.throttle()
	before := s.logSize()
	s.commit(pushes)
	if s.lagOver(s.opts.flush.target, s.opts.flush.bytes/2) {
		s.startFlush()
	}
	s.retainBehind(s.logSize().minus(before))
}

// throttle makes a group wait for slices of the views when they are too far behind.
func (s *Store) throttle() {
	far := func() bool { return s.lagOver(s.opts.flush.bound, s.opts.flush.bytes) || s.lagKept(2) }
	if !far() {
		return
	}
	s.counters.throttled.Add(1)
	for s.failure() == nil && far() && s.flushSlice() {
	}
}

// idle does what can wait: views, retention, reserve, and trying a full disk again.
func (s *Store) idle() {
	if s.refuse.Load() != nil && !s.opts.now().Before(s.roomCheck) {
		s.tryRoom()
	}
	if s.queue.empty() {
		s.flushSlice()
	}
	s.extendReserve()
	s.retain()
	s.tidyIDs()
}

// drain commits what is queued and empties the overlays.
func (s *Store) drain() {
	for s.failure() == nil {
		pushes := s.queue.take(nil, groupBytes)
		if len(pushes) == 0 {
			break
		}
		s.commit(pushes)
	}
	for s.failure() == nil && s.flushSlice() {
	}
}

// commit commits pushes as one group, or as several if the documents that they need are too many for one.
func (s *Store) commit(pushes []*Push) {
	for {
		pushes = s.commitGroup(pushes)
		if len(pushes) == 0 || s.failure() != nil {
			return
		}
		s.throttle()
	}
}

// commitGroup judges and commits a group, publishes it and answers everybody in it. It returns the pushes that are left over.
func (s *Store) commitGroup(pushes []*Push) (rest []*Push) {
	if r := s.refuse.Load(); r != nil {
		s.refuseGroup(pushes, r)
		return nil
	}
	start := time.Now()
	var g *group
	err := s.view(func(tx *bolt.Tx) error {
		g = s.newGroup(tx, pushes, nil)
		return g.judge()
	})
	if err == nil {
		g.encode()
		if s.opts.faults.publishEarly {
			s.publish(g)
		}
		if s.opts.faults.ackEarly {
			answer(g.pushes)
		}
		if len(g.events) > 0 { // else: duplicates and refusals only
			err = s.save(g)
		}
	}
	if err != nil {
		if g != nil {
			g.forget()
		}
		s.commitFailed(pushes, err)
		return nil
	}
	if len(g.events) > 0 {
		s.counters.commits.Add(1)
		s.counters.commitNanos.Add(int64(time.Since(start)))
	}
	s.finish(g)
	rest = g.left()
	s.reuse(g)
	return rest
}

// finish makes a durable group visible and answers it.
func (s *Store) finish(g *group) {
	if !s.opts.faults.publishEarly {
		s.publish(g)
	}
	s.count(g)
	if !s.opts.faults.ackEarly {
		answer(g.pushes)
	}
	if s.queue.empty() { // nothing waits for this goroutine, so that those that send the answers go first: a tenth less for a lone push
		runtime.Gosched()
	}
}

// commitFailed answers a group that could not be committed, if it may be answered at all.
func (s *Store) commitFailed(pushes []*Push, err error) {
	var corrupt *CorruptError
	switch {
	case s.failure() != nil: // indeterminate: nobody is told anything
	case errors.Is(err, errNoRoom):
		s.counters.diskFull.Add(1)
		r := &Refusal{Code: CodeReadOnly, Message: "the disk is full"}
		s.noRoom(r)
		s.counters.rejudged.Add(1)
		s.refuseGroup(pushes, r)
	case errors.As(err, &corrupt) && len(pushes) > 1: // the others must not suffer
		for i := range pushes {
			if s.failure() == nil {
				s.commit(pushes[i : i+1])
			}
		}
	case errors.As(err, &corrupt):
		s.opts.Logger.Error("an entry is damaged; pushes that need it are refused", "err", err)
		s.refuseAll(pushes, &Refusal{Code: CodeInternal, Message: "the server cannot read what the mutation refers to"})
	default:
		s.fail(err)
	}
}

// refuseGroup judges a group against what is on disk while nothing can be written: duplicates and conflicts get their true
// verdicts, new events get r. Nothing that is refused needs a document, so there is nothing that could be left over.
func (s *Store) refuseGroup(pushes []*Push, r *Refusal) {
	var g *group
	err := s.view(func(tx *bolt.Tx) error {
		g = s.newGroup(tx, pushes, r)
		return g.judge()
	})
	switch {
	case s.failure() != nil:
	case err != nil:
		g.forget()
		s.refuseAll(pushes, r)
	default:
		s.count(g)
		answer(pushes)
	}
}

// refuseAll gives every mutation of the group the same refusal.
func (s *Store) refuseAll(pushes []*Push, r *Refusal) {
	g := group{s: s, sources: make(map[*Source]Source)}
	for _, p := range pushes {
		p.Verdicts = p.Verdicts[:p.judged]
		g.locked(p)
		for range p.Mutations[p.judged:] {
			p.Verdicts = append(p.Verdicts, Verdict{Refusal: r})
		}
		g.lock(p)
	}
	answer(pushes)
}

func answer(pushes []*Push) {
	for _, p := range pushes {
		p.Done(p)
	}
}

// count adds a group to the counters.
func (s *Store) count(g *group) {
	var dups, refused int64
	for _, p := range g.pushes {
		for i := range p.Verdicts {
			if p.Verdicts[i].Dup {
				dups++
			} else if p.Verdicts[i].Refusal != nil {
				refused++
			}
		}
	}
	s.counters.events.Add(int64(len(g.events)))
	s.counters.duplicates.Add(dups)
	s.counters.refused.Add(refused)
}

// publish makes the events of a committed group part of the overlays and the tail, raises the head and tells watchers.
func (s *Store) publish(g *group) {
	if len(g.events) == 0 {
		return
	}
	for i := range g.events {
		g.fresh = append(g.fresh, idEntry{ID: g.events[i].ID, Seq: g.events[i].Seq, FP: g.places[i].fp})
	}
	s.ids.add(g.fresh)
	if cap(g.events) > 2*len(g.events) { // the tail keeps them: not with the room of those that were refused
		g.events = slices.Clone(g.events)
	}
	last := &g.events[len(g.events)-1]
	s.lastAt, s.lastCRC = last.At, g.crc
	s.mu.Lock()
	s.merge(g)
	if g.small {
		s.waiting = append(s.waiting, g.records...)
	}
	s.head.Store(uint64(last.Seq))
	s.mu.Unlock()
	for _, fn := range s.watchers {
		fn(Commit{Events: g.events, Head: last.Seq})
	}
}

// merge takes the group's state into the overlays. s.mu is held.
func (s *Store) merge(g *group) {
	bytes := 0
	for i := range g.events {
		pl := &g.places[i]
		item := lagItem{seq: g.events[i].Seq, size: pl.size, head: s.headOverlay(pl.head)}
		if pl.doc != nil {
			item.doc = s.docOverlay(pl.doc)
		}
		s.lag.push(item)
		bytes += int(pl.size)
	}
	s.logBytes += int64(bytes)
	s.tail.add(g.events, bytes+eventOverhead*len(g.events))
}

func (s *Store) headOverlay(h *groupHead) *headEntry {
	e := s.heads[h.name]
	if e == nil {
		e = &headEntry{name: h.name, flushed: h.flushed}
		s.heads[h.name] = e
	}
	e.headState = h.headState
	return e
}

func (s *Store) docOverlay(d *groupDoc) *docEntry {
	m := s.docs[d.at.Stream]
	if m == nil {
		m = make(map[string]*docEntry)
		s.docs[Stream(cloneString(string(d.at.Stream)))] = m
	}
	e := m[d.at.Key]
	if e == nil {
		at := DocKey{Stream: Stream(cloneString(string(d.at.Stream))), Key: cloneString(d.at.Key)}
		e = &docEntry{at: at, flushed: d.flushed}
		m[at.Key] = e
		s.docOrder.add(e)
	}
	s.docBytes += int64(d.memory() - e.memory())
	e.docState = d.docState
	return e
}

func cloneString(s string) string { return string(append([]byte(nil), s...)) }

// intern returns one copy of a type's name for all events: types are few. Bounded against clients that make them up.
func (s *Store) intern(t string) string {
	if v, ok := s.interned[t]; ok {
		return v
	}
	if len(s.interned) >= 4096 {
		clear(s.interned)
	}
	t = cloneString(t)
	s.interned[t] = t
	return t
}
