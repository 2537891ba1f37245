package sync

import "tidemark/store"

// Ref is what a client tagged a message with; its answer repeats it. The engine does not look into it. "": none.
type Ref string

// From tells where a subscription without a cursor begins, and how it goes on after a reset.
type From uint8

// The places to begin at.
const (
	FromSnapshot From = iota // the documents, then the events after them
	FromStart                // every event since the floor
	FromNow                  // only what comes
)

// Message is what a client sent, as the edge decoded it: *Hello, *Subscribe, *Unsubscribe, *Push, *SendSignal,
// *SetPresence, *Ping, *Auth, or *Bad for what could not be decoded.
type Message interface{ fromClient() }

// Hello opens a connection.
type Hello struct {
	Ref    Ref
	Token  string   // "": none; then the token that Connect was given counts
	Client store.ID // one outbox; zero: none
	N      uint64   // grows with every connection of Client
	App    string
	Subs   []Subscribe
}

// Subscribe asks for the events of a filter, from a cursor on or from where From says.
type Subscribe struct {
	Ref    Ref
	Sub    uint64
	Filter store.Filter
	Resume bool         // Cursor holds
	Cursor store.Cursor // Log is filled in by the edge from the hello when the message has none
	From   From
	Fault  *Error // only in a Hello: what is wrong with this entry, which fails alone
}

// Unsubscribe ends a subscription.
type Unsubscribe struct {
	Ref Ref
	Sub uint64
}

// Push asks for mutations to be judged and appended. Of Store the edge fills in Atomic, Mutations and Refused; it belongs to
// the engine until its ack was encoded.
type Push struct {
	Ref   Ref
	Store *store.Push
	Edge  any // the edge's own, for its Encoder

	answered bool
	fault    *Error // instead of an ack
}

// SendSignal passes data to those who are subscribed to the stream now.
type SendSignal struct {
	Ref    Ref
	Stream store.Stream
	Data   []byte // compact JSON; kept and shared
}

// SetPresence shows data to those who are subscribed to the stream, until it is changed or the connection ends.
type SetPresence struct {
	Ref    Ref
	Stream store.Stream
	Data   []byte // compact JSON, kept and shared; nil: no longer present
}

// Ping asks for a Pong.
type Ping struct{ Ref Ref }

// Auth brings a new token for the same subject.
type Auth struct {
	Ref   Ref
	Token string
}

// Bad is a message that the edge could not make sense of; it is answered with the error. Too many of them with the code
// bad_message end the connection.
type Bad struct{ Error Error }

func (*Hello) fromClient()       {}
func (*Subscribe) fromClient()   {}
func (*Unsubscribe) fromClient() {}
func (*Push) fromClient()        {}
func (*SendSignal) fromClient()  {}
func (*SetPresence) fromClient() {}
func (*Ping) fromClient()        {}
func (*Auth) fromClient()        {}
func (*Bad) fromClient()         {}
