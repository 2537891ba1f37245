package durablestreams

import (
	"encoding/json"
	"mime"
	"strings"
	"time"

	"tidemark/store"
)

// Reserved streams that hold what is not an event for clients; the keys of their documents in parentheses.
const (
	metaStream     store.Stream = "$durable/streams"       // (name of the stream)
	producerStream store.Stream = "$durable/producers"     // (name * producer), and the checkpoint at "*"
	subStream      store.Stream = "$durable/subscriptions" // (id)
	linkStream     store.Stream = "$durable/links"         // (id * name of the stream)
	keyStream      store.Stream = "$durable/keys"          // (purpose)
)

// meta is what the protocol knows of a stream: the document at its name.
type meta struct {
	Type string `json:"type"` // media type as the creator wrote it

	// Where the stream begins: its events lie above Start. In the event that creates it the seq is not known yet, so it is
	// told by Lead, the number of events before it in the same push.
	Start *store.Seq `json:"start,omitempty"`
	Lead  int        `json:"lead,omitempty"`

	Closed bool      `json:"closed,omitempty"`
	End    store.Seq `json:"end,omitempty"` // of a closed stream; 0: the event that says so

	TTL     *int64 `json:"ttl,omitempty"`     // seconds since the last read or write
	Expires int64  `json:"expires,omitempty"` // Unix ms
	Touched int64  `json:"touched,omitempty"` // Unix ms: the last read or write that was written down

	Base   []segment  `json:"base,omitempty"` // what a fork has before its own events
	Fork   *forkPoint `json:"fork,omitempty"`
	Forks  int        `json:"forks,omitempty"`  // forks of it that live
	Hidden bool       `json:"hidden,omitempty"` // deleted, but forks live
	Gone   bool       `json:"gone,omitempty"`   // deleted
}

// segment is a range of another stream's events: those above From, up to To.
type segment struct {
	Stream store.Stream `json:"stream"`
	From   store.Seq    `json:"from"`
	To     store.Seq    `json:"to"`
}

// forkPoint is where a fork was made, as its creator said it.
type forkPoint struct {
	Source store.Stream `json:"source"`
	Start  store.Seq    `json:"start"` // which life of the source
	At     store.Seq    `json:"at"`
	Sub    uint64       `json:"sub,omitempty"`
}

// decodeMeta reads a stream's document and fills in what the creating event could not know.
func decodeMeta(d *store.Doc) (m meta, err error) {
	if err = json.Unmarshal(d.Data, &m); err != nil {
		return m, err
	}
	if m.Start == nil {
		start := d.Seq - store.Seq(m.Lead) - 1
		m.Start, m.Lead = &start, 0
	}
	if m.Closed && m.End == 0 {
		m.End = d.Seq
	}
	return m, nil
}

func (m *meta) encode() []byte {
	data, err := json.Marshal(m)
	if err != nil {
		panic(err) // numbers, strings and booleans can always be encoded
	}
	return data
}

func (m *meta) start() store.Seq {
	if m.Start == nil {
		return 0
	}
	return *m.Start
}

// segments lists the ranges that a reader goes through; the last one is the stream's own, open while the stream is.
func (m *meta) segments(name store.Stream) []segment {
	own := segment{Stream: name, From: m.start(), To: store.MaxSeq}
	if m.Closed {
		own.To = m.End
	}
	return append(m.Base[:len(m.Base):len(m.Base)], own)
}

// deadline returns when the stream ends by itself, given its last use; the zero time: never.
func (m *meta) deadline(used int64) time.Time {
	switch {
	case m.Expires != 0:
		return time.UnixMilli(m.Expires)
	case m.TTL != nil:
		return time.UnixMilli(used).Add(time.Duration(*m.TTL) * time.Second)
	}
	return time.Time{}
}

// defaultType is what a stream has whose creator names none.
const defaultType = "application/octet-stream"

// essence returns the part of a media type that is compared: lower case, without parameters. "": it is no media type.
func essence(contentType string) string {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil && kind == "" || !strings.Contains(kind, "/") {
		return ""
	}
	return kind
}

func isJSON(contentType string) bool { return essence(contentType) == "application/json" }

// isText tells whether messages can stand in server-sent events as they are.
func isText(contentType string) bool {
	return isJSON(contentType) || strings.HasPrefix(essence(contentType), "text/")
}
