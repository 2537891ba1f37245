package sync

import (
	"errors"
	"sync"

	"tidemark/store"
)

// outbox is the scratch memory of a writer at work; an idle session has none.
type outbox struct {
	text   []byte
	pieces [][]byte
	batch  batch
}

// outboxKept is how much memory an outbox may keep between two writers.
const outboxKept = 64 << 10

var outboxes = sync.Pool{New: func() any { return new(outbox) }}

func (o *outbox) free() {
	clear(o.pieces[:cap(o.pieces)])
	o.batch.reset()
	if cap(o.text) > outboxKept {
		o.text = nil
	}
	outboxes.Put(o)
}

func (b *batch) reset() {
	clear(b.pieces[:cap(b.pieces)])
	clear(b.pins[:cap(b.pins)])
	*b = batch{pieces: b.pieces[:0], pins: b.pins[:0]}
}

// Next returns the next frame to write: answers first, then pages of the subscriptions in turn, signals and presence in
// between. false: there is nothing; the writer ends, and wake is called when there is something again. A call of Next says
// that the frame before was written. It may wait for the log.
func (s *Session) Next() (Frame, bool) {
	s.written()
	for {
		head := s.engine.Head()
		s.mu.Lock()
		if s.closed {
			s.sleep()
			return Frame{}, false
		}
		if s.out == nil {
			s.out = outboxes.Get().(*outbox)
		}
		e := s.m.next(head)
		limit := 0
		if e.do == doRead || e.do == doDocuments {
			if limit = s.pageLimit(e.sub); limit == 0 {
				s.leave()
				continue
			}
		}
		if e.do == doNothing {
			s.sleep()
			return Frame{}, false
		}
		out := s.out
		s.leave()
		if f, ok := s.perform(out, e, limit); ok {
			return f, true
		}
	}
}

// sleep ends the writer and unlocks.
func (s *Session) sleep() {
	s.awake = false
	out := s.out
	s.out = nil
	s.mu.Unlock()
	if out != nil {
		out.free()
	}
}

// written gives back what the last frame took of the budget.
func (s *Session) written() {
	s.mu.Lock()
	pins, charged := s.pins, s.charged
	s.pins, s.charged = nil, 0
	s.mu.Unlock()
	if len(pins) > 0 || charged > 0 {
		s.engine.budget.give(unpin(pins) + charged)
	}
}

// pageLimit returns how large the page may be; 0: there is no room, and the subscription waits in front. s.mu is held.
func (s *Session) pageLimit(sub *sub) int {
	want := s.m.rules.page()
	if s.m.stalled {
		want = min(want, smallBytes)
	}
	limit := s.engine.budget.page(s, want)
	switch {
	case limit == 0:
		s.m.parked = true
		s.m.busy.unpop(sub)
	case limit < s.m.rules.page():
		s.engine.stats.smallPages.Add(1)
	}
	return limit
}

// perform does what the machine wants and returns the frame that comes of it, if any.
func (s *Session) perform(out *outbox, e effect, limit int) (Frame, bool) {
	enc := s.engine.opts.Encoder
	switch e.do {
	case doSend:
		s.mark(e.reply)
		return out.frame(enc.AppendReply(out.text[:0], e.reply)), true
	case doAck:
		return out.frame(enc.AppendAck(out.text[:0], e.push)), true
	case doSignal:
		return out.frame(append(out.text[:0], e.text...)), true
	case doPresence:
		return s.presence(out, e.sub)
	case doResume:
		s.stand(e.sub)
	case doRead:
		return s.events(out, e.sub, limit)
	case doDocuments:
		return s.documents(out, e.sub, limit)
	case doEnd:
		return Frame{End: e.end}, true
	}
	return Frame{}, false
}

// frame makes text the one piece of a frame.
func (o *outbox) frame(text []byte) Frame {
	o.text = text
	o.pieces = append(o.pieces[:0], text)
	return Frame{Pieces: o.pieces}
}

// mark adds the ids of the events that replies name.
func (s *Session) mark(r Reply) {
	log := s.engine.log
	switch r := r.(type) {
	case *Live:
		r.Mark = log.Mark(r.Seq)
	case *Pong:
		r.Mark = log.Mark(r.Seq)
	case *Snapshot:
		if r.Done {
			r.Mark = log.Mark(r.Seq)
		}
	}
}

