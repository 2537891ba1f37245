package store

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// MaxDepth is how many brackets deep a JSON value may nest; it keeps hostile input off the stack of whoever walks it.
const MaxDepth = 128

// JSONError says what is wrong with a JSON text, and at which byte of it.
type JSONError struct {
	Offset int
	Reason string
}

// Error returns the reason and the place.
func (e *JSONError) Error() string { return fmt.Sprintf("JSON: %s at byte %d", e.Reason, e.Offset) }

// CompactValue appends the one JSON value at the start of src (leading white space is skipped) to dst without the white
// space between tokens, and returns what follows the value in src. Grammar (RFC 8259), UTF-8 and MaxDepth are checked;
// numbers and escapes survive byte for byte, escapes of lone surrogates too. What follows is not looked at: "1 x" and "12x"
// hold a value and a rest. On an error, a *JSONError, dst is returned unchanged. src and dst may not overlap.
func CompactValue(dst, src []byte) (out, rest []byte, err error) {
	c := compactor{src: src, dst: dst}
	c.from = c.skip(0)
	end := c.value(c.from)
	if end < 0 {
		return dst, src, c.error()
	}
	out = append(c.dst, src[c.from:end]...)
	// Outside of strings the grammar leaves nothing but ASCII, so one look at the whole is enough.
	if c.high&highBits != 0 && !utf8.Valid(out[len(dst):]) {
		return dst, src, &JSONError{badUTF8(src[:end]), "not UTF-8"}
	}
	return out, src[end:], nil
}

