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
	c.space()
	c.from = c.at
	if err := c.value(); err != nil {
		return dst, src, err
	}
	out = append(c.dst, src[c.from:c.at]...)
	// Outside of strings the grammar leaves nothing but ASCII, so one look at the whole is enough.
	if c.high&highBits != 0 && !utf8.Valid(out[len(dst):]) {
		return dst, src, &JSONError{badUTF8(src[:c.at]), "not UTF-8"}
	}
	return out, src[c.at:], nil
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
// costs a single copy.
type compactor struct {
	src, dst []byte
	at       int    // the next byte to look at
	from     int    // src[from:at] is not yet in dst
	high     uint64 // all bytes of strings or-ed together, to know whether any is beyond ASCII
	depth    int
	objects  [MaxDepth / 64]uint64 // per open bracket: whether it is an object's
}

const highBits = 0x8080808080808080

func (c *compactor) fail(reason string) error {
	if c.at >= len(c.src) {
		return &JSONError{len(c.src), "unexpected end"}
	}
	return &JSONError{c.at, reason}
}

// peek returns the next byte, or 0, which is no token, at the end.
func (c *compactor) peek() byte {
	if c.at < len(c.src) {
		return c.src[c.at]
	}
	return 0
}

func isSpace(b byte) bool { return b == ' ' || b == '\n' || b == '\t' || b == '\r' }

// token makes the next byte that is not white space the next one, leaving the white space before it out of dst.
func (c *compactor) token() byte {
	b := c.peek()
	if b > ' ' {
		return b
	}
	if isSpace(b) {
		c.dst = append(c.dst, c.src[c.from:c.at]...)
		c.space()
		c.from = c.at
	}
	return c.peek()
}

func (c *compactor) space() {
	for c.at < len(c.src) && isSpace(c.src[c.at]) {
		c.at++
	}
}

func (c *compactor) inObject() bool {
	d := uint(c.depth - 1)
	return c.objects[d/64%uint(len(c.objects))]>>(d%64)&1 != 0
}

func (c *compactor) open(object bool) error {
	if c.depth == MaxDepth {
		return &JSONError{c.at, fmt.Sprintf("more than %d brackets deep", MaxDepth)}
	}
	word, bit := &c.objects[c.depth/64], uint64(1)<<(c.depth%64)
	*word &^= bit
	if object {
		*word |= bit
	}
	c.depth++
	c.at++
	return nil
}

// value walks the value at hand, brackets and all, without recursion.
func (c *compactor) value() error {
	for {
		opened, err := c.start()
		if err != nil {
			return err
		}
		if !opened {
			if done, err := c.next(); done || err != nil {
				return err
			}
		}
	}
}

// start walks a scalar or an empty array or object, or goes into the first element of one (opened).
func (c *compactor) start() (opened bool, err error) {
	switch b := c.token(); {
	case b == '"':
		return false, c.str()
	case b == '{':
		if err := c.open(true); err != nil {
			return false, err
		}
		if c.token() != '}' {
			return true, c.name()
		}
		c.at++
		c.depth--
		return false, nil
	case b == '[':
		if err := c.open(false); err != nil {
			return false, err
		}
		if c.token() != ']' {
			return true, nil
		}
		c.at++
		c.depth--
		return false, nil
	case b == '-' || isDigit(b):
		return false, c.number()
	case b == 't':
		return false, c.literal("true")
	case b == 'f':
		return false, c.literal("false")
	case b == 'n':
		return false, c.literal("null")
	}
	return false, c.fail("no value")
}

// next goes on after a value: to the next element, or out of brackets; done at the end of the outermost.
func (c *compactor) next() (done bool, err error) {
	for c.depth > 0 {
		object := c.inObject()
		switch b := c.token(); {
		case b == ',' && object:
			c.at++
			c.token()
			return false, c.name()
		case b == ',':
			c.at++
			return false, nil
		case b == '}' && object, b == ']' && !object:
			c.at++
			c.depth--
		case object:
			return false, c.fail("no ',' or '}'")
		default:
			return false, c.fail("no ',' or ']'")
		}
	}
	return true, nil
}

// name walks a member's name and the colon after it.
func (c *compactor) name() error {
	if c.peek() != '"' {
		return c.fail("no name")
	}
	if err := c.str(); err != nil {
		return err
	}
	if c.token() != ':' {
		return c.fail("no ':'")
	}
	c.at++
	return nil
}

func (c *compactor) literal(text string) error {
	for i := range len(text) {
		if c.peek() != text[i] {
			return c.fail("no value")
		}
		c.at++
	}
	return nil
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

func (c *compactor) number() error {
	if c.peek() == '-' {
		c.at++
	}
	if c.peek() == '0' {
		c.at++
	} else if err := c.digits(); err != nil {
		return err
	}
	if c.peek() == '.' {
		c.at++
		if err := c.digits(); err != nil {
			return err
		}
	}
	if c.peek()|0x20 == 'e' {
		c.at++
		if b := c.peek(); b == '+' || b == '-' {
			c.at++
		}
		return c.digits()
	}
	return nil
}

func (c *compactor) digits() error {
	if !isDigit(c.peek()) {
		return c.fail("no digit")
	}
	for c.at < len(c.src) && isDigit(c.src[c.at]) {
		c.at++
	}
	return nil
}

// str walks a string, the quotes included.
func (c *compactor) str() error {
	src, i, high := c.src, c.at+1, c.high
	for {
		for i+8 <= len(src) {
			w := binary.LittleEndian.Uint64(src[i:])
			high |= w
			if stop := stringStops(w); stop != 0 {
				i += bits.TrailingZeros64(stop) / 8
				break
			}
			i += 8
		}
		c.high = high
		if i >= len(src) {
			c.at = i
			return c.fail("")
		}
		switch b := src[i]; {
		case b == '"':
			c.at = i + 1
			return nil
		case b == '\\':
			c.at = i + 1
			if err := c.escape(); err != nil {
				return err
			}
			i = c.at
		case b < ' ':
			c.at = i
			return c.fail("control character in a string")
		default: // only in the last bytes of src
			high |= uint64(b)
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
func (c *compactor) escape() error {
	switch c.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		c.at++
		return nil
	case 'u':
		c.at++
		for range 4 {
			if !isHex(c.peek()) {
				return c.fail("no hexadecimal digit")
			}
			c.at++
		}
		return nil
	}
	return c.fail("no such escape")
}

func isHex(b byte) bool { return isDigit(b) || 'a' <= b|0x20 && b|0x20 <= 'f' }
