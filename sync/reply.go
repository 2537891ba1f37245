package sync

import "tidemark/store"

// Reply is a message to a client: *Welcome, *Subscribed, *Unsubscribed, *Live, *Reset, *Snapshot, *Signal, *Presence, *Pong,
// *Authenticated, *Error or *Goodbye. Acks and events, which are many, have methods of Encoder to themselves.
type Reply interface{ toClient() }

// Welcome accepts a Hello.
type Welcome struct {
	Ref         Ref
	Log         store.ID
	Session     store.ID
	Head        store.Seq
	By          string // "": none
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

// Signal brings what another client, or the server itself, sent to a stream.
type Signal struct {
	Sub     uint64
	Session store.ID // zero: it was not sent by a session
	By      string
	Data    []byte
}

// Member is one session that is present on a stream.
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
	ExpiresAt int64 // Unix ms; 0: never
}

// Error tells what was wrong with one message, or why a subscription or connection ends.
type Error struct {
	Ref     Ref
	Sub     uint64 // 0: not about one subscription
	Code    store.Code
	Message string
}

// Goodbye announces that the server ends the connection.
type Goodbye struct {
	Reason           string
	ReconnectAfterMS int64
}

func (*Welcome) toClient()       {}
func (*Subscribed) toClient()    {}
func (*Unsubscribed) toClient()  {}
func (*Live) toClient()          {}
func (*Reset) toClient()         {}
func (*Snapshot) toClient()      {}
func (*Signal) toClient()        {}
func (*Presence) toClient()      {}
func (*Pong) toClient()          {}
func (*Authenticated) toClient() {}
func (*Error) toClient()         {}
func (*Goodbye) toClient()       {}

// Error returns code and message.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// End says how a connection ends; the edge knows the close code that goes with it.
type End uint8

// The ways in which the engine ends a connection.
const (
	EndNone         End = iota
	EndShutdown         // the server stops
	EndGoingAway        // the log failed or was closed
	EndOverloaded       // an error of the server's own
	EndReplaced         // another connection of the same client took over
	EndProtocol         // no hello, or too many bad messages
	EndUnauthorized     // no, bad or expired token
	EndUpgrade          // the app is too old
)

// Frame is one message to be written. Its pieces are shared with other sessions and must not be changed; they, and the list
// itself, are valid until the next call of Next or Close. A frame with End asks to close the connection instead.
type Frame struct {
	Pieces [][]byte
	End    End
}

// Len returns the number of bytes of the frame's message.
func (f *Frame) Len() (n int) {
	for _, p := range f.Pieces {
		n += len(p)
	}
	return n
}

// Encoder turns messages into the text of frames: the engine does not know the wire. All methods append to dst, may be
// called concurrently and must not keep what they are given.
type Encoder interface {
	// AppendEvent appends one event; withStream names its stream in it. Its bytes are shared by all readers.
	AppendEvent(dst []byte, ev *store.Event, withStream bool) []byte
	// AppendEventsOpen and AppendEventsClose append what stands around the events of a frame, which the engine joins with
	// commas.
	AppendEventsOpen(dst []byte, sub uint64) []byte
	AppendEventsClose(dst []byte) []byte
	// AppendAck answers a push from its verdicts.
	AppendAck(dst []byte, p *Push) []byte
	// AppendReply appends any other message.
	AppendReply(dst []byte, r Reply) []byte
}
