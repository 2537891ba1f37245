package wire

import (
	"fmt"
	"strings"

	"tidemark/store"
)

// AppendResults appends the answer to a POST of mutations from the verdicts that the store filled in. The documents of
// conflicts are read now, and left out where the answer would exceed limit bytes.
func AppendResults(dst []byte, p *Push, limit int) []byte {
	start := len(dst)
	dst = append(dst, `{"results":[`...)
	dst = appendVerdicts(dst, &p.Push, start+limit)
	return append(dst, ']', '}')
}

// Results is the answer to a POST of mutations as a client reads it.
type Results struct{ Results []Result }

// DecodeResults reads what AppendResults wrote.
func DecodeResults(text []byte) ([]Result, error) {
	var r Results
	err := decode(text, &r)
	return r.Results, err
}

func (r *Results) read(s *scanner, name []byte) bool {
	if string(name) != "results" {
		return false
	}
	r.Results = readResults(s)
	return true
}

// EventsPage is the answer to a read of events. Seq is the cursor to go on from.
type EventsPage struct {
	Wide   bool
	Events []store.Event
	Seq    store.Seq
	Head   store.Seq
	Floor  store.Seq
}

// Append appends the page as JSON.
func (p *EventsPage) Append(dst []byte) []byte {
	dst = append(dst, `{"events":[`...)
	dst = append(AppendEvents(dst, p.Events, p.Wide), ']')
	dst = appendUintField(dst, "seq", p.Seq)
	dst = appendUintField(dst, "head", p.Head)
	return append(appendUintField(dst, "floor", p.Floor), '}')
}

// DecodeEventsPage reads a page. The events' Data shares memory with text.
func DecodeEventsPage(text []byte) (*EventsPage, error) {
	p := &EventsPage{}
	return p, decode(text, p)
}

func (p *EventsPage) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "events":
		p.Events = readEvents(s)
		p.Wide = len(p.Events) > 0 && p.Events[0].Stream != ""
	case "seq":
		p.Seq = s.seq("seq")
	case "head":
		p.Head = s.seq("head")
	case "floor":
		p.Floor = s.seq("floor")
	default:
		return false
	}
	return true
}

// AppendDocsOpen begins the answer to a read of all documents; AppendDocs follows as often as needed, with commas between,
// and AppendDocsClose ends it. So a snapshot of any size is written page by page.
func AppendDocsOpen(dst []byte, seq store.Seq) []byte {
	dst = append(dst, `{"seq":`...)
	dst = appendUint(dst, seq)
	return append(dst, `,"docs":[`...)
}

// AppendDocsClose ends what AppendDocsOpen began: upto is the log's head when the last of the documents was read.
func AppendDocsClose(dst []byte, upto store.Seq) []byte {
	return append(appendUintField(append(dst, ']'), "upto", upto), '}')
}

// DocsPage is the answer to a read of all documents.
type DocsPage struct {
	Seq  store.Seq
	Upto store.Seq
	Docs []store.Doc
}

// DecodeDocsPage reads a snapshot. The documents' Data shares memory with text.
func DecodeDocsPage(text []byte) (*DocsPage, error) {
	p := &DocsPage{}
	return p, decode(text, p)
}

func (p *DocsPage) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "seq":
		p.Seq = s.seq("seq")
	case "upto":
		p.Upto = s.seq("upto")
	case "docs":
		p.Docs = readDocs(s)
	default:
		return false
	}
	return true
}

// DecodeDoc reads one document. Its Data shares memory with text.
func DecodeDoc(text []byte) (store.Doc, error) {
	var d docReader
	err := decode(text, &d)
	return d.Doc, err
}

