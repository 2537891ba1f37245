package sync

import "tidemark/store"

// room reports whether a message that brings n mutations may be taken in now: what a client has outstanding is bounded, and
// so are the answers that it does not read, or that wait behind a push.
func (m *machine) room(n int) bool {
	return m.answers.len() < maxAnswers && m.pending.len() < m.rules.limits.Inflight+maxAnswers && (n == 0 || m.inflight == 0 || m.inflight+n <= m.rules.limits.Inflight)
}

// maxAnswers is how many answers wait for a client before its messages do.
const maxAnswers = 256

// push takes in a push. It reports whether it is to be appended; otherwise it was answered.
func (m *machine) push(p *Push) bool {
	switch n := len(p.Store.Mutations); {
	case n == 0:
		m.fault(&Error{Ref: p.Ref, Code: store.CodeBadMessage, Message: "a push needs mutations"})
		return false
	case n > m.rules.limits.Mutations:
		m.fault(&Error{Ref: p.Ref, Code: store.CodeTooMany, Message: "the push has too many mutations"})
		return false
	}
	m.authorize(p.Store)
	p.Store.By = m.principal.Subject
	m.inflight += len(p.Store.Mutations)
	m.pending.push(p)
	return true
}

// authorize refuses the mutations of streams that the client may not write to.
func (m *machine) authorize(p *store.Push) {
	if m.principal.Allows == nil {
		return
	}
	var same store.Stream
	allowed := false
	for i := range p.Mutations {
		if st := p.Mutations[i].Stream; st != same {
			same, allowed = st, m.principal.Allows(ActWrite, store.Only(st))
		}
		if allowed || (p.Refused != nil && p.Refused[i] != nil) {
			continue
		}
		if p.Refused == nil {
			p.Refused = make([]*store.Refusal, len(p.Mutations))
		}
		p.Refused[i] = &store.Refusal{Code: store.CodeForbidden, Message: "you may not write to " + string(same)}
	}
}

// answered takes the verdicts of a push. Acks go out in the order of the pushes.
func (m *machine) answered(sp *store.Push) {
	if m.phase != open {
		return
	}
	for i := range m.pending.len() {
		if p := *m.pending.at(i); p.Store == sp {
			p.answered = true
			m.veil(sp)
			for j := range sp.Mutations { // the answer, which may wait for long, needs no more than their ids
				sp.Mutations[j].Data = nil
			}
			break
		}
	}
	for m.pending.len() > 0 && (*m.pending.at(0)).answered {
		m.answers.push(answer{push: m.pending.pop()})
	}
	m.drained()
}

// veil takes out of conflicts the documents that the client may not read.
func (m *machine) veil(p *store.Push) {
	if m.principal.Allows == nil {
		return
	}
	for i := range p.Verdicts {
		r := p.Verdicts[i].Refusal
		if r != nil && r.HasDocument() && !m.principal.Allows(ActRead, store.Only(p.Mutations[i].Stream)) {
			p.Verdicts[i].Refusal = r.WithoutDocument()
		}
	}
}

// retract takes back a push that the log did not take.
func (m *machine) retract(p *Push) {
	for i := range m.pending.len() {
		if *m.pending.at(i) == p {
			m.pending.cut(i)
			m.inflight -= len(p.Store.Mutations)
			return
		}
	}
}
