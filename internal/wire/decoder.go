package wire

import (
	"bytes"

	"tidemark/store"
)

// Decoder decodes what one client sends, in order. It keeps the log id of the client's hello, which holds for every later
// since and numeric expect that brings none of its own. It must not be used concurrently.
type Decoder struct {
	Limits Limits // as told in the welcome: WithDefaults has been called
	log    store.ID
	stream store.Stream // the last one, and the last type: they are likely to come again, and then need no memory
	typ    string
}

// Decode reads one message: *Hello, *Subscribe, *Unsubscribe, *Push, *SendSignal, *SetPresence, *Ping or *Auth. Otherwise
// it returns the error to answer with, which carries ref and sub where the message had valid ones; such a message must
// change nothing. Nothing that is returned shares memory with the frame.
func (d *Decoder) Decode(frame []byte) (Message, *Error) {
	s := scanner{src: frame, code: store.CodeBadMessage}
	typ, found := s.messageType()
	if s.broken {
		return nil, notJSON()
	}
	s.peek()
	s.pos++ // messageType found the opening bracket
	switch string(typ) {
	case "push":
		return d.push(&s)
	case "ping":
		return d.ping(&s)
	case "subscribe":
		return d.subscribe(&s)
	case "unsubscribe":
		return d.unsubscribe(&s)
	case "signal", "presence":
		return d.ephemeral(&s, string(typ) == "presence")
	case "auth":
		return d.auth(&s)
	case "hello":
		return d.hello(&s)
	}
	if !found {
		s.wrong("the message has no type")
	}
	return d.unknown(&s)
}

func notJSON() *Error {
	return errorf(store.CodeBadMessage, "this is not JSON of the form that is expected")
}

// messageType finds the type of the message, wherever it stands, and leaves pos at the start.
func (s *scanner) messageType() (typ []byte, found bool) {
	const first = `{"type":"`
	if t, ok := bytes.CutPrefix(s.src, []byte(first)); ok {
		if i := bytes.IndexByte(t, '"'); i >= 0 && i < 16 && bytes.IndexByte(t[:i], '\\') < 0 {
			return t[:i], true
		}
	}
	if s.peek() != '{' {
		s.fail()
		return nil, false
	}
	s.pos++
	for f := (fields{}); s.next(&f); {
		if string(f.name) == "type" && s.peek() == '"' {
			typ, found = s.text("type")
			break
		}
		s.skip()
	}
	if !s.broken {
		s.pos, s.badUTF, s.fault = 0, false, nil
	}
	return typ, found
}

// common reads a member that any message may have, or that this version does not know.
func (s *scanner) common(f *fields, ref *Ref) {
	switch string(f.name) {
	case "type":
		s.once(f, 1<<31)
		s.text("type")
	case "ref":
		s.once(f, 1<<30)
		*ref = s.ref()
	default:
		s.unknown(f)
	}
}

// need notes that one of the members, given by their bits, did not come.
func (s *scanner) need(f *fields, bits uint32, message string) {
	if f.seen&bits != bits {
		s.wrong(message)
	}
}

// finish returns what is wrong with the message, if anything is.
func (s *scanner) finish(ref Ref, sub uint64) *Error {
	switch {
	case !s.atEnd():
		return notJSON()
	case s.badUTF:
		s.fault = errorf(store.CodeBadMessage, "the frame is not UTF-8")
	case s.fault == nil:
		return nil
	}
	s.fault.Ref, s.fault.Sub = ref, sub
	return s.fault
}

func (d *Decoder) unknown(s *scanner) (Message, *Error) {
	var ref Ref
	for f := (fields{}); s.next(&f); {
		s.common(&f, &ref)
	}
	s.wrong("the type of the message is unknown")
	return nil, s.finish(ref, 0)
}

func (d *Decoder) ping(s *scanner) (Message, *Error) {
	m := &Ping{}
	for f := (fields{}); s.next(&f); {
		s.common(&f, &m.Ref)
	}
	if e := s.finish(m.Ref, 0); e != nil {
		return nil, e
	}
	return m, nil
}

func (d *Decoder) auth(s *scanner) (Message, *Error) {
	m := &Auth{}
	f := fields{}
	for s.next(&f) {
		switch string(f.name) {
		case "token":
			s.once(&f, 1)
			t, _ := s.text("token")
			m.Token = string(t)
		default:
			s.common(&f, &m.Ref)
		}
	}
	s.need(&f, 1, "auth has no token")
	if e := s.finish(m.Ref, 0); e != nil {
		return nil, e
	}
	return m, nil
}

func (d *Decoder) unsubscribe(s *scanner) (Message, *Error) {
	m := &Unsubscribe{}
	f := fields{}
	for s.next(&f) {
		switch string(f.name) {
		case "sub":
			s.once(&f, 1)
			m.Sub = s.sub()
		default:
			s.common(&f, &m.Ref)
		}
	}
	s.need(&f, 1, "unsubscribe has no sub")
	if e := s.finish(m.Ref, m.Sub); e != nil {
		return nil, e
	}
	return m, nil
}

