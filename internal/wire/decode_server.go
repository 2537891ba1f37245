package wire

import (
	"tidemark/store"
)

// Unknown is a message of the server that this version does not know, and that a client ignores.
type Unknown struct{ Type string }

// Append implements Message.
func (m *Unknown) Append(dst []byte) []byte { return append(appendHead(dst, m.Type, ""), '}') }

// DecodeServer reads one message of the server: *Welcome, *Subscribed, *Unsubscribed, *Events, *Live, *Reset, *Snapshot,
// *Ack, *Signal, *Presence, *Pong, *Authenticated, *Error, *Goodbye or *Unknown. Data (of events, documents, members,
// signals and conflicts) is the JSON as it was sent, and shares memory with the frame; everything else is copied.
func DecodeServer(frame []byte) (Message, error) {
	s := scanner{src: frame, code: store.CodeBadMessage}
	typ, found := s.messageType()
	if s.broken || !found {
		return nil, notJSON()
	}
	m := newMessage(string(typ))
	s.peek()
	s.pos++
	readMembers(&s, m.(reader))
	if e := s.finish("", 0); e != nil {
		return nil, e
	}
	return m, nil
}

func newMessage(typ string) Message {
	switch typ {
	case "events":
		return &Events{}
	case "ack":
		return &Ack{}
	case "live":
		return &Live{}
	case "pong":
		return &Pong{}
	case "snapshot":
		return &Snapshot{}
	case "subscribed":
		return &Subscribed{}
	case "unsubscribed":
		return &Unsubscribed{}
	case "reset":
		return &Reset{}
	case "signal":
		return &Signal{}
	case "presence":
		return &Presence{}
	case "welcome":
		return &Welcome{}
	case "authenticated":
		return &Authenticated{}
	case "error":
		return &Error{}
	case "goodbye":
		return &Goodbye{}
	}
	return &Unknown{Type: typ}
}

// reader is something that knows its members. read reads the value of one of them, and reports false, having read nothing,
// when the name is not known.
type reader interface {
	read(s *scanner, name []byte) bool
}

// checker is a reader that cannot do without some of its members.
type checker interface {
	check(s *scanner)
}

// readMembers reads an object from behind its opening bracket. A client ignores what it does not know.
func readMembers(s *scanner, r reader) {
	for f := (fields{}); s.next(&f); {
		if !r.read(s, f.name) {
			s.skip()
		}
	}
	if c, ok := r.(checker); ok {
		c.check(s)
	}
}

// readObject reads the object at the current value.
func readObject(s *scanner, what string, r reader) {
	if s.object(what) {
		readMembers(s, r)
	}
}

// raw reads any value and returns its text in the frame.
func (s *scanner) raw() []byte {
	s.peek()
	start := s.pos
	s.skip()
	return s.src[start:s.pos:s.pos]
}

func (s *scanner) string(what string) string {
	t, _ := s.text(what)
	return string(t)
}

// integer reads an integer of either sign.
func (s *scanner) integer(what string) int64 {
	negative := s.peek() == '-'
	if negative {
		s.pos++
	}
	n, _ := s.number(what)
	if negative {
		return -int64(n)
	}
	return int64(n)
}

// streamOf reads the name of a stream; have is one that is likely to come again.
func (s *scanner) streamOf(have store.Stream) store.Stream {
	t, ok := s.text("stream")
	if !ok || string(t) == string(have) {
		return have
	}
	return store.Stream(t)
}

// needSub notes that a message of a subscription does not say of which.
func (s *scanner) needSub(sub uint64) {
	if sub == 0 {
		s.wrong("sub is missing")
	}
}

func (m *Unknown) read(*scanner, []byte) bool { return false }

func (m *Welcome) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "ref":
		m.Ref = s.ref()
	case "log":
		m.Log = s.id("log")
	case "session":
		m.Session = s.id("session")
	case "head":
		m.Head = s.seq("head")
	case "by":
		m.By = s.string("by")
	case "expires_at":
		m.ExpiresAt = s.integer("expires_at")
	case "server":
		m.Server = s.string("server")
	case "features":
		if s.array("features") {
			for n := 0; s.item(n); n++ {
				m.Features = append(m.Features, s.string("a feature"))
			}
		}
	case "heartbeat_ms":
		m.HeartbeatMS = s.integer("heartbeat_ms")
	case "limits":
		readObject(s, "limits", &m.Limits)
	default:
		return false
	}
	return true
}

func (m *Welcome) check(s *scanner) {
	if m.Log.IsZero() {
		s.wrong("welcome has no log")
	}
}

func (l *Limits) read(s *scanner, name []byte) bool {
	field := map[string]*int{
		"frame": &l.Frame, "mutations": &l.Mutations, "inflight": &l.Inflight, "subs": &l.Subs,
		"data": &l.Data, "doc": &l.Doc, "presence": &l.Presence,
	}[string(name)]
	if field == nil {
		return false
	}
	*field = int(s.integer("a limit"))
	return true
}

func (m *Subscribed) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "ref":
		m.Ref = s.ref()
	case "sub":
		m.Sub = s.sub()
	case "stream":
		m.Filter = s.filter()
	case "since":
		m.Since = s.seq("since")
	case "head":
		m.Head = s.seq("head")
	case "floor":
		m.Floor = s.seq("floor")
	default:
		return false
	}
	return true
}

func (m *Subscribed) check(s *scanner) {
	s.needSub(m.Sub)
	if m.Filter == (store.Filter{}) {
		s.wrong("subscribed has no stream")
	}
}

func (m *Unsubscribed) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "ref":
		m.Ref = s.ref()
	case "sub":
		m.Sub = s.sub()
	default:
		return false
	}
	return true
}

func (m *Unsubscribed) check(s *scanner) { s.needSub(m.Sub) }

func (m *Live) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "sub":
		m.Sub = s.sub()
	case "seq":
		m.Seq = s.seq("seq")
	case "mark":
		m.Mark = s.id("mark")
	default:
		return false
	}
	return true
}

func (m *Live) check(s *scanner) { s.needSub(m.Sub) }

func (m *Reset) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "sub":
		m.Sub = s.sub()
	case "reason":
		m.Reason = store.Reset(s.string("reason"))
	case "log":
		m.Log = s.id("log")
	case "floor":
		m.Floor = s.seq("floor")
	case "head":
		m.Head = s.seq("head")
	default:
		return false
	}
	return true
}

func (m *Reset) check(s *scanner) { s.needSub(m.Sub) }

func (m *Pong) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "ref":
		m.Ref = s.ref()
	case "head":
		m.Head = s.seq("head")
	case "seq":
		m.Seq = s.seq("seq")
	case "mark":
		m.Mark = s.id("mark")
	default:
		return false
	}
	return true
}

func (m *Authenticated) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "ref":
		m.Ref = s.ref()
	case "by":
		m.By = s.string("by")
	case "expires_at":
		m.ExpiresAt = s.integer("expires_at")
	default:
		return false
	}
	return true
}

func (m *Goodbye) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "reason":
		m.Reason = s.string("reason")
	case "reconnect_after_ms":
		m.ReconnectAfterMS = s.integer("reconnect_after_ms")
	default:
		return false
	}
	return true
}
