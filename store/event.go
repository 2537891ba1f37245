package store

// Event is a mutation that has its place in the log. Events that the store hands out are shared and must not be changed,
// nor the bytes that they point to.
type Event struct {
	Seq    Seq
	Prev   Seq   // the event before it in the same stream; 0: none
	KPrev  Seq   // the last event before it with the same stream and key; 0: none, or no key
	At     int64 // server time, Unix ms; never runs backwards along the log
	ID     ID
	Stream Stream
	Type   string
	Key    string // "": no key
	By     string // the authenticated subject; "": none
	Op     Op
	Flags  Flags
	Data   []byte // JSON without white space between tokens, or bytes with FlagBytes; nil: absent
	Extra  []byte // the record's tagged section, for other protocols; nil: none
}

// Flags mark what is special about an event.
type Flags uint8

// The flags of an event.
const (
	FlagMore    Flags = 1 << iota // the next seq belongs to the same atomic push
	FlagBytes                     // Data is bytes, not JSON
	FlagControl                   // for the server itself, on a reserved stream
	FlagStub                      // erased: only place, stream, key and links are left
)

// Has reports whether all flags of g are set.
func (f Flags) Has(g Flags) bool { return f&g == g }

// Mutation is what a client asks for. Its Data is JSON without white space between tokens (see CompactValue), or bytes.
type Mutation struct {
	ID     ID
	Stream Stream
	Type   string // with an Op, "" stands for the op's name
	Key    string
	Op     Op
	Bytes  bool // Data is bytes, not JSON
	Data   []byte
	Extra  []byte
	Expect Expect
}

// Expect is optimistic concurrency: what the writer believes to be the last event on the key (or of the stream, without a key).
type Expect struct {
	Kind ExpectKind
	Seq  Seq // with ExpectSeq; 0: no document at the key, or an empty stream
	ID   ID  // with ExpectID: the id of that last event
	Log  ID  // with ExpectSeq: the log that Seq belongs to; zero: this one
}

// ExpectKind tells which field of an Expect holds.
type ExpectKind uint8

// The kinds of expectation.
const (
	ExpectNone ExpectKind = iota
	ExpectSeq
	ExpectID
)

// Push is a list of mutations that are judged in order and answered together. The caller owns it until Append and again
// once Done was called.
type Push struct {
	Source    *Source // the connection it came on, for the order of writes; nil: a push of its own
	Atomic    bool    // all or none, contiguous in the log
	By        string  // the authenticated subject
	Mutations []Mutation
	Refused   []*Refusal // nil, or per mutation what the edge has refused already (form, rights); nil entries are judged
	Verdicts  []Verdict  // filled before Done: one per mutation, in order

	// Done is called exactly once, after everything that the verdicts rest on is on disk, in the order of the pushes
	// of one Source. It runs on the store's own goroutine and must not block.
	Done func(*Push)

	size   int      // what it counts in the queue, in bytes
	judged int      // how many mutations have their verdicts from groups before; always 0 with Atomic
	prints []uint64 // fingerprints of the mutations
}

// Verdict is the answer to one mutation.
type Verdict struct {
	Seq     Seq // its place, the original one of a duplicate
	Prev    Seq // only of a new event
	At      int64
	Dup     bool
	Refusal *Refusal // nil: accepted
}

// Code names a refusal; the strings are those of the protocol (docs/protocol.md).
type Code string

// The codes of verdicts and errors.
const (
	CodeBadMessage      Code = "bad_message"
	CodeUnsupported     Code = "unsupported"
	CodeTooLarge        Code = "too_large"
	CodeTooMany         Code = "too_many"
	CodeStreamInvalid   Code = "stream_invalid"
	CodeMutationInvalid Code = "mutation_invalid"
	CodeSubInUse        Code = "sub_in_use"
	CodeSubUnknown      Code = "sub_unknown"
	CodeUnauthorized    Code = "unauthorized"
	CodeTokenExpired    Code = "token_expired"
	CodeForbidden       Code = "forbidden"
	CodeRuleDenied      Code = "rule_denied"
	CodeSchemaViolation Code = "schema_violation"
	CodeConflict        Code = "conflict"
	CodeIDReused        Code = "id_reused"
	CodeAborted         Code = "aborted"
	CodeRateLimited     Code = "rate_limited"
	CodeOverloaded      Code = "overloaded"
	CodeReadOnly        Code = "read_only"
	CodeInternal        Code = "internal"
	CodeNotFound        Code = "not_found"
)

