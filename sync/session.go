package sync

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"tidemark/store"
)

// ErrEnded is returned by Receive when the session takes in nothing more. The edge stops reading; what is left to be
// written comes out of Next.
var ErrEnded = errors.New("sync: the session has ended")

// Session is one connection. It owns no goroutine: Receive runs on the one that reads, Next on the one that writes, which
// exists only while there is something to write.
type Session struct {
	engine *Engine
	wake   func()
	token  string
	source store.Source // the log's

	receiving sync.Mutex // held by Receive: a takeover waits for it
	showing   sync.Mutex // held while a topic is told of the presence; never taken under mu

	mu      sync.Mutex // guards what follows; never held while the log is asked or another session's is taken
	m       machine
	awake   bool // a writer runs, or was called
	closed  bool
	client  clientKey
	room    chan struct{} // closed when there is room again; nil: nobody waits
	done    chan struct{} // closed at the end; made when first asked for
	onDone  func(*store.Push)
	expiry  *time.Timer
	out     *outbox // while there is a writer
	pins    []*run  // what the frame being written points into
	charged int64   // what else of it counts against the budget
}

// Connect makes a session for a new connection. token is what the upgrade request brought, "" for none.
//
// wake is called when there is something to write and no writer is at work: the edge starts one goroutine that calls Next
// until it returns false and ends then. wake must not block; it may be called on the log's own goroutine, also before Connect
// returns when the engine is draining.
func (e *Engine) Connect(wake func(), token string) *Session {
	s := &Session{engine: e, wake: wake, token: token}
	s.m.rules = &e.rules
	s.m.owner = s
	e.enter(s)
	return s
}

// Welcomed reports whether the hello was accepted; before that only small frames are to be read.
func (s *Session) Welcomed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m.phase >= open
}

// Stalled tells whether the peer reads slowly: then pages are small, so that the next one is soon done.
func (s *Session) Stalled(is bool) {
	s.mu.Lock()
	s.m.stalled = is
	s.mu.Unlock()
}

// Receive takes in one message; the edge calls it from one goroutine, in the order in which messages came. It waits while
// the client has too much outstanding or reads no answers, and while the log's queue is full; Close ends the waiting. The
// message belongs to the session from then on. After ErrEnded nothing more is to be read.
func (s *Session) Receive(msg Message) error {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	mutations := 0
	if p, ok := msg.(*Push); ok {
		mutations = len(p.Store.Mutations)
	}
	if err := s.admit(msg, mutations); err != nil {
		return err
	}
	switch msg := msg.(type) {
	case *Push:
		return s.push(msg)
	case *Hello:
		return s.hello(msg)
	case *Auth:
		return s.reauthenticate(msg)
	case *SendSignal:
		return s.signal(msg)
	case *SetPresence:
		return s.present(msg)
	}
	s.update(func(m *machine) { m.receive(msg) })
	return nil
}

