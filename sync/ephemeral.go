package sync

import (
	"slices"

	"tidemark/store"
)

// Signal passes data to everybody who is subscribed to exactly that stream now, as from by. Nothing is stored, and who is
// slow does not get it.
func (e *Engine) Signal(st store.Stream, by string, data []byte) {
	e.broadcast(st, &Signal{By: by, Data: data}, nil)
}

// broadcast gives a signal to all seats of a stream but the sender's. It is encoded once per number of a subscription, and
// most clients use the same ones.
func (e *Engine) broadcast(st store.Stream, sig *Signal, from *Session) {
	t := e.rules.registry.lookup(st)
	if t == nil {
		return
	}
	var scratch [64]*sub
	var text []byte
	for _, seat := range t.seated(scratch[:0]) {
		if seat.session == from {
			continue
		}
		if text == nil || sig.Sub != seat.id {
			sig.Sub = seat.id
			text = e.opts.Encoder.AppendReply(nil, sig)
		}
		if seat.session.hear(seat, text) {
			e.stats.signals.Add(1)
		} else {
			e.stats.signalsDropped.Add(1)
		}
	}
}

func (s *Session) hear(seat *sub, text []byte) (heard bool) {
	s.update(func(m *machine) { heard = m.hear(seat, text) })
	return heard
}

// signal passes a client's signal on.
func (s *Session) signal(msg *SendSignal) error {
	var sig *Signal
	s.update(func(m *machine) {
		if m.phase != open {
			return
		}
		if e := m.refuseEphemeral(msg.Ref, ActSignal, msg.Stream, msg.Data); e != nil {
			m.tell(e)
			return
		}
		sig = &Signal{Session: m.id, By: m.principal.Subject, Data: msg.Data}
	})
	if sig != nil {
		s.engine.broadcast(msg.Stream, sig, s)
	}
	return nil
}

// present shows a client's data to the others, or ends that.
func (s *Session) present(msg *SetPresence) error {
	t, who := s.intend(msg)
	if t == nil {
		return nil
	}
	if refused := s.appear(t, who); refused != nil {
		refused.Ref = msg.Ref
		s.update(func(m *machine) { m.tell(refused) })
	}
	return nil
}

// intend notes where the session is to be present from now on, or no longer; nil: nowhere, and the client is told why.
func (s *Session) intend(msg *SetPresence) (t *topic, who Member) {
	s.update(func(m *machine) {
		if m.phase != open {
			return
		}
		e := m.refuseEphemeral(msg.Ref, ActPresence, msg.Stream, msg.Data)
		on := m.follows(msg.Stream)
		if e == nil && on == nil {
			e = &Error{Ref: msg.Ref, Code: store.CodeSubUnknown, Message: "presence needs a subscription to exactly that stream"}
		}
		if e != nil {
			m.tell(e)
			return
		}
		t, who = on.topic, Member{Session: m.id, By: m.principal.Subject, Data: msg.Data}
		m.show(t, msg.Data != nil)
	})
	return t, who
}

// appear makes the topic say what the machine says now: between intend and here the subscription may have ended, and who
// ended it may have withdrawn already. Whoever changes the machine calls appear or withdraw afterwards, and these take turns
// from reading it to having told the topic: so the last of them leaves the truth.
func (s *Session) appear(t *topic, who Member) *Error {
	s.showing.Lock()
	defer s.showing.Unlock()
	return s.engine.show(t, who, !s.shows(t))
}

// withdraw ends the presence on a topic, unless the client came back to it meanwhile.
func (s *Session) withdraw(t *topic, id store.ID) {
	s.showing.Lock()
	defer s.showing.Unlock()
	if !s.shows(t) {
		s.engine.show(t, Member{Session: id}, true)
	}
}

func (s *Session) shows(t *topic) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.m.shown, t)
}

// show notes where the session is present.
func (m *machine) show(t *topic, is bool) {
	for i, have := range m.shown {
		if have == t {
			if !is {
				m.shown = append(m.shown[:i], m.shown[i+1:]...)
			}
			return
		}
	}
	if is {
		m.shown = append(m.shown, t)
	}
}

// show changes who is present on a stream and calls those who were told everything before. No session's lock is held.
func (e *Engine) show(t *topic, who Member, gone bool) *Error {
	t.mu.Lock()
	if t.present == nil {
		if gone {
			t.mu.Unlock()
			return nil
		}
		t.present = &presence{}
	}
	if !gone && e.shown.used.Load()+int64(len(who.Data)) > e.shown.limit {
		t.mu.Unlock()
		return &Error{Code: store.CodeOverloaded, Message: "there is too much presence on this server"}
	}
	grown, ok := t.present.set(who, gone, e.rules.limits.Presence)
	if !ok {
		t.mu.Unlock()
		return &Error{Code: store.CodeTooMany, Message: "too many are present on this stream"}
	}
	e.shown.used.Add(int64(grown))
	var scratch [64]*sub
	call := scratch[:0]
	for _, seat := range t.seats {
		if seat.rests {
			seat.rests = false
			call = append(call, seat)
		}
	}
	t.mu.Unlock()
	for _, seat := range call {
		seat.session.call(seat)
	}
	return nil
}

// call lets a subscription tell who is present.
func (s *Session) call(seat *sub) {
	s.update(func(m *machine) {
		if !seat.gone && m.phase == open {
			m.calls.push(seat)
		}
	})
}

// tell returns what a seat has not been told of who is present; more: that was not all. The seat rests when it was.
func (t *topic) tell(seat *sub, self store.ID, limit int) (reply *Presence, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.present
	if p == nil {
		p = &presence{}
	}
	reply = p.next(&seat.told, self, limit)
	if reply != nil {
		reply.Sub = seat.id
	}
	seat.rests = seat.told.version == p.version
	return reply, !seat.rests
}
