package cli

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// What others wrote is printed so that it cannot command the terminal: control characters (C0, DEL, C1), those that change
// the direction of the text, and other line ends are written as \u escapes.

// appendPlain appends a name or a message for people.
func appendPlain(dst []byte, text string) []byte {
	for _, r := range text { // what is not UTF-8 comes as U+FFFD
		if obeyed(r) {
			dst = fmt.Appendf(dst, `\u%04x`, r)
		} else {
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

// appendPlainJSON appends JSON as one line of JSON of the same value. Outside of strings control characters are white space.
func appendPlainJSON(dst, text []byte) []byte {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			dst = append(dst, ' ')
		case obeyed(r):
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			dst = utf8.AppendRune(dst, r)
		}
		text = text[n:]
	}
	return dst
}

// plainLines is plain for errors, which may have several lines.
func plainLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = plain(lines[i])
	}
	return strings.Join(lines, "\n")
}

func plain(text string) string { return string(appendPlain(nil, text)) }

// obeyed reports whether a terminal takes r for more than a letter.
func obeyed(r rune) bool {
	switch {
	case r < 0x20, 0x7f <= r && r <= 0x9f: // C0, DEL, C1
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, 0x202a <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069: // direction
		return true
	}
	return r == 0x2028 || r == 0x2029 // line ends
}