// admit waits until the message may come in.
func (s *Session) admit(msg Message, mutations int) error {
	for {
		s.mu.Lock()
		ok, err := s.mayEnter(msg, mutations)
		if ok || err != nil {
			s.leave()
			return err
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		s.engine.stats.inWaits.Add(1)
		<-room
	}
}

func (s *Session) mayEnter(msg Message, mutations int) (bool, error) {
	switch {
	case s.closed || s.m.phase >= ending || s.m.draining:
		return false, ErrEnded
	case s.m.phase == open:
		return s.m.room(mutations), nil
	}
	if _, ok := msg.(*Hello); ok {
		s.m.phase = admitting
		return true, nil
	}
	e := &Error{Code: store.CodeBadMessage, Message: "hello comes first"}
	if bad, ok := msg.(*Bad); ok {
		e = &bad.Error
	}
	s.m.end(EndProtocol, e)
	return false, ErrEnded
}

// update changes the machine and calls a writer if there is something to write then.
func (s *Session) update(fn func(*machine)) {
	s.mu.Lock()
	if !s.closed {
		fn(&s.m)
	}
	s.leave()
}

// leave unlocks, and calls a writer when there is work and none is there; nor does anybody wait on when there is room.
func (s *Session) leave() {
	if s.room != nil && (s.closed || s.m.phase != open || s.m.draining || s.m.room(1)) {
		close(s.room)
		s.room = nil
	}
	if s.m.phase >= ending && s.done != nil {
		select {
		case <-s.done:
		default:
			close(s.done)
		}
	}
	call := !s.awake && !s.closed && !s.m.idle()
	if call {
		s.awake = true
	}
	left, id := s.m.left, s.m.id
	s.m.left = nil
	s.mu.Unlock()
	for _, t := range left {
		s.withdraw(t, id)
	}
	if call {
		s.wake()
	}
}

// push hands a push to the log.
func (s *Session) push(p *Push) error {
	take := false
	s.mu.Lock()
	if !s.closed && s.m.phase == open {
		take = s.m.push(p)
	}
	if s.onDone == nil {
		s.onDone = s.pushed
	}
	done := s.onDone
	s.leave()
	if !take {
		return nil
	}
	p.Store.Source, p.Store.Done = &s.source, done
	err := s.engine.log.Append(doneCtx{s}, p.Store)
	if err == nil {
		return nil
	}
	s.update(func(m *machine) {
		m.retract(p)
		m.end(EndGoingAway)
	})
	return ErrEnded
}

// pushed is called by the log when the verdicts of a push are on disk.
func (s *Session) pushed(p *store.Push) {
	s.mu.Lock()
	if !s.closed {
		s.m.answered(p)
	}
	s.leave()
}

// hello authenticates and opens the session, taking over from an older connection of the same client.
func (s *Session) hello(h *Hello) error {
	s.mu.Lock()
	again := s.m.phase == open
	if again {
		s.m.fault(&Error{Ref: h.Ref, Code: store.CodeBadMessage, Message: "a second hello"})
		s.m.end(EndProtocol)
	}
	s.leave()
	if again {
		return ErrEnded
	}
	if tooOld(h.App, s.engine.opts.MinApp) {
		return s.refuse(EndUpgrade, &Error{Ref: h.Ref, Code: store.CodeUnsupported, Message: "this version of the app is too old"})
	}
	token := h.Token
	if token == "" {
		token = s.token
	}
	p, err := s.engine.opts.Authenticate(doneCtx{s}, token)
	s.token = ""
	if err == nil {
		err = notExpired(p, time.Now())
	}
	if err != nil {
		return s.refuseToken(h.Ref, err)
	}
	if !h.Client.IsZero() && !s.takeOver(clientKey{p.Subject, h.Client}, h.N) {
		return s.refuse(EndReplaced)
	}
	w := s.engine.welcome(h.Ref, &p)
	s.update(func(m *machine) {
		if m.phase == admitting {
			m.admitted(h, p, w)
			s.expireAt(p.Expires)
		}
	})
	return nil
}

// takeOver makes this the connection of a client; the older one takes in nothing more when it returns. false: this one is
// the older.
func (s *Session) takeOver(k clientKey, n uint64) bool {
	old, ok := s.engine.clients.claim(k, n, s, time.Now())
	if !ok {
		return false
	}
	s.mu.Lock()
	s.client = k
	gone := s.closed
	s.mu.Unlock()
	if gone { // closed while it claimed
		s.engine.clients.leave(k, s, time.Now())
	}
	if old != nil {
		old.update(func(m *machine) { m.end(EndReplaced) })
		old.receiving.Lock()   // what it is just handing to the log comes before everything of ours
		old.receiving.Unlock() //lint:ignore SA2001 the wait is the point
	}
	return true
}

// refuse ends the session with an answer.
func (s *Session) refuse(how End, e ...Reply) error {
	s.update(func(m *machine) { m.end(how, e...) })
	return ErrEnded
}

// refuseToken ends the session for want of a good token, or because the server could not tell.
func (s *Session) refuseToken(ref Ref, err error) error {
	e := s.engine.explain(err, "authenticate")
	e.Ref = ref
	if e.Code == store.CodeInternal {
		return s.refuse(EndOverloaded, e)
	}
	return s.refuse(EndUnauthorized, e)
}

func notExpired(p Principal, now time.Time) error {
	if p.Expires.IsZero() || now.Before(p.Expires) {
		return nil
	}
	return &store.Refusal{Code: store.CodeTokenExpired, Message: "the token has expired"}
}

// reauthenticate takes a new token. A bad one changes nothing.
func (s *Session) reauthenticate(a *Auth) error {
	p, err := s.engine.opts.Authenticate(doneCtx{s}, a.Token)
	if err == nil {
		err = notExpired(p, time.Now())
	}
	s.update(func(m *machine) {
		if m.phase != open {
			return
		}
		if err != nil {
			e := s.engine.explain(err, "authenticate")
			e.Ref = a.Ref
			m.tell(e)
		} else if m.reauthenticated(a, p) {
			s.expireAt(p.Expires)
		}
	})
	return nil
}

// expireAt ends the session at a time unless it is called again before. s.mu is held.
func (s *Session) expireAt(t time.Time) {
	if s.expiry != nil {
		s.expiry.Stop()
		s.expiry = nil
	}
	if t.IsZero() {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(t), func() {
		s.update(func(m *machine) {
			if s.expiry == timer { // no newer token came meanwhile
				m.end(EndUnauthorized, &Error{Code: store.CodeTokenExpired, Message: "the token has expired"})
			}
		})
	})
	s.expiry = timer
}

// rouse tells that there are news for a subscription.
func (s *Session) rouse(sub *sub) {
	s.mu.Lock()
	if !s.closed {
		s.m.settle(sub)
	}
	s.leave()
}

// unpark tells that the budget has room for pages again.
func (s *Session) unpark() { s.update(func(m *machine) { m.parked = false }) }

// Close ends the session: its subscriptions, its presence, its waiting. The edge calls it once the connection is over, for
// whatever reason; it may be called more than once and concurrently with everything.
func (s *Session) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	for len(s.m.subs) > 0 {
		s.m.remove(s.m.subs[len(s.m.subs)-1])
	}
	for s.m.signals.len() > 0 {
		s.m.unhear()
	}
	s.m.phase = ended
	if s.expiry != nil {
		s.expiry.Stop()
	}
	pins, charged := slices.Clone(s.pins), s.charged // the writer may go on with its own
	s.pins, s.charged = nil, 0
	client := s.client
	s.leave()
	s.engine.budget.give(unpin(pins) + charged)
	s.engine.budget.forget(s)
	if client != (clientKey{}) {
		s.engine.clients.leave(client, s, time.Now())
	}
	s.engine.exit(s)
}

// doneCtx is the context of what a session waits for: it ends with the session. It costs nothing until somebody asks.
type doneCtx struct{ s *Session }

func (c doneCtx) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c doneCtx) Value(any) any               { return nil }

func (c doneCtx) Err() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.m.phase >= ending {
		return context.Canceled
	}
	return nil
}

func (c doneCtx) Done() <-chan struct{} {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.done == nil {
		c.s.done = make(chan struct{})
		if c.s.m.phase >= ending {
			close(c.s.done)
		}
	}
	return c.s.done
}
