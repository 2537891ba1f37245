package wire

import "tidemark/store"

// Hello opens a connection: who speaks, and what to resume.
type Hello struct {
	Ref    Ref
	Token  string   // "": none here, perhaps in the upgrade's Authorization header
	Client store.ID // one outbox; zero: none
	N      uint64   // grows with every connection of Client
	App    string
	Log    store.ID // the log of every since and numeric expect that names none; zero: unknown
	Subs   []Subscribe
}

// Subscribe asks for the events of a filter from a cursor on, or from where From says.
type Subscribe struct {
	Ref    Ref
	Sub    uint64
	Filter store.Filter
	Resume bool         // Cursor holds: there is a since
	Cursor store.Cursor // Mark and Log only with a Seq above 0
	From   From
	Fault  *Error // only in a Hello: what is wrong with this entry, which fails alone
}

// Unsubscribe ends a subscription.
type Unsubscribe struct {
	Ref Ref
	Sub uint64
}

// Push asks for mutations to be judged and appended. Decoded, every mutation has its stream (HasStream tells whether the
// push named one), every numeric expect its log, and Refused says what is wrong with single mutations.
type Push struct {
	Ref       Ref
	Stream    store.Stream
	HasStream bool
	Log       store.ID // of the numeric expects; zero: unknown
	store.Push
}

// SendSignal passes data to those who are subscribed to the stream now.
type SendSignal struct {
	Ref    Ref
	Stream store.Stream
	Data   []byte // compact JSON
}

// SetPresence shows data to those who are subscribed to the stream, until it is changed or the connection ends.
type SetPresence struct {
	Ref    Ref
	Stream store.Stream
	Data   []byte // compact JSON; nil: no longer present
}

// Ping asks for a Pong.
type Ping struct{ Ref Ref }

// Auth brings a new token for the same subject.
type Auth struct {
	Ref   Ref
	Token string
}

// Append implements Message.
func (m *Hello) Append(dst []byte) []byte {
	dst = appendHead(dst, "hello", m.Ref)
	if m.Token != "" {
		dst = appendStringField(dst, "token", m.Token)
	}
	dst = appendIDField(dst, "client", m.Client)
	if m.N != 0 {
		dst = appendUintField(dst, "n", m.N)
	}
	if m.App != "" {
		dst = appendStringField(dst, "app", m.App)
	}
	dst = appendIDField(dst, "log", m.Log)
	if len(m.Subs) > 0 {
		dst = append(dst, `,"subs":[`...)
		for i := range m.Subs {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(m.Subs[i].appendFields(append(dst, '{')), '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// Append implements Message.
func (m *Subscribe) Append(dst []byte) []byte {
	dst = append(dst, `{"type":"subscribe",`...)
	return append(m.appendFields(dst), '}')
}

func (m *Subscribe) appendFields(dst []byte) []byte {
	dst = append(dst, `"sub":`...)
	dst = appendUint(dst, m.Sub)
	dst = appendRef(dst, m.Ref)
	dst = appendStringField(dst, "stream", m.Filter.String())
	if m.Resume {
		dst = appendUintField(dst, "since", uint64(m.Cursor.Seq))
		dst = appendIDField(dst, "mark", m.Cursor.Mark)
		dst = appendIDField(dst, "log", m.Cursor.Log)
	}
	if m.From != FromSnapshot {
		dst = appendStringField(dst, "from", m.From.String())
	}
	return dst
}

// Append implements Message.
func (m *Unsubscribe) Append(dst []byte) []byte {
	dst = appendHead(dst, "unsubscribe", m.Ref)
	return append(appendUintField(dst, "sub", m.Sub), '}')
}

// Append implements Message.
func (m *Push) Append(dst []byte) []byte {
	dst = m.AppendOpen(dst)
	for i := range m.Mutations {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendMutation(dst, &m.Mutations[i], !m.HasStream || m.Mutations[i].Stream != m.Stream)
	}
	return append(dst, PushEnd...)
}

// PushEnd closes what Push.AppendOpen began.
const PushEnd = `]}`

// AppendOpen appends the frame up to its mutations, for callers who keep those as text: they follow, separated by commas,
// then PushEnd.
func (m *Push) AppendOpen(dst []byte) []byte {
	dst = appendHead(dst, "push", m.Ref)
	if m.HasStream {
		dst = appendStringField(dst, "stream", string(m.Stream))
	}
	dst = appendIDField(dst, "log", m.Log)
	if m.Atomic {
		dst = append(dst, `,"atomic":true`...)
	}
	return append(dst, `,"mutations":[`...)
}

// AppendMutation appends one mutation; withStream names its stream in it.
func AppendMutation(dst []byte, m *store.Mutation, withStream bool) []byte {
	dst = append(dst, `{"id":"`...)
	dst = append(m.ID.Append(dst), '"')
	if withStream {
		dst = appendStringField(dst, "stream", string(m.Stream))
	}
	if m.Type != "" {
		dst = appendStringField(dst, "type", m.Type)
	}
	if m.Key != "" {
		dst = appendStringField(dst, "key", m.Key)
	}
	if m.Op != store.OpNone {
		dst = append(dst, `,"op":"`...)
		dst = append(append(dst, m.Op.String()...), '"')
	}
	if m.Data != nil {
		dst = append(dst, `,"data":`...)
		dst = append(dst, m.Data...)
	}
	switch m.Expect.Kind {
	case store.ExpectSeq:
		dst = appendUintField(dst, "expect", uint64(m.Expect.Seq))
	case store.ExpectID:
		dst = appendIDField(dst, "expect", m.Expect.ID)
	}
	return append(dst, '}')
}

// Append implements Message.
func (m *SendSignal) Append(dst []byte) []byte {
	dst = appendHead(dst, "signal", m.Ref)
	dst = appendStringField(dst, "stream", string(m.Stream))
	return append(appendDataField(dst, m.Data), '}')
}

// Append implements Message.
func (m *SetPresence) Append(dst []byte) []byte {
	dst = appendHead(dst, "presence", m.Ref)
	dst = appendStringField(dst, "stream", string(m.Stream))
	return append(appendDataField(dst, m.Data), '}')
}

// Append implements Message.
func (m *Ping) Append(dst []byte) []byte {
	return append(appendHead(dst, "ping", m.Ref), '}')
}

// Append implements Message.
func (m *Auth) Append(dst []byte) []byte {
	dst = appendHead(dst, "auth", m.Ref)
	return append(appendStringField(dst, "token", m.Token), '}')
}