// badUTF8 returns where src stops to be UTF-8.
func badUTF8(src []byte) int {
	for i := 0; i < len(src); {
		r, n := utf8.DecodeRune(src[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return len(src)
}

// compactor walks one value. What lies between white space is copied in one piece, so a text that is compact already
// costs a single copy. Its methods take the place of what they walk in src and return the place behind it, or -1 after fail.
type compactor struct {
	src, dst []byte
	from     int    // src[from:] is not yet in dst
	high     uint64 // all bytes of strings or-ed together, to know whether any is beyond ASCII
	badAt    int
	bad      string
}

const highBits = 0x8080808080808080

func (c *compactor) fail(at int, reason string) int {
	c.badAt, c.bad = at, reason
	return -1
}

func (c *compactor) error() error {
	if c.badAt >= len(c.src) {
		return &JSONError{len(c.src), "unexpected end"}
	}
	return &JSONError{c.badAt, c.bad}
}

func isSpace(b byte) bool { return b == ' ' || b == '\n' || b == '\t' || b == '\r' }

// skip returns the place of the first byte from i on that is not white space.
func (c *compactor) skip(i int) int {
	for i < len(c.src) && isSpace(c.src[i]) {
		i++
	}
	return i
}

// gap is skip between tokens: it leaves the white space out of dst.
func (c *compactor) gap(i int) int {
	if !isSpace(c.src[i]) {
		return i // a control character: no token either
	}
	c.dst = append(c.dst, c.src[c.from:i]...)
	c.from = c.skip(i)
	return c.from
}

// peek returns the byte at i, or 0, which is no token, at the end.
func (c *compactor) peek(i int) byte {
	if i < len(c.src) {
		return c.src[i]
	}
	return 0
}

// value walks the value at i, brackets and all, without recursion: the open brackets are bits of a word pair.
func (c *compactor) value(i int) int {
	var open brackets
	src := c.src
	for {
		if i < len(src) && src[i] <= ' ' {
			i = c.gap(i)
		}
		opened := false
		switch b := c.peek(i); b {
		case '"':
			i = c.str(i)
		case '{', '[':
			if open.depth == MaxDepth {
				return c.fail(i, tooDeep)
			}
			open.push(b == '{')
			if i++; i < len(src) && src[i] <= ' ' {
				i = c.gap(i)
			}
			switch {
			case c.peek(i) == b+2: // '}' or ']'
				open.pop()
				i++
			case b == '{':
				i, opened = c.name(i), true
			default:
				opened = true
			}
		default:
			i = c.scalar(i, b)
		}
		if i < 0 {
			return -1
		}
		for !opened {
			if open.depth == 0 {
				return i
			}
			if i < len(src) && src[i] <= ' ' {
				i = c.gap(i)
			}
			b, object := c.peek(i), open.object()
			switch {
			case b == ',':
				i, opened = i+1, true
				if object {
					if i = c.member(i); i < 0 {
						return -1
					}
				}
			case b == '}' && object, b == ']' && !object:
				open.pop()
				i++
			default:
				return c.fail(i, "no ',' or closing bracket")
			}
		}
	}
}

var tooDeep = fmt.Sprintf("more than %d brackets deep", MaxDepth)

// brackets are the open ones: a bit each, set for an object's, the innermost lowest.
type brackets struct {
	lo, hi uint64
	depth  int
}

func (o *brackets) push(object bool) {
	o.hi, o.lo = o.hi<<1|o.lo>>63, o.lo<<1
	if object {
		o.lo |= 1
	}
	o.depth++
}

func (o *brackets) pop() {
	o.lo, o.hi = o.lo>>1|o.hi<<63, o.hi>>1
	o.depth--
}

func (o *brackets) object() bool { return o.lo&1 != 0 }

// member walks white space, a name, and the colon after it.
func (c *compactor) member(i int) int {
	if i < len(c.src) && c.src[i] <= ' ' {
		i = c.gap(i)
	}
	return c.name(i)
}

// name walks a member's name and the colon after it.
func (c *compactor) name(i int) int {
	if c.peek(i) != '"' {
		return c.fail(i, "no name")
	}
	if i = c.str(i); i < 0 {
		return -1
	}
	if i < len(c.src) && c.src[i] <= ' ' {
		i = c.gap(i)
	}
	if c.peek(i) != ':' {
		return c.fail(i, "no ':'")
	}
	return i + 1
}

// scalar walks a number or a literal that begins with b.
func (c *compactor) scalar(i int, b byte) int {
	switch {
	case b == '-' || isDigit(b):
		return c.number(i)
	case b == 't':
		return c.literal(i, "true")
	case b == 'f':
		return c.literal(i, "false")
	case b == 'n':
		return c.literal(i, "null")
	}
	return c.fail(i, "no value")
}

func (c *compactor) literal(i int, text string) int {
	for j := range len(text) {
		if c.peek(i+j) != text[j] {
			return c.fail(i+j, "no value")
		}
	}
	return i + len(text)
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

func (c *compactor) number(i int) int {
	if c.peek(i) == '-' {
		i++
	}
	if c.peek(i) == '0' {
		i++
	} else if i = c.digits(i); i < 0 {
		return -1
	}
	if c.peek(i) == '.' {
		if i = c.digits(i + 1); i < 0 {
			return -1
		}
	}
	if c.peek(i)|0x20 == 'e' {
		i++
		if b := c.peek(i); b == '+' || b == '-' {
			i++
		}
		return c.digits(i)
	}
	return i
}

func (c *compactor) digits(i int) int {
	if !isDigit(c.peek(i)) {
		return c.fail(i, "no digit")
	}
	for i++; i < len(c.src) && isDigit(c.src[i]); i++ {
	}
	return i
}

// str walks a string, the quotes included.
func (c *compactor) str(i int) int {
	src := c.src
	for i++; ; {
		for i+8 <= len(src) {
			w := binary.LittleEndian.Uint64(src[i:])
			c.high |= w
			if stop := stringStops(w); stop != 0 {
				i += bits.TrailingZeros64(stop) / 8
				break
			}
			i += 8
		}
		switch b := c.peek(i); {
		case b == '"':
			return i + 1
		case b == '\\':
			if i = c.escape(i + 1); i < 0 {
				return -1
			}
		case b < ' ':
			return c.fail(i, "control character in a string")
		default: // only in the last bytes of src
			c.high |= uint64(b)
			i++
		}
	}
}

// stringStops returns a word whose lowest set bit lies in the first byte of w (in memory order) that ends a run of plain
// string bytes: a quote, a backslash or a control character; 0 if there is none. Higher bits may be wrong.
func stringStops(w uint64) uint64 {
	const ones = 0x0101010101010101
	quote, slash := w^'"'*ones, w^'\\'*ones
	return ((quote-ones)&^quote | (slash-ones)&^slash | (w-' '*ones)&^w) & highBits
}

// escape walks what follows a backslash.
func (c *compactor) escape(i int) int {
	switch c.peek(i) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		for j := 1; j <= 4; j++ {
			if !isHex(c.peek(i + j)) {
				return c.fail(i+j, "no hexadecimal digit")
			}
		}
		return i + 5
	}
	return c.fail(i, "no such escape")
}

func isHex(b byte) bool { return isDigit(b) || 'a' <= b|0x20 && b|0x20 <= 'f' }
