package sync

import (
	"slices"

	"tidemark/store"
)

// subscribe takes a new subscription; where it stands is asked when its answer's turn comes.
func (m *machine) subscribe(r *Subscribe) {
	if f := m.refuseSub(r); f != nil {
		f.Ref, f.Sub = r.Ref, r.Sub
		if f.Code == store.CodeBadMessage {
			m.fault(f)
		} else {
			m.tell(f)
		}
		return
	}
	s := &sub{session: m.owner, id: r.Sub, filter: r.Filter, from: r.From, opening: r, topic: m.rules.registry.attach(r.Filter)}
	s.waiter.sub = s
	m.subs = append(m.subs, s)
	m.answers.push(answer{sub: s})
}

func (m *machine) refuseSub(r *Subscribe) *Error {
	switch {
	case r.Fault != nil:
		return &Error{Code: r.Fault.Code, Message: r.Fault.Message}
	case m.find(r.Sub) != nil:
		return &Error{Code: store.CodeSubInUse, Message: "this connection has a subscription of that number"}
	case len(m.subs) >= m.rules.limits.Subs:
		return &Error{Code: store.CodeTooMany, Message: "this connection has too many subscriptions"}
	case r.Filter.Reserved() || r.Filter == store.Filter{}:
		return &Error{Code: store.CodeStreamInvalid, Message: "that stream cannot be subscribed to"}
	case !m.principal.May(ActRead, r.Filter):
		return &Error{Code: store.CodeForbidden, Message: "you may not read " + r.Filter.String()}
	}
	return nil
}

func (m *machine) find(id uint64) *sub {
	for _, s := range m.subs {
		if s.id == id {
			return s
		}
	}
	return nil
}

func (m *machine) unsubscribe(r *Unsubscribe) {
	s := m.find(r.Sub)
	if s == nil {
		m.tell(&Error{Ref: r.Ref, Sub: r.Sub, Code: store.CodeSubUnknown, Message: "there is no subscription of that number"})
		return
	}
	m.remove(s)
	m.tell(&Unsubscribed{Ref: r.Ref, Sub: r.Sub})
}

// remove ends a subscription: from now on nothing of it goes out.
func (m *machine) remove(s *sub) {
	s.gone, s.live = true, false
	s.endSnapshot()
	s.topic.disarm(&s.waiter)
	m.subs = slices.DeleteFunc(m.subs, func(o *sub) bool { return o == s })
	m.vacate(s)
	m.rules.release(s.topic)
}

// resumed takes the log's answer to where a subscription stands. A refusal ends the subscription.
func (m *machine) resumed(s *sub, st store.Standing, refusal *Error) {
	if refusal != nil {
		m.failed(s, refusal)
		return
	}
	r := s.opening
	if r == nil { // it had begun, and lost what comes next
		if !s.gone {
			m.reset(s, store.ResetTrimmed, st)
			m.settle(s)
		}
		return
	}
	s.opening = nil
	since := r.since(st)
	m.urgent.push(&Subscribed{Ref: r.Ref, Sub: s.id, Filter: s.filter, Since: since, Head: st.Head, Floor: st.Floor})
	if s.gone {
		return
	}
	s.topic.begin(st.Head)
	if r.Resume && st.Reset == store.ResetNone && since < st.Floor {
		st.Reset = store.ResetTrimmed // a cursor at 0 has no history, but may have missed something
	}
	switch {
	case !r.Resume:
		s.begin(r.From, st)
	case st.Reset != store.ResetNone:
		m.reset(s, st.Reset, st)
	default:
		s.resume(since, st)
	}
	m.occupy(s)
	m.settle(s)
}

// reset tells that the client's history ends here, and begins anew.
func (m *machine) reset(s *sub, why store.Reset, st store.Standing) {
	m.urgent.push(&Reset{Sub: s.id, Reason: why, Log: m.rules.log, Floor: st.Floor, Head: st.Head})
	s.goal = 0
	s.begin(s.from, st)
}

// advanced takes a page of events, which is about to go out.
func (m *machine) advanced(s *sub, through store.Seq) {
	s.cursor = max(s.cursor, through)
	m.settle(s)
}

// trimmed takes the log's answer that what comes next is no longer there.
func (m *machine) trimmed(s *sub) {
	s.phase = subLost // and still live, as far as the client knows: a pong must not promise what it will never get
	m.settle(s)
}

// documents takes a page of documents and returns the frame to send; nil: the page had none and more follow.
func (m *machine) documents(s *sub, page store.DocPage) *Snapshot {
	out := &Snapshot{Sub: s.id, Seq: s.snap.seq, Wide: s.filter.Wide(), Docs: page.Docs}
	if fit := docsThatFit(page.Docs, m.rules.limits.Frame-frameHead); fit < len(page.Docs) {
		last := &page.Docs[fit-1]
		out.Docs, page.More = page.Docs[:fit], true
		page.Through = store.DocKey{Stream: last.Stream, Key: last.Key}
	}
	if page.More {
		s.snap.after = page.Through
		m.settle(s)
		if len(out.Docs) == 0 {
			return nil
		}
		return out
	}
	out.Done, out.Upto = true, max(page.Head, s.snap.seq)
	s.cursor = s.snap.seq
	s.goal = max(s.goal, out.Upto)
	s.phase = subFollowing
	s.endSnapshot()
	m.settle(s)
	return out
}

// frameHead is more than what stands around the events or documents of a frame.
const frameHead = 256

// docsThatFit returns how many documents fit into a frame, at least one.
func docsThatFit(docs []store.Doc, room int) int {
	for i := range docs {
		d := &docs[i]
		room -= 2*(len(d.Key)+len(d.Stream)) + len(d.Data) + 64 // a key's quotes and backslashes are escaped
		if room < 0 {
			return max(i, 1)
		}
	}
	return len(docs)
}

// failed ends a subscription that the log cannot serve.
func (m *machine) failed(s *sub, e *Error) {
	e.Sub = s.id
	if s.opening != nil {
		e.Ref = s.opening.Ref
	} else if s.gone {
		return
	}
	if !s.gone {
		m.remove(s)
	}
	m.urgent.push(e)
}
