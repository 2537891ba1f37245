package sync

import (
	"slices"
	"sync/atomic"

	"tidemark/store"
)

// Bounds of the signals that wait for one connection. What does not fit is dropped: signals are the first to go.
const (
	maxSignals     = 64
	maxSignalBytes = 64 << 10
)

// occupy makes a subscription to one stream hear signals and presence, if it is the first of its connection there.
func (m *machine) occupy(s *sub) {
	if s.filter.Wide() {
		return
	}
	for _, o := range m.subs {
		if o.carrier && o.filter == s.filter {
			return
		}
	}
	s.carrier = true
	s.topic.sit(s)
	m.calls.push(s) // the full list comes even when it is empty
}

// vacate undoes occupy; the next oldest subscription to the stream takes over, or the client is no longer present there.
func (m *machine) vacate(s *sub) {
	if s.filter.Wide() {
		return
	}
	if s.carrier {
		s.carrier = false
		s.topic.leave(s)
	}
	for _, o := range m.subs {
		if o.filter == s.filter {
			if o.opening == nil {
				m.occupy(o)
			}
			return
		}
	}
	if i := slices.Index(m.shown, s.topic); i >= 0 {
		m.shown = slices.Delete(m.shown, i, i+1)
		m.left = append(m.left, s.topic)
	}
}

// follows reports whether the connection has a subscription to exactly this stream.
func (m *machine) follows(st store.Stream) *sub {
	for _, s := range m.subs {
		if s.filter == store.Only(st) {
			return s
		}
	}
	return nil
}

// hear queues a signal. It returns false when the connection is too slow for it.
func (m *machine) hear(s *sub, text []byte) bool {
	if s.gone || m.phase != open {
		return false
	}
	if m.signals.len() > 0 && (m.signals.len() >= maxSignals || m.signaled+len(text) > maxSignalBytes) {
		return false
	}
	if !m.rules.signals.take(len(text)) {
		return false
	}
	m.signals.push(signal{sub: s, text: text})
	m.signaled += len(text)
	return true
}

// unhear takes the oldest signal out.
func (m *machine) unhear() signal {
	s := m.signals.pop()
	m.signaled -= len(s.text)
	m.rules.signals.give(len(s.text))
	return s
}

// gauge bounds something that all sessions have together.
type gauge struct {
	limit int64
	used  atomic.Int64
}

func (g *gauge) take(n int) bool {
	if g.used.Add(int64(n)) > g.limit {
		g.used.Add(-int64(n))
		return false
	}
	return true
}

func (g *gauge) give(n int) { g.used.Add(-int64(n)) }

// refuseEphemeral says why a signal or presence is not passed on, or nil.
func (m *machine) refuseEphemeral(ref Ref, a Action, st store.Stream, data []byte) *Error {
	switch {
	case len(data) > m.rules.limits.Data:
		return &Error{Ref: ref, Code: store.CodeTooLarge, Message: "data is too large"}
	case st.Reserved() || st == "":
		return &Error{Ref: ref, Code: store.CodeStreamInvalid, Message: "that stream is the server's own"}
	case !m.principal.May(a, store.Only(st)):
		return &Error{Ref: ref, Code: store.CodeForbidden, Message: "you may not do that on " + string(st)}
	}
	return nil
}