// stand asks the log where a subscription stands.
func (s *Session) stand(sub *sub) {
	var c store.Cursor
	if sub.opening != nil && sub.opening.Resume {
		c = sub.opening.Cursor
	}
	st, err := s.engine.log.Resume(sub.filter, c)
	if err != nil {
		s.fail(sub, err)
		return
	}
	s.update(func(m *machine) { m.resumed(sub, st, nil) })
}

// events reads a page of events; the frame points into what is shared with others.
func (s *Session) events(out *outbox, sub *sub, limit int) (Frame, bool) {
	out.batch.reset()
	b := &out.batch
	if err := s.engine.reader.fetch(b, sub.topic, sub.cursor, limit); err != nil {
		s.fail(sub, err)
		return Frame{}, false
	}
	s.mu.Lock()
	if s.closed || sub.gone {
		s.leave()
		s.engine.budget.give(unpin(b.pins))
		return Frame{}, false
	}
	s.m.advanced(sub, b.through)
	s.pins = b.pins
	s.leave()
	if b.events == 0 {
		s.written()
		return Frame{}, false
	}
	s.engine.stats.eventFrames.Add(1)
	s.engine.stats.delivered.Add(int64(b.events))
	out.pieces = append(out.pieces[:0], s.engine.eventsOpen(out, sub.id))
	out.pieces = append(out.pieces, b.pieces...)
	out.pieces = append(out.pieces, s.engine.closing)
	return Frame{Pieces: out.pieces}, true
}

// documents reads a page of documents.
func (s *Session) documents(out *outbox, sub *sub, limit int) (Frame, bool) {
	s.hold(sub)
	s.mu.Lock()
	snap := sub.snap
	s.mu.Unlock()
	if snap == nil { // it ended meanwhile
		return Frame{}, false
	}
	s.engine.reader.slots <- struct{}{}
	page, err := s.engine.log.Documents(sub.filter, snap.after, limit)
	<-s.engine.reader.slots
	if err != nil {
		s.fail(sub, err)
		return Frame{}, false
	}
	s.mu.Lock()
	var reply *Snapshot
	if !s.closed && !sub.gone {
		reply = s.m.documents(sub, page)
	}
	s.leave()
	if reply == nil {
		return Frame{}, false
	}
	s.mark(reply)
	return s.charge(out.frame(s.engine.opts.Encoder.AppendReply(out.text[:0], reply)))
}

// charge counts a frame of the session's own against the budget until it was written.
func (s *Session) charge(f Frame) (Frame, bool) {
	n := int64(f.Len())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Frame{}, false
	}
	s.engine.budget.charge(n)
	s.charged += n
	return f, true
}

// hold makes trimming wait while a snapshot is being read, if the log can do that.
func (s *Session) hold(sub *sub) {
	h, ok := s.engine.log.(Holder)
	if !ok {
		return
	}
	s.mu.Lock()
	if sub.snap == nil || sub.snap.release != nil {
		s.mu.Unlock()
		return
	}
	after := sub.snap.seq
	s.mu.Unlock()
	release := h.HoldTrim(after)
	s.mu.Lock()
	if sub.snap != nil && sub.snap.release == nil {
		sub.snap.release, release = release, nil
	}
	s.mu.Unlock()
	if release != nil {
		release()
	}
}

// fail is for what the log could not answer.
func (s *Session) fail(sub *sub, err error) {
	var trimmed *store.TrimmedError
	switch {
	case errors.As(err, &trimmed):
		s.update(func(m *machine) {
			if !sub.gone {
				m.trimmed(sub)
			}
		})
	case errors.Is(err, store.ErrFailed), errors.Is(err, store.ErrClosed):
		s.update(func(m *machine) { m.end(EndGoingAway) })
	default:
		e := s.engine.explain(err, "read "+sub.filter.String())
		s.update(func(m *machine) { m.resumed(sub, store.Standing{}, e) })
	}
}

// presence tells a subscription what it does not know yet of who is present.
func (s *Session) presence(out *outbox, sub *sub) (Frame, bool) {
	reply, more := sub.topic.tell(sub, s.m.id, s.m.rules.page())
	if more {
		s.call(sub)
	}
	if reply == nil {
		return Frame{}, false
	}
	return s.charge(out.frame(s.engine.opts.Encoder.AppendReply(out.text[:0], reply)))
}
