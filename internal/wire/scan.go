package wire

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"

	"tidemark/store"
)

// scanner reads one JSON text in a single pass, without recursion, so that no input can cost more than time linear in its
// length. It tells two kinds of trouble apart. Text that is not JSON breaks it: from then on every method returns at once.
// Text that is JSON but not what the protocol wants is a fault of the scope that is being read (a message, an entry of a
// hello, a mutation); reading goes on, for the rest may say whom to answer.
type scanner struct {
	src    []byte
	pos    int
	broken bool       // not JSON
	badUTF bool       // a string of this scope is not UTF-8
	code   store.Code // what a malformed field of this scope is called
	fault  *Error     // the first fault of this scope
}

// wrong notes a malformed field of this scope.
func (s *scanner) wrong(message string) { s.refuse(s.code, message) }

func (s *scanner) refuse(c store.Code, message string) {
	if s.fault == nil {
		s.fault = errorf(c, message)
	}
}

// fail ends the reading: this is not JSON.
func (s *scanner) fail() {
	s.broken = true
	s.pos = len(s.src)
}

// peek skips white space and returns the byte that follows, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// atEnd reports whether nothing but white space is left, and the text so far was JSON.
func (s *scanner) atEnd() bool {
	s.peek()
	return !s.broken && s.pos == len(s.src)
}

// stringToken reads the string that begins at pos and returns what stands between its quotes, escapes included.
func (s *scanner) stringToken() (raw []byte, escaped bool) {
	src, start := s.src, s.pos+1
	for i := skipSafe(src, start); i < len(src); i = skipSafe(src, i) {
		switch c := src[i]; {
		case c == '"':
			s.pos = i + 1
			return src[start:i], escaped
		case c == '\\':
			n := escapeLen(src[i:])
			if n == 0 {
				s.fail()
				return nil, false
			}
			escaped = true
			i += n
		case c < ' ':
			s.fail()
			return nil, false
		default:
			i += s.runeLen(src[i:])
		}
	}
	s.fail()
	return nil, false
}

// skipSafe returns the index of the first byte from i on that does not stand for itself, eight bytes at a time.
func skipSafe(src []byte, i int) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for i+8 <= len(src) {
		w := binary.LittleEndian.Uint64(src[i:])
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		// A high bit for every byte that is beyond ASCII, below ' ', a quote or a backslash. Borrows can only add bits above
		// the lowest true one.
		if hit := (w | (w - ones*' ') | (quote - ones) | (slash - ones)) & high; hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
		i += 8
	}
	for i < len(src) && safe[src[i]] {
		i++
	}
	return i
}

// runeLen returns the length of the character at the start of b, and notes bytes that are none.
func (s *scanner) runeLen(b []byte) int {
	r, n := utf8.DecodeRune(b)
	if r == utf8.RuneError && n == 1 {
		s.badUTF = true
	}
	return n
}

// escapeLen returns the length of the escape at the start of b, 0 when it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b[2:]); ok {
			return 6
		}
	}
	return 0
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// numberToken reads the number that begins at pos.
func (s *scanner) numberToken() []byte {
	start := s.pos
	if s.at(s.pos) == '-' {
		s.pos++
	}
	if s.at(s.pos) == '0' {
		s.pos++
	} else if !s.digits() {
		return nil
	}
	if s.at(s.pos) == '.' {
		s.pos++
		if !s.digits() {
			return nil
		}
	}
	if c := s.at(s.pos); c == 'e' || c == 'E' {
		s.pos++
		if c := s.at(s.pos); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return nil
		}
	}
	return s.src[start:s.pos]
}

func (s *scanner) at(i int) byte {
	if i < len(s.src) {
		return s.src[i]
	}
	return 0
}

// digits skips one digit or more.
func (s *scanner) digits() bool {
	start := s.pos
	for c := s.at(s.pos); '0' <= c && c <= '9'; c = s.at(s.pos) {
		s.pos++
	}
	if s.pos == start {
		s.fail()
		return false
	}
	return true
}

// literal reads true, false or null.
func (s *scanner) literal(word string) {
	if len(s.src)-s.pos < len(word) || string(s.src[s.pos:s.pos+len(word)]) != word {
		s.fail()
		return
	}
	s.pos += len(word)
}

// skip reads any value, at any depth, and returns how deep its brackets are nested.
func (s *scanner) skip() (depth int) {
	var few [64]byte
	open := few[:0] // the brackets that are open
	for !s.broken {
		switch c := s.peek(); c {
		case '{', '[':
			s.pos++
			open = append(open, c)
			depth = max(depth, len(open))
			if s.peek() != c+2 { // '[' + 2 is ']', '{' + 2 is '}'
				s.memberName(c)
				continue
			}
		default:
			s.scalar(c)
		}
		if open = s.closeBrackets(open); len(open) == 0 {
			return depth
		}
	}
	return depth
}

// closeBrackets reads what may follow a value: closing brackets, then the comma and the name before the next one.
func (s *scanner) closeBrackets(open []byte) []byte {
	for len(open) > 0 && !s.broken {
		top := open[len(open)-1]
		switch s.peek() {
		case top + 2:
			s.pos++
			open = open[:len(open)-1]
		case ',':
			s.pos++
			s.memberName(top)
			return open
		default:
			s.fail()
		}
	}
	return open
}

// memberName reads the name before the next value, in an object.
func (s *scanner) memberName(bracket byte) {
	if bracket != '{' {
		return
	}
	if s.peek() != '"' {
		s.fail()
		return
	}
	s.stringToken()
	s.colon()
}

func (s *scanner) colon() {
	if s.peek() != ':' {
		s.fail()
		return
	}
	s.pos++
}

// scalar reads a value without brackets that begins with c.
func (s *scanner) scalar(c byte) {
	switch c {
	case '"':
		s.stringToken()
	case 't':
		s.literal("true")
	case 'f':
		s.literal("false")
	case 'n':
		s.literal("null")
	default:
		s.numberToken()
	}
}