// Later reports whether the same request may be sent again later: the fault is the server's.
func (c Code) Later() bool {
	return c == CodeRateLimited || c == CodeOverloaded || c == CodeReadOnly || c == CodeInternal
}

// Refusal is a named reason for not doing something. It is an error; Message is meant for the client.
type Refusal struct {
	Code    Code
	Message string
	Seq     Seq    // with CodeConflict: the last event's seq, 0: no document
	Data    []byte // with CodeConflict: the current document as JSON, or nil; see WithDocument

	current func() (Doc, bool, error) // reads the document of a conflict
}

// HasDocument reports whether there is, or was, a document of a conflict to be told.
func (r *Refusal) HasDocument() bool { return r.Data != nil || r.current != nil }

// WithDocument returns the refusal with the document of its conflict as it is now, which may be newer than what was judged,
// as its Seq then tells. It is read here, by whoever wants it, and not when the mutation is judged: so nobody waits for it,
// and answers that are not read hold no documents. A document that cannot be read is left out.
func (r *Refusal) WithDocument() *Refusal {
	if r.current == nil {
		return r
	}
	full := *r.WithoutDocument()
	d, ok, err := r.current()
	switch {
	case err != nil:
	case !ok:
		full.Seq = 0
	default:
		full.Seq, full.Data = d.Seq, d.Data
	}
	return &full
}

// WithoutDocument returns the refusal without the document of its conflict, for those who may not read it.
func (r *Refusal) WithoutDocument() *Refusal {
	bare := *r
	bare.Data, bare.current = nil, nil
	return &bare
}

// Error returns code and message.
func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Message }

// Limits bound what a mutation may hold. The zero value means the defaults.
type Limits struct {
	Data int // bytes of Data; default 256 KiB
	Doc  int // bytes of a folded document; default 1 MiB
}

// Cursor is how far a reader has come in one log.
type Cursor struct {
	Seq  Seq
	Mark ID // the id of the event at Seq; zero: unknown
	Log  ID // the log that Seq belongs to; zero: unknown
}

// Reset is the reason why a cursor cannot be continued; "" when it can.
type Reset string

// The reasons, in the order in which they are given when several hold.
const (
	ResetNone       Reset = ""
	ResetLogChanged Reset = "log_changed"
	ResetAhead      Reset = "ahead"
	ResetTrimmed    Reset = "trimmed"
	ResetErased     Reset = "erased"
)

// Standing tells where a reader of a filter stands.
type Standing struct {
	Head    Seq // of the stream; of a wide filter the log's
	LogHead Seq
	Floor   Seq // the highest seq that the stream (of a wide filter: any of its streams) has lost; 0: none
	Reset   Reset
}

// PageLimit bounds one page; at least one event (or one whole atomic push) is returned if there is one.
type PageLimit struct {
	Bytes  int // of the events' approximate wire size; default 256 KiB
	Events int // default: no limit but Bytes

	// Into is memory that the page's events are put into, over what is in it; nil, or too small: the page gets memory of its
	// own. Only the events themselves are in it; what they point to is shared as ever.
	Into []Event
}

// Page is a run of events of one filter, in log order, that never ends inside an atomic push.
type Page struct {
	Events  []Event // the caller's, but for what they point to
	Through Seq     // everything of the filter up to here has been read: where the next page begins
	More    bool    // there is more between Through and the head that was published when the page was read
}

// Doc is the document at (Stream, Key). It may be newer than what the reader asked about; Seq tells.
type Doc struct {
	Stream Stream
	Key    string
	Seq    Seq    // of the last event with this key
	Data   []byte // JSON
}

// DocKey is a position in the order of documents: by stream, then key, both byte by byte.
type DocKey struct {
	Stream Stream
	Key    string
}

// DocPage is a run of documents of one filter in the order of DocKey. Keys without a document are not listed.
type DocPage struct {
	Docs    []Doc
	Through DocKey // where the next page begins: the last key looked at, with or without a document
	More    bool   // a page may be empty and still have More
	Head    Seq    // the log's published head when the page was read
}

// StreamInfo describes one stream that was ever written to.
type StreamInfo struct {
	Stream Stream
	Head   Seq
	Count  uint64 // events ever
	Floor  Seq
}

// Commit tells of events that have become durable and visible, in log order.
type Commit struct {
	Events []Event
	Head   Seq // the log's head now
}
