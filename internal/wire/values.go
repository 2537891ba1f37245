package wire

import (
	"unicode/utf8"
	"unsafe"

	"tidemark/store"
)

// text reads a string value. It is a view of the frame, unless it had escapes.
func (s *scanner) text(what string) (t []byte, ok bool) {
	if s.peek() != '"' {
		s.skip()
		s.wrong(what + " is not a string")
		return nil, false
	}
	raw, escaped := s.stringToken()
	if !escaped {
		return raw, !s.broken
	}
	t, lone := unescape(nil, raw)
	if lone {
		s.wrong(what + " has half of a surrogate pair")
	}
	return t, !lone
}

// bounded reads a text of at most max bytes without control characters.
func (s *scanner) bounded(what string, least, most int) ([]byte, bool) {
	t, ok := s.text(what)
	switch {
	case !ok:
		return nil, false
	case len(t) < least || len(t) > most:
		s.wrong(what + " is empty or too long")
	case store.HasControl(view(t)):
		s.wrong(what + " has a control character")
	default:
		return t, true
	}
	return nil, false
}

// number reads an integer from 0 to 2^53-1, written without sign, fraction and exponent.
func (s *scanner) number(what string) (n uint64, ok bool) {
	if c := s.peek(); c < '0' || c > '9' {
		s.skip()
		s.wrong(what + " is not an integer from 0 to 2^53-1")
		return 0, false
	}
	n, ok = integer(s.numberToken())
	if !ok {
		s.wrong(what + " is not an integer from 0 to 2^53-1")
	}
	return n, ok
}

// integer reads the digits of a number token.
func integer(token []byte) (n uint64, ok bool) {
	if len(token) == 0 || len(token) > 16 {
		return 0, false
	}
	for _, c := range token {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, n <= uint64(store.MaxSeq)
}

// sub reads the number of a subscription.
func (s *scanner) sub() uint64 {
	n, ok := s.number("sub")
	if ok && n == 0 {
		s.wrong("sub is not positive")
	}
	return n
}

func (s *scanner) seq(what string) store.Seq {
	n, _ := s.number(what)
	return store.Seq(n)
}

// id reads a UUID in canonical form.
func (s *scanner) id(what string) store.ID {
	t, ok := s.text(what)
	if !ok {
		return store.ID{}
	}
	id, err := store.ParseID(view(t))
	if err != nil {
		s.wrong(what + " is not a UUID in canonical form (36 characters, lower case, not nil)")
	}
	return id
}

// boolean reads true or false.
func (s *scanner) boolean(what string) bool {
	switch c := s.peek(); c {
	case 't', 'f':
		s.scalar(c)
		return c == 't'
	}
	s.skip()
	s.wrong(what + " is not true or false")
	return false
}

// ref reads what the answer will repeat: its JSON text is kept, so that nothing can get lost in between.
func (s *scanner) ref() Ref {
	c, start := s.peek(), s.pos
	if c == '"' {
		raw, escaped := s.stringToken()
		if escaped {
			raw, _ = unescape(nil, raw)
		}
		token := s.src[start:s.pos]
		if s.broken || len(raw) > MaxRef || !utf8.Valid(token) {
			s.wrong("ref is not UTF-8 or has more than 64 bytes")
			return ""
		}
		return Ref(token)
	}
	s.skip()
	token := s.src[start:s.pos]
	digits := token
	if c == '-' {
		digits = token[1:]
	}
	if _, ok := integer(digits); !ok || s.broken {
		s.wrong("ref is neither an integer within ±(2^53-1) nor a string")
		return ""
	}
	return Ref(token)
}

// streamName reads the name of a stream that a client may write to; have is a name that is likely to come again.
func (s *scanner) streamName(have store.Stream) store.Stream {
	t, ok := s.name()
	if !ok {
		return ""
	}
	if string(t) == string(have) {
		return have
	}
	st, e := ParseStream(string(t))
	if e != nil {
		s.refuse(e.Code, e.Message)
	}
	return st
}

// filter reads what a client wants to read from.
func (s *scanner) filter() store.Filter {
	t, ok := s.name()
	if !ok {
		return store.Filter{}
	}
	f, e := ParseFilter(string(t))
	if e != nil {
		s.refuse(e.Code, e.Message)
	}
	return f
}

// name reads the text of a stream name; half a surrogate pair makes it an invalid name, not a malformed message.
func (s *scanner) name() ([]byte, bool) {
	if s.peek() != '"' {
		s.skip()
		s.wrong("stream is not a string")
		return nil, false
	}
	raw, escaped := s.stringToken()
	if escaped {
		var lone bool
		if raw, lone = unescape(nil, raw); lone {
			s.refuse(store.CodeStreamInvalid, "the stream name has half of a surrogate pair")
			return nil, false
		}
	}
	return raw, !s.broken
}

// arena hands out the memory for the data of one message, many values to an allocation.
type arena struct{ free []byte }

const arenaChunk = 4 << 10

// data reads any JSON value and returns it without white space between tokens. Deeper than store.MaxDepth it is wrong,
// larger than limit bytes too large.
func (s *scanner) data(mem *arena, limit int) []byte {
	s.peek()
	rest := s.src[s.pos:]
	if cap(mem.free) < min(len(rest), 64) {
		mem.free = make([]byte, 0, min(len(rest), arenaChunk))
	}
	out, after, err := store.CompactValue(mem.free[:0], rest)
	if err != nil {
		s.wrongData()
		return nil
	}
	s.pos += len(rest) - len(after)
	if len(out) > limit {
		s.refuse(store.CodeTooLarge, "data has more bytes than limits.data")
		return nil
	}
	mem.took(out)
	return out[:len(out):len(out)]
}

// took moves on behind out. When that found no room and has memory of its own, the next value gets new memory: the little
// that is left would be too small for it, too.
func (m *arena) took(out []byte) {
	n := len(out)
	if n <= cap(m.free) && unsafe.SliceData(out) == unsafe.SliceData(m.free) {
		m.free = m.free[n:n:cap(m.free)]
	} else if n <= arenaChunk/2 {
		m.free = nil
	}
}

// wrongData reads a value that could not be compacted, and notes why.
func (s *scanner) wrongData() {
	switch depth := s.skip(); {
	case s.broken:
	case depth > store.MaxDepth:
		s.wrong("data is nested too deep")
	default:
		s.wrong("data is not UTF-8")
	}
}
