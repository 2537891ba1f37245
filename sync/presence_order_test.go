package sync

import (
	"fmt"
	"testing"

	"tidemark/store"
)

// TestPresenceInEveryOrder: a client becomes present, its subscription fails in the writer, and it may subscribe and become
// present once more. Whatever the order in which the two goroutines take their steps, in the end the stream says that the
// client is present exactly if its session says so.
func TestPresenceInEveryOrder(t *testing.T) {
	for _, reader := range [][]string{
		{"intend", "appear"},
		{"intend", "appear", "intend nothing", "appear"},
		{"intend", "appear", "subscribe", "intend", "appear"},
	} {
		for _, order := range merges(reader, []string{"fail", "withdraw"}) {
			p := newPresencePlay()
			for _, step := range order {
				p.step(step)
			}
			said, is := p.topic.present.has(p.s.m.id), p.s.shows(p.topic)
			if said != is {
				t.Errorf("%v: the stream says %v, the session %v", order, said, is)
			}
			if used := p.s.engine.shown.used.Load(); is != (used > 0) {
				t.Errorf("%v: %d bytes of presence are counted", order, used)
			}
		}
	}
}

// merges returns every order of two sequences that keeps the order within each.
func merges(a, b []string) (all [][]string) {
	if len(a) == 0 || len(b) == 0 {
		return [][]string{append(append([]string(nil), a...), b...)}
	}
	for _, rest := range merges(a[1:], b) {
		all = append(all, append([]string{a[0]}, rest...))
	}
	for _, rest := range merges(a, b[1:]) {
		all = append(all, append([]string{b[0]}, rest...))
	}
	return all
}

// presencePlay is one session, following a stream that others follow, too.
type presencePlay struct {
	s     *Session
	topic *topic
	subs  uint64

	aim  *topic // what the last intend is about
	who  Member
	left []*topic // what the failure left to be told
}

func newPresencePlay() *presencePlay {
	e := &Engine{shown: gauge{limit: 1 << 20}}
	e.rules = rules{limits: Limits{}.WithDefaults(), registry: newRegistry(), signals: &gauge{}}
	e.rules.release = func(t *topic) { e.rules.registry.detach(t) }
	p := &presencePlay{s: &Session{engine: e, wake: func() {}}, topic: e.rules.registry.attach(store.Only("s"))}
	p.s.m = machine{phase: open, rules: &e.rules, owner: p.s, id: store.ID{1}}
	p.step("subscribe")
	return p
}

func (p *presencePlay) step(name string) {
	switch name {
	case "subscribe":
		p.subs++
		p.s.update(func(m *machine) { m.subscribe(&Subscribe{Sub: p.subs, Filter: store.Only("s")}) })
	case "intend":
		p.aim, p.who = p.s.intend(&SetPresence{Stream: "s", Data: []byte("1")})
	case "intend nothing":
		p.aim, p.who = p.s.intend(&SetPresence{Stream: "s"})
	case "appear":
		if p.aim != nil {
			p.s.appear(p.aim, p.who)
		}
	case "fail": // what Session.update does with a failure, up to where it unlocks
		p.s.mu.Lock()
		p.s.m.failed(p.s.m.subs[0], &Error{Code: store.CodeInternal})
		p.left, p.s.m.left = p.s.m.left, nil
		p.s.mu.Unlock()
	case "withdraw": // and what it does then
		for _, t := range p.left {
			p.s.withdraw(t, p.s.m.id)
		}
	default:
		panic(fmt.Sprintf("no step %q", name))
	}
}

// has reports whether somebody is present.
func (p *presence) has(session store.ID) bool {
	if p == nil {
		return false
	}
	m := p.latest[session]
	return m != nil && !m.gone
}
