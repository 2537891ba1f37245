package wire

import (
	"strconv"

	"tidemark/store"
)

// Subprotocol is the name that client and server agree on in the WebSocket handshake.
const Subprotocol = "tidemark.v1"

// MaxHello is the largest hello frame in bytes: nobody is authenticated before it, so it must be cheap to take.
const MaxHello = 64 << 10

// MaxRef is the longest ref that is a string, in bytes of UTF-8.
const MaxRef = 64

// MaxKey and MaxType are the longest key and type of a mutation, MaxApp the longest app of a hello, in bytes.
const (
	MaxKey  = 1024
	MaxType = 255
	MaxApp  = 255
)

// Message is one frame of the protocol, of either side.
type Message interface {
	// Append appends the frame's JSON text to dst.
	Append(dst []byte) []byte
}

// Ref is what a client tags a message with and finds again in its answer: the JSON text of an integer or a string, exactly
// as it was sent; "" when there is none.
type Ref string

// IntRef returns a ref that is a number; n must be within ±(2^53-1).
func IntRef(n int64) Ref { return Ref(strconv.FormatInt(n, 10)) }

// StringRef returns a ref that is a string of at most MaxRef bytes.
func StringRef(s string) Ref { return Ref(AppendString(nil, s)) }

// Int returns the number of a ref made by IntRef.
func (r Ref) Int() (int64, bool) {
	n, err := strconv.ParseInt(string(r), 10, 64)
	return n, err == nil
}

// Limits are what the server tells every client in its welcome, and what it holds clients to. Zero fields mean defaults.
type Limits struct {
	Frame     int // bytes of a frame, either way; default 1 MiB
	Mutations int // mutations of a push; default 1,000
	Inflight  int // unanswered mutations of a connection; default 1,000
	Subs      int // subscriptions of a connection; default 1,000
	Data      int // bytes of compact data; default 256 KiB
	Doc       int // bytes of a folded document; default 1 MiB
	Presence  int // members of a stream's presence; default 1,000
}

// WithDefaults returns l with its zero fields filled in.
func (l Limits) WithDefaults() Limits {
	d := Limits{Frame: 1 << 20, Mutations: 1000, Inflight: 1000, Subs: 1000, Data: 256 << 10, Doc: 1 << 20, Presence: 1000}
	for _, f := range [...]struct{ have, want *int }{
		{&l.Frame, &d.Frame}, {&l.Mutations, &d.Mutations}, {&l.Inflight, &d.Inflight}, {&l.Subs, &d.Subs},
		{&l.Data, &d.Data}, {&l.Doc, &d.Doc}, {&l.Presence, &d.Presence},
	} {
		if *f.have == 0 {
			*f.have = *f.want
		}
	}
	return l
}

// From tells where a subscription without a cursor begins, and how it goes on after a reset.
type From uint8

// The places to begin at.
const (
	FromSnapshot From = iota // the documents, then the events after them
	FromStart                // every event since the floor
	FromNow                  // only what comes
)

var fromNames = [...]string{"snapshot", "start", "now"}

// String returns the wire name.
func (f From) String() string { return fromNames[f] }

// ParseStream checks the name of a stream that a client writes to. Names of the server's own ("$…") are refused like
// malformed ones.
func ParseStream(s string) (store.Stream, *Error) {
	st, err := store.ParseStream(s)
	if err != nil {
		return "", errorf(store.CodeStreamInvalid, err.Error())
	}
	if st.Reserved() {
		return "", errorf(store.CodeStreamInvalid, "names that begin with $ are the server's own")
	}
	return st, nil
}

// ParseFilter checks what a client reads from: a stream, a prefix ("room/**") or everything ("**").
func ParseFilter(s string) (store.Filter, *Error) {
	f, err := store.ParseFilter(s)
	if err != nil {
		return store.Filter{}, errorf(store.CodeStreamInvalid, err.Error())
	}
	if f.Reserved() {
		return store.Filter{}, errorf(store.CodeStreamInvalid, "names that begin with $ are the server's own")
	}
	return f, nil
}
