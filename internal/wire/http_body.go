package wire

import (
	"bytes"

	"tidemark/store"
)

// BodyOptions tell what surrounds the body of a POST of mutations.
type BodyOptions struct {
	Stream store.Stream // from the path; a mutation's own takes precedence
	Log    store.ID     // of numeric expects; zero: this log
	ID     store.ID     // of a mutation that is alone and has none; zero: it needs one
	Lines  bool         // the body is said to be NDJSON, so even one line is a list
	Limits Limits
}

// DecodeBody reads the body of a POST: one mutation (single is true), an array of them, or NDJSON. What is wrong with one
// of several mutations becomes its verdict, as in a push; any other error means that nothing of the body may take effect.
func DecodeBody(body []byte, o BodyOptions) (p *Push, single bool, e *Error) {
	s := scanner{src: body, code: store.CodeBadMessage}
	first := s.peek()
	switch {
	case o.Lines:
		return decodeLines(body, o)
	case first == '[':
		p, l := o.list(o.Limits)
		l.readArray(&s)
		return finishBody(&s, &l, p)
	case first != '{':
		return nil, false, errorf(store.CodeBadMessage, "the body is no mutation, array of mutations, or NDJSON")
	}
	p, l := o.list(o.Limits)
	l.id = o.ID
	l.read(&s)
	if !s.broken && !s.atEnd() {
		return decodeLines(body, o)
	}
	p, _, e = finishBody(&s, &l, p)
	return p, e == nil, e
}

func (o *BodyOptions) list(l Limits) (*Push, mutations) {
	p := &Push{Stream: o.Stream, HasStream: true, Log: o.Log}
	return p, mutations{d: &Decoder{Limits: l}, push: &p.Push}
}

func finishBody(s *scanner, l *mutations, p *Push) (*Push, bool, *Error) {
	l.finish(s, p)
	if e := s.finish("", 0); e != nil {
		return nil, false, e
	}
	return p, false, nil
}

// decodeLines reads one mutation a line; blank lines do not count.
func decodeLines(body []byte, o BodyOptions) (*Push, bool, *Error) {
	p, l := o.list(o.Limits)
	last := scanner{code: store.CodeBadMessage}
	for line := range bytes.Lines(body) {
		s := scanner{src: line, code: store.CodeBadMessage, fault: last.fault}
		c := s.peek()
		if s.pos == len(line) {
			continue
		}
		if c == '{' {
			l.read(&s)
		}
		if c != '{' || !s.atEnd() {
			return nil, false, errorf(store.CodeBadMessage, "a line is not one JSON object")
		}
		last = s
	}
	return finishBody(&last, &l, p)
}

// DecodeData reads a body that is one JSON value, and returns it without white space between tokens.
func DecodeData(body []byte, limit int) ([]byte, *Error) {
	s := scanner{src: body, code: store.CodeBadMessage}
	data := s.data(&arena{}, limit)
	if e := s.finish("", 0); e != nil {
		return nil, e
	}
	return data, nil
}
