package wire

import "tidemark/store"

// Welcome accepts a Hello.
type Welcome struct {
	Ref         Ref
	Log         store.ID
	Session     store.ID
	Head        store.Seq
	By          string // the authenticated subject; "": none
	ExpiresAt   int64  // Unix ms; 0: never
	Server      string
	Features    []string
	HeartbeatMS int64
	Limits      Limits
}

// Subscribed accepts a Subscribe and comes before anything else of the subscription.
type Subscribed struct {
	Ref    Ref
	Sub    uint64
	Filter store.Filter
	Since  store.Seq
	Head   store.Seq
	Floor  store.Seq
}

// Unsubscribed is the last that comes of a subscription.
type Unsubscribed struct {
	Ref Ref
	Sub uint64
}

// Events brings events of one subscription, in order.
type Events struct {
	Sub    uint64
	Wide   bool // each event names its stream
	Events []store.Event
}

// Live tells that everything up to Seq has been delivered.
type Live struct {
	Sub  uint64
	Seq  store.Seq
	Mark store.ID // zero: the log no longer has that event
}

// Reset tells that the client's history is not continued, and why.
type Reset struct {
	Sub    uint64
	Reason store.Reset
	Log    store.ID
	Floor  store.Seq
	Head   store.Seq
}

// Snapshot brings documents. The last frame has Done, Upto and, where known, Mark.
type Snapshot struct {
	Sub  uint64
	Seq  store.Seq
	Wide bool // each document names its stream
	Docs []store.Doc
	Done bool
	Upto store.Seq
	Mark store.ID
}

// Signal brings what another client sent with a SendSignal.
type Signal struct {
	Sub     uint64
	Session store.ID
	By      string
	Data    []byte
}

// Member is one connection that is present on a stream.
type Member struct {
	Session store.ID
	By      string
	Data    []byte
}

// Presence tells who came or changed, and who is gone; with Full the list begins anew.
type Presence struct {
	Sub  uint64
	Set  []Member
	Gone []store.ID
	Full bool
}

// Pong answers a Ping: everything up to Seq that belongs to a live subscription has been sent before it.
type Pong struct {
	Ref  Ref
	Head store.Seq
	Seq  store.Seq
	Mark store.ID
}

// Authenticated accepts an Auth.
type Authenticated struct {
	Ref       Ref
	By        string
	ExpiresAt int64
}

// Goodbye announces that the server ends the connection.
type Goodbye struct {
	Reason           string
	ReconnectAfterMS int64
}

// Append implements Message.
func (m *Welcome) Append(dst []byte) []byte {
	dst = appendHead(dst, "welcome", m.Ref)
	dst = appendIDField(dst, "log", m.Log)
	dst = appendIDField(dst, "session", m.Session)
	dst = appendUintField(dst, "head", m.Head)
	dst = appendIdentity(dst, m.By, m.ExpiresAt)
	dst = appendStringField(dst, "server", m.Server)
	dst = append(dst, `,"features":[`...)
	for i, f := range m.Features {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, f)
	}
	dst = append(dst, ']')
	dst = appendIntField(dst, "heartbeat_ms", m.HeartbeatMS)
	dst = append(dst, `,"limits":{"frame":`...)
	dst = appendUint(dst, uint64(m.Limits.Frame))
	dst = appendIntField(dst, "mutations", int64(m.Limits.Mutations))
	dst = appendIntField(dst, "inflight", int64(m.Limits.Inflight))
	dst = appendIntField(dst, "subs", int64(m.Limits.Subs))
	dst = appendIntField(dst, "data", int64(m.Limits.Data))
	dst = appendIntField(dst, "doc", int64(m.Limits.Doc))
	dst = appendIntField(dst, "presence", int64(m.Limits.Presence))
	return append(dst, '}', '}')
}

func appendIdentity(dst []byte, by string, expiresAt int64) []byte {
	if by != "" {
		dst = appendStringField(dst, "by", by)
	}
	if expiresAt != 0 {
		dst = appendIntField(dst, "expires_at", expiresAt)
	}
	return dst
}

// Append implements Message.
func (m *Subscribed) Append(dst []byte) []byte {
	dst = appendHead(dst, "subscribed", m.Ref)
	dst = appendUintField(dst, "sub", m.Sub)
	dst = appendStringField(dst, "stream", m.Filter.String())
	dst = appendUintField(dst, "since", m.Since)
	dst = appendUintField(dst, "head", m.Head)
	return append(appendUintField(dst, "floor", m.Floor), '}')
}

