package wire

import (
	"bytes"
	"encoding/base64"
	"math"

	"tidemark/store"
)

func (m *Events) read(s *scanner, name []byte) bool {
	switch string(name) {
	case "sub":
		m.Sub = s.sub()
	case "events":
		m.readEvents(s)
	default:
		return false
	}
	return true
}

func (m *Events) check(s *scanner) { s.needSub(m.Sub) }

func (m *Events) readEvents(s *scanner) {
	m.Events = readEvents(s)
	m.Wide = len(m.Events) > 0 && m.Events[0].Stream != ""
}

// readEvents reads an array of events. The names that an event shares with the one before it are not allocated again.
func readEvents(s *scanner) []store.Event {
	if !s.array("events") {
		return nil
	}
	evs := make([]store.Event, 0, 1+(len(s.src)-s.pos)/256)
	last := &store.Event{}
	for n := 0; s.item(n); n++ {
		evs = append(evs, store.Event{})
		e := &evs[len(evs)-1]
		if s.object("an event") {
			s.event(e, last)
		}
		last = e
	}
	return evs
}

// event reads an event from behind its opening bracket; last is the one before it.
func (s *scanner) event(e, last *store.Event) {
	for f := (fields{}); s.next(&f); {
		switch string(f.name) {
		case "seq":
			e.Seq = s.seq("seq")
		case "prev":
			e.Prev = s.seq("prev")
		case "id":
			e.ID = s.id("id")
		case "stream":
			e.Stream = s.streamOf(last.Stream)
		case "type":
			e.Type = s.again("type", last.Type)
		case "key":
			e.Key = s.string("key")
		case "op":
			e.Op = s.op()
		case "data":
			e.Data = s.raw()
		case "data64":
			e.Data = s.base64()
			e.Flags |= store.FlagBytes
		case "at":
			e.At = s.integer("at")
		case "by":
			e.By = s.again("by", last.By)
		case "erased":
			if s.boolean("erased") {
				e.Flags |= store.FlagStub
			}
		default:
			s.skip()
		}
	}
	switch {
	case e.Seq == 0:
		s.wrong("an event has no seq")
	case e.Flags.Has(store.FlagStub):
	case e.ID.IsZero() || e.Type == "":
		s.wrong("an event has no id or no type")
	}
}

// again reads a string that is likely to be the same as have.
func (s *scanner) again(what, have string) string {
	t, _ := s.text(what)
	if string(t) == have {
		return have
	}
	return string(t)
}

func (s *scanner) base64() []byte {
	t, _ := s.text("data64")
	b, err := base64.StdEncoding.AppendDecode(make([]byte, 0, base64.StdEncoding.DecodedLen(len(t))), t)
	if err != nil {
		s.wrong("data64 is not base64")
	}
	return b
}

// EventScan walks over an events frame without decoding more of each event than its place in the chain. It checks no more
// than it needs: what it hands out was written by a server, and is checked when it is decoded.
type EventScan struct {
	Sub    uint64
	s      scanner
	n      int
	stream store.Stream
	wide   bool // the first event named its stream
	err    error
}

// RawEvent is an event of which only the place has been read. JSON is the event's own text, a part of the frame.
type RawEvent struct {
	Seq    store.Seq
	Prev   store.Seq
	Stream store.Stream // "": the subscription's
	JSON   []byte
}

// ScanEvents begins to walk over a frame; ok is false for every other kind of frame, which DecodeServer reads.
func ScanEvents(frame []byte) (scan EventScan, ok bool) {
	rest, ok := bytes.CutPrefix(frame, []byte(`{"type":"events","sub":`))
	if !ok {
		return EventScan{}, false
	}
	scan = EventScan{s: scanner{src: frame, pos: len(frame) - len(rest), code: store.CodeBadMessage}}
	scan.Sub = scan.s.sub()
	rest, ok = bytes.CutPrefix(frame[scan.s.pos:], []byte(`,"events":[`))
	scan.s.pos = len(frame) - len(rest)
	return scan, ok && scan.s.fault == nil && !scan.s.broken
}

// Next reads the next event; false at the end of the frame, and when it is malformed: see Err.
func (x *EventScan) Next(e *RawEvent) bool {
	s := &x.s
	if !s.item(x.n) {
		x.end()
		return false
	}
	x.n++
	s.peek()
	start := s.pos
	*e = RawEvent{}
	if s.object("an event") {
		x.place(e)
	}
	if s.broken || s.fault != nil {
		x.end()
		return false
	}
	e.JSON = s.src[start:s.pos:s.pos]
	return true
}

// place reads those members of an event that matter. Servers write them first, so the rest can mostly be jumped over; the
// first event of the frame is read to its end, and tells whether there is a stream to look for.
func (x *EventScan) place(e *RawEvent) {
	s, left := &x.s, x.members()
	for f := (fields{}); left > 0 && s.next(&f); left-- {
		switch string(f.name) {
		case "seq":
			e.Seq = s.seq("seq")
		case "prev":
			e.Prev = s.seq("prev")
		case "stream":
			x.stream, x.wide = s.streamOf(x.stream), true
			e.Stream = x.stream
		default:
			s.skip()
			left++
		}
	}
	if left == 0 {
		s.leave()
	}
	if e.Seq == 0 {
		s.wrong("an event has no seq")
	}
}

// members is how many members of an event are worth reading.
func (x *EventScan) members() int {
	switch {
	case x.n == 1:
		return math.MaxInt
	case x.wide:
		return 3
	}
	return 2
}

// leave jumps behind the bracket that closes the current object, looking only for brackets and strings.
func (s *scanner) leave() {
	src, depth := s.src, 1
	for i := s.pos; i < len(src); i++ {
		switch src[i] {
		case '"':
			i = stringEnd(src, i+1)
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				s.pos = i + 1
				return
			}
		}
	}
	s.fail()
}

// stringEnd returns the index of the quote that closes the string whose text begins at i.
func stringEnd(src []byte, i int) int {
	for i = skipSafe(src, i); i < len(src) && src[i] != '"'; i = skipSafe(src, i) {
		if src[i] == '\\' {
			i++
		}
		i++
	}
	return i
}

func (x *EventScan) end() {
	s := &x.s
	for f := (fields{n: 1}); s.fault == nil && s.next(&f); {
		s.skip()
	}
	if e := s.finish("", 0); e != nil {
		x.err = e
	}
}

// Err returns why the walk ended early; nil when it came to the end of the frame.
func (x *EventScan) Err() error { return x.err }

// Decode reads the whole event. Its Data shares memory with the frame.
func (r *RawEvent) Decode() (store.Event, error) { return DecodeEvent(r.JSON) }

// DecodeEvent reads one event that stands alone. Its Data shares memory with text.
func DecodeEvent(text []byte) (store.Event, error) {
	s := scanner{src: text, code: store.CodeBadMessage}
	var e store.Event
	if s.object("the event") {
		s.event(&e, &store.Event{})
	}
	if fault := s.finish("", 0); fault != nil {
		return store.Event{}, fault
	}
	return e, nil
}
