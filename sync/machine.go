package sync

import (
	"fmt"
	"time"

	"tidemark/store"
)

// machine is the logic of one session, as a pure function: what the client sent, what the log answered and what others did
// go in; what to do next comes out of next. It has no goroutine, no clock and no I/O; whoever owns it holds a lock.
type machine struct {
	rules     *rules
	owner     *Session
	id        store.ID // of the session
	principal Principal
	phase     phase
	draining  bool
	turn      bool // signals and presence next, then a page
	parked    bool // pages wait for the budget
	stalled   bool // the peer is slow: pages are small
	bad       int  // messages answered with bad_message
	goodbye   time.Duration

	subs     []*sub      // oldest first
	pending  fifo[*Push] // not yet answered, in order
	inflight int         // mutations received and not yet handed out as answered

	urgent   fifo[Reply]  // go out before everything else
	answers  fifo[answer] // in the order of what they answer
	busy     subList
	calls    callList
	signals  fifo[signal]
	signaled int // bytes in signals

	shown []*topic // where the session is present
	left  []*topic // where it no longer is: the others have to be told, once the lock is gone
}

// rules are what all sessions of an engine share.
type rules struct {
	limits   Limits
	log      store.ID
	registry *registry
	release  func(*topic) // gives back what registry.attach gave
	signals  *gauge       // bytes of signals that wait, of all sessions
}

// page is the size of an ordinary page: what exceeds it by a quarter still fits into a frame.
func (r *rules) page() int { return min(pageBytes, (r.limits.Frame-frameHead)*4/5) }

// phase is how far a connection has come.
type phase uint8

const (
	opening phase = iota // before the hello
	admitting
	open
	ending // answers go out, nothing else; nothing comes in
	ended
)

// answer is something that goes out in order: a reply as it is, the ack of a push, the opening of a subscription, a pong,
// or the end.
type answer struct {
	reply Reply
	push  *Push
	sub   *sub
	ping  *Ping
	end   End
}

// signal is a signal on its way to one subscription.
type signal struct {
	sub  *sub
	text []byte
}

// deed is what the shell has to do for the machine.
type deed uint8

const (
	doNothing   deed = iota
	doSend           // reply
	doAck            // push
	doResume         // ask the log where sub stands, then resumed
	doRead           // a page of sub's events, then advanced
	doDocuments      // a page of sub's documents, then documents
	doSignal         // text
	doPresence       // what sub was not told
	doEnd            // close the connection
)

// effect is what comes out of the machine.
type effect struct {
	do    deed
	reply Reply
	push  *Push
	sub   *sub
	text  []byte
	end   End
}

// maxBad is how many messages that make no sense a connection may send.
const maxBad = 100

// next returns what to do now. head is the log's head as the engine knew it before.
func (m *machine) next(head store.Seq) effect {
	if m.urgent.len() > 0 {
		return effect{do: doSend, reply: m.urgent.pop()}
	}
	if m.answers.len() > 0 {
		return m.answer(head)
	}
	if m.phase != open {
		return effect{}
	}
	m.turn = !m.turn
	if m.turn {
		if e := m.ephemeral(); e.do != doNothing {
			return e
		}
		return m.page(head)
	}
	if e := m.page(head); e.do != doNothing {
		return e
	}
	return m.ephemeral()
}

// answer takes the oldest answer.
func (m *machine) answer(head store.Seq) effect {
	a := m.answers.pop()
	switch {
	case a.push != nil:
		return m.ack(a.push)
	case a.sub != nil:
		return effect{do: doResume, sub: a.sub}
	case a.ping != nil:
		return effect{do: doSend, reply: m.pong(a.ping, head)}
	case a.end != EndNone:
		m.phase = ended
		return effect{do: doEnd, end: a.end}
	}
	return effect{do: doSend, reply: a.reply}
}

func (m *machine) ack(p *Push) effect {
	if p.fault != nil {
		return effect{do: doSend, reply: p.fault}
	}
	m.inflight -= len(p.Store.Mutations)
	return effect{do: doAck, push: p}
}

// pong says up to where everything of the live subscriptions was sent.
func (m *machine) pong(p *Ping, head store.Seq) *Pong {
	seq, live := store.MaxSeq, false
	for _, s := range m.subs {
		if s.live {
			seq, live = min(seq, s.reach(head)), true
		}
	}
	if !live {
		seq = head
	}
	return &Pong{Ref: p.Ref, Head: max(head, seq), Seq: seq}
}