// Append implements Message.
func (m *Unsubscribed) Append(dst []byte) []byte {
	dst = appendHead(dst, "unsubscribed", m.Ref)
	return append(appendUintField(dst, "sub", m.Sub), '}')
}

// Append implements Message.
func (m *Events) Append(dst []byte) []byte {
	dst = AppendEventsOpen(dst, m.Sub)
	dst = AppendEvents(dst, m.Events, m.Wide)
	return append(dst, EventsEnd...)
}

// AppendEventsOpen appends an events frame up to its events; EventsEnd closes it.
func AppendEventsOpen(dst []byte, sub uint64) []byte {
	dst = append(dst, `{"type":"events","sub":`...)
	dst = appendUint(dst, sub)
	return append(dst, `,"events":[`...)
}

// EventsEnd closes what AppendEventsOpen began.
const EventsEnd = `]}`

// Append implements Message.
func (m *Live) Append(dst []byte) []byte {
	dst = append(dst, `{"type":"live","sub":`...)
	dst = appendUint(dst, m.Sub)
	dst = appendUintField(dst, "seq", m.Seq)
	return append(appendIDField(dst, "mark", m.Mark), '}')
}

// Append implements Message.
func (m *Reset) Append(dst []byte) []byte {
	dst = append(dst, `{"type":"reset","sub":`...)
	dst = appendUint(dst, m.Sub)
	dst = appendStringField(dst, "reason", string(m.Reason))
	dst = appendIDField(dst, "log", m.Log)
	dst = appendUintField(dst, "floor", m.Floor)
	return append(appendUintField(dst, "head", m.Head), '}')
}

// Append implements Message.
func (m *Snapshot) Append(dst []byte) []byte {
	dst = append(dst, `{"type":"snapshot","sub":`...)
	dst = appendUint(dst, m.Sub)
	dst = appendUintField(dst, "seq", m.Seq)
	dst = append(dst, `,"docs":[`...)
	dst = AppendDocs(dst, m.Docs, m.Wide)
	if !m.Done {
		return append(dst, `],"done":false}`...)
	}
	dst = append(dst, `],"done":true`...)
	dst = appendUintField(dst, "upto", m.Upto)
	return append(appendIDField(dst, "mark", m.Mark), '}')
}

// Append implements Message.
func (m *Signal) Append(dst []byte) []byte {
	dst = append(dst, `{"type":"signal","sub":`...)
	dst = appendUint(dst, m.Sub)
	dst = appendIDField(dst, "session", m.Session)
	dst = appendIdentity(dst, m.By, 0)
	return append(appendDataField(dst, m.Data), '}')
}

// Append implements Message.
func (m *Presence) Append(dst []byte) []byte {
	dst = append(dst, `{"type":"presence","sub":`...)
	dst = appendUint(dst, m.Sub)
	dst = append(dst, `,"set":[`...)
	for i := range m.Set {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = m.Set[i].Append(dst)
	}
	dst = append(dst, `],"gone":[`...)
	for i, id := range m.Gone {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(id.Append(append(dst, '"')), '"')
	}
	dst = append(dst, ']')
	if m.Full {
		dst = append(dst, `,"full":true`...)
	}
	return append(dst, '}')
}

// Append appends the member as it stands in a presence frame.
func (m *Member) Append(dst []byte) []byte {
	dst = append(dst, `{"session":"`...)
	dst = append(m.Session.Append(dst), '"')
	dst = appendIdentity(dst, m.By, 0)
	return append(appendDataField(dst, m.Data), '}')
}

// Append implements Message.
func (m *Pong) Append(dst []byte) []byte {
	dst = appendHead(dst, "pong", m.Ref)
	dst = appendUintField(dst, "head", m.Head)
	dst = appendUintField(dst, "seq", m.Seq)
	return append(appendIDField(dst, "mark", m.Mark), '}')
}

// Append implements Message.
func (m *Authenticated) Append(dst []byte) []byte {
	dst = appendHead(dst, "authenticated", m.Ref)
	return append(appendIdentity(dst, m.By, m.ExpiresAt), '}')
}

// Append implements Message.
func (m *Goodbye) Append(dst []byte) []byte {
	dst = append(dst, `{"type":"goodbye"`...)
	dst = appendStringField(dst, "reason", m.Reason)
	return append(appendIntField(dst, "reconnect_after_ms", m.ReconnectAfterMS), '}')
}