// AppendStreams appends the answer to a listing of streams.
func AppendStreams(dst []byte, infos []store.StreamInfo) []byte {
	dst = append(dst, `{"streams":[`...)
	for i := range infos {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"stream":`...)
		dst = AppendString(dst, string(infos[i].Stream))
		dst = appendUintField(dst, "head", infos[i].Head)
		dst = append(appendUintField(dst, "count", infos[i].Count), '}')
	}
	return append(dst, ']', '}')
}

// DecodeStreams reads what AppendStreams wrote.
func DecodeStreams(text []byte) ([]store.StreamInfo, error) {
	var l streamList
	err := decode(text, &l)
	return l, err
}

type streamList []store.StreamInfo

func (l *streamList) read(s *scanner, name []byte) bool {
	if string(name) != "streams" {
		return false
	}
	if s.array("streams") {
		for n := 0; s.item(n); n++ {
			*l = append(*l, store.StreamInfo{})
			readObject(s, "a stream", (*streamInfo)(&(*l)[len(*l)-1]))
		}
	}
	return true
}

type streamInfo store.StreamInfo

func (i *streamInfo) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "stream":
		i.Stream = s.streamOf("")
	case "head":
		i.Head = s.seq("head")
	case "count":
		i.Count, _ = s.number("count")
	default:
		return false
	}
	return true
}

// AppendErrorBody appends the body of an HTTP answer that is an error; Status is its status.
func AppendErrorBody(dst []byte, e *Error) []byte {
	dst = append(dst, `{"error":{`...)
	return append(e.appendFields(dst), '}', '}')
}

// DecodeErrorBody reads what AppendErrorBody wrote; nil when text is no such thing.
func DecodeErrorBody(text []byte) *Error {
	var b errorBody
	if err := decode(text, &b); err != nil || b.Code == "" {
		return nil
	}
	return &b.Error
}

type errorBody struct{ Error }

func (b *errorBody) read(s *scanner, name []byte) bool {
	if string(name) != "error" {
		return false
	}
	readObject(s, "error", &b.Error)
	return true
}

// decode reads a text that is one object.
func decode(text []byte, r reader) error {
	s := scanner{src: text, code: store.CodeBadMessage}
	readObject(&s, "the text", r)
	if e := s.finish("", 0); e != nil {
		return e
	}
	return nil
}

// AppendSSE appends an event as server-sent event: its id, from which a reader resumes, and its JSON.
func AppendSSE(dst []byte, e *store.Event, withStream bool, log store.ID) []byte {
	dst = append(dst, "id: "...)
	dst = AppendEventID(dst, store.Cursor{Seq: e.Seq, Log: log})
	dst = append(dst, "\ndata: "...)
	dst = AppendEvent(dst, e, withStream)
	return append(dst, "\n\n"...)
}

// AppendSSEReset appends the event that ends a stream of server-sent events whose reader cannot be continued.
func AppendSSEReset(dst []byte, m *Reset) []byte {
	dst = append(dst, "event: reset\ndata: {\"reason\":"...)
	dst = AppendString(dst, string(m.Reason))
	dst = appendIDField(dst, "log", m.Log)
	dst = appendUintField(dst, "floor", m.Floor)
	dst = appendUintField(dst, "head", m.Head)
	return append(dst, "}\n\n"...)
}

// AppendEventID appends the id of a server-sent event: the seq, a dot, the log id.
func AppendEventID(dst []byte, c store.Cursor) []byte {
	return c.Log.Append(append(appendUint(dst, c.Seq), '.'))
}

// ParseEventID reads a Last-Event-ID: what AppendEventID wrote, or a bare seq.
func ParseEventID(s string) (store.Cursor, *Error) {
	number, log, hasLog := strings.Cut(s, ".")
	seq, err := store.ParseSeq(number)
	c := store.Cursor{Seq: seq}
	if err == nil && hasLog {
		c.Log, err = store.ParseID(log)
	}
	if err != nil {
		return store.Cursor{}, errorf(store.CodeBadMessage, fmt.Sprintf("%.60q is not a seq, or a seq, a dot and a log id", s))
	}
	return c, nil
}

// ETag returns the entity tag, quotes included, of a document as it is since seq.
func ETag(log store.ID, seq store.Seq) string { return `"` + log.String() + "-" + seq.String() + `"` }