// page gives the subscription whose turn it is its chance.
func (m *machine) page(head store.Seq) effect {
	for !m.parked {
		s := m.busy.pop()
		if s == nil {
			break
		}
		if s.gone {
			continue
		}
		switch {
		case s.phase == subLost:
			return effect{do: doResume, sub: s}
		case s.phase == subSnapshot:
			return effect{do: doDocuments, sub: s}
		case s.phase == subOpening:
			continue // its turn comes with its answer
		case s.behind():
			return effect{do: doRead, sub: s}
		case !s.live:
			s.live = true
			seq := s.reach(head)
			m.settle(s)
			return effect{do: doSend, reply: &Live{Sub: s.id, Seq: seq}}
		}
		m.settle(s)
	}
	return effect{}
}

// ephemeral takes a signal or a presence.
func (m *machine) ephemeral() effect {
	for m.signals.len() > 0 {
		s := m.unhear()
		if !s.sub.gone {
			return effect{do: doSignal, text: s.text}
		}
	}
	for {
		s := m.calls.pop()
		if s == nil {
			return effect{}
		}
		if !s.gone && s.carrier {
			return effect{do: doPresence, sub: s}
		}
	}
}

// settle puts a subscription back in the queue, or to rest until the next event.
func (m *machine) settle(s *sub) {
	if s.gone || m.phase != open {
		return
	}
	if s.busy() || !s.topic.arm(&s.waiter, s.cursor) {
		m.busy.push(s)
	}
}

// idle reports whether there is nothing to do.
func (m *machine) idle() bool {
	if m.urgent.len()+m.answers.len() > 0 {
		return false
	}
	return m.phase != open || (m.signals.len() == 0 && m.calls.first == nil && (m.parked || m.busy.first == nil))
}

// tell queues an answer.
func (m *machine) tell(r Reply) { m.answers.push(answer{reply: r}) }

// fault answers a message that was wrong, behind the pushes that came before it.
func (m *machine) fault(e *Error) {
	if m.pending.len() > 0 {
		m.pending.push(&Push{answered: true, fault: e})
	} else {
		m.tell(e)
	}
	if e.Code != store.CodeBadMessage {
		return
	}
	if m.bad++; m.bad >= maxBad {
		m.end(EndProtocol)
	}
}

// end lets the answers that are there go out, then closes. Nothing more comes in, and no page goes out.
func (m *machine) end(how End, last ...Reply) {
	if m.phase >= ending {
		return
	}
	for m.pending.len() > 0 { // what was wrong is told; pushes that wait for the disk are not
		if p := m.pending.pop(); p.fault != nil {
			m.tell(p.fault)
		}
	}
	m.phase = ending
	for _, r := range last {
		m.tell(r)
	}
	m.answers.push(answer{end: how})
}

// admitted opens the session.
func (m *machine) admitted(h *Hello, p Principal, w *Welcome) {
	m.phase = open
	m.principal = p
	m.id = w.Session
	m.tell(w)
	for i := range h.Subs {
		m.subscribe(&h.Subs[i])
	}
	m.drained()
}

// drain lets what is being written be answered, says goodbye and closes.
func (m *machine) drain(reconnect time.Duration) {
	m.draining, m.goodbye = true, reconnect
	if m.phase < open {
		m.end(EndShutdown)
	}
	m.drained()
}

func (m *machine) drained() {
	if m.draining && m.pending.len() == 0 {
		m.end(EndShutdown, &Goodbye{Reason: "shutdown", ReconnectAfterMS: m.goodbye.Milliseconds()})
	}
}

// receive takes every message that needs nothing but the machine.
func (m *machine) receive(msg Message) {
	switch msg := msg.(type) {
	case *Subscribe:
		m.subscribe(msg)
	case *Unsubscribe:
		m.unsubscribe(msg)
	case *Ping:
		m.answers.push(answer{ping: msg})
	case *Bad:
		m.fault(&msg.Error)
	default:
		m.fault(&Error{Code: store.CodeBadMessage, Message: fmt.Sprintf("%T is not expected here", msg)})
	}
}

// reauthenticated takes the answer to an auth. Subscriptions that the new rights do not cover end.
func (m *machine) reauthenticated(a *Auth, p Principal) bool {
	if p.Subject != m.principal.Subject {
		m.tell(&Error{Ref: a.Ref, Code: store.CodeForbidden, Message: "the token is another subject's"})
		return false
	}
	m.principal = p
	m.tell(&Authenticated{Ref: a.Ref, By: p.Subject, ExpiresAt: unixMS(p.Expires)})
	for _, s := range append([]*sub(nil), m.subs...) {
		if !p.May(ActRead, s.filter) {
			m.remove(s)
			m.tell(&Error{Sub: s.id, Code: store.CodeForbidden, Message: "the new token does not allow to read " + s.filter.String()})
		}
	}
	return true
}

func unixMS(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