func (d *Decoder) subscribe(s *scanner) (Message, *Error) {
	m := &Subscribe{}
	d.subscription(s, m)
	if e := s.finish(m.Ref, m.Sub); e != nil {
		return nil, e
	}
	d.hold(m)
	return m, nil
}

// subscription reads the members of a subscribe message or of an entry of a hello's subs.
func (d *Decoder) subscription(s *scanner, m *Subscribe) {
	const bSub, bStream, bSince, bMark, bLog, bFrom = 1, 2, 4, 8, 16, 32
	f := fields{}
	for s.next(&f) {
		switch string(f.name) {
		case "sub":
			s.once(&f, bSub)
			m.Sub = s.sub()
		case "stream":
			s.once(&f, bStream)
			m.Filter = s.filter()
		case "since":
			s.once(&f, bSince)
			m.Cursor.Seq = s.seq("since")
		case "mark":
			s.once(&f, bMark)
			m.Cursor.Mark = s.id("mark")
		case "log":
			s.once(&f, bLog)
			m.Cursor.Log = s.id("log")
		case "from":
			s.once(&f, bFrom)
			m.From = s.from()
		default:
			s.common(&f, &m.Ref)
		}
	}
	s.need(&f, bSub|bStream, "a subscription needs sub and stream")
	m.Resume = f.seen&bSince != 0
}

// hold clears what belongs to a cursor above 0 only, and fills in the log of the hello.
func (d *Decoder) hold(m *Subscribe) {
	if m.Cursor.Seq == 0 {
		m.Cursor = store.Cursor{}
	} else if m.Cursor.Log.IsZero() {
		m.Cursor.Log = d.log
	}
}

func (s *scanner) from() From {
	t, ok := s.text("from")
	for i, n := range fromNames {
		if ok && n == string(t) {
			return From(i)
		}
	}
	s.wrong("from is none of snapshot, start, now")
	return 0
}

func (d *Decoder) ephemeral(s *scanner, presence bool) (Message, *Error) {
	const bStream, bData = 1, 2
	var m SendSignal
	f := fields{}
	for s.next(&f) {
		switch string(f.name) {
		case "stream":
			s.once(&f, bStream)
			m.Stream = s.streamName("")
		case "data":
			s.once(&f, bData)
			m.Data = s.data(&arena{}, d.Limits.Data)
		default:
			s.common(&f, &m.Ref)
		}
	}
	s.need(&f, bStream|bData, "stream and data are needed")
	if e := s.finish(m.Ref, 0); e != nil {
		return nil, e
	}
	if !presence {
		return &m, nil
	}
	if string(m.Data) == "null" {
		m.Data = nil
	}
	return (*SetPresence)(&m), nil
}

func (d *Decoder) hello(s *scanner) (Message, *Error) {
	const bToken, bClient, bN, bApp, bLog, bSubs = 1, 2, 4, 8, 16, 32
	m := &Hello{}
	if len(s.src) > MaxHello {
		s.refuse(store.CodeTooLarge, "a hello has at most 64 KiB")
	}
	f := fields{}
	for s.next(&f) {
		switch string(f.name) {
		case "token":
			s.once(&f, bToken)
			t, _ := s.text("token")
			m.Token = string(t)
		case "client":
			s.once(&f, bClient)
			m.Client = s.id("client")
		case "n":
			s.once(&f, bN)
			m.N, _ = s.number("n")
		case "app":
			s.once(&f, bApp)
			t, _ := s.bounded("app", 0, MaxApp)
			m.App = string(t)
		case "log":
			s.once(&f, bLog)
			m.Log = s.id("log")
		case "subs":
			s.once(&f, bSubs)
			d.helloSubs(s, m)
		default:
			s.common(&f, &m.Ref)
		}
	}
	if e := s.finish(m.Ref, 0); e != nil {
		return nil, e
	}
	d.log = m.Log
	for i := range m.Subs {
		d.hold(&m.Subs[i])
	}
	return m, nil
}

// helloSubs reads the subscriptions of a hello; what is wrong with one of them stays with it.
func (d *Decoder) helloSubs(s *scanner, m *Hello) {
	if len(s.src) > MaxHello {
		s.skip()
		return
	}
	if !s.array("subs") {
		return
	}
	fault, badUTF := s.fault, s.badUTF
	for n := 0; s.item(n); n++ {
		sub := d.helloSub(s)
		if n >= d.Limits.Subs && sub.Sub == 0 {
			continue // so many entries that are not even named: nobody waits for the answers
		}
		m.Subs = append(m.Subs, sub)
	}
	s.fault, s.badUTF = fault, badUTF
}

func (d *Decoder) helloSub(s *scanner) (m Subscribe) {
	s.fault, s.badUTF = nil, false
	if s.object("an entry of subs") {
		d.subscription(s, &m)
	}
	if s.badUTF {
		s.fault = errorf(store.CodeBadMessage, "the subscription is not UTF-8")
	}
	if m.Fault = s.fault; m.Fault != nil {
		m.Fault.Ref, m.Fault.Sub = m.Ref, m.Sub
	}
	return m
}
