package wire

import (
	"strconv"
	"unicode/utf8"

	"tidemark/store"
)

// safe tells which bytes of a string stand for themselves in JSON: all of ASCII but controls, quote and backslash.
var safe = func() (t [256]bool) {
	for c := 0x20; c < 0x80; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// AppendString appends s as a JSON string, for callers who put text into frames themselves. What is not UTF-8 in it becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		if safe[s[i]] {
			i++
			continue
		}
		if s[i] >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(dst, s[start:i]...)
				dst = append(dst, "\uFFFD"...)
				start = i + 1
			}
			i += n
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = appendEscape(dst, s[i])
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

func appendUint[T ~uint64](dst []byte, n T) []byte { return strconv.AppendUint(dst, uint64(n), 10) }

// appendHead begins a frame.
func appendHead(dst []byte, typ string, ref Ref) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, typ...)
	dst = append(dst, '"')
	return appendRef(dst, ref)
}

func appendRef(dst []byte, ref Ref) []byte {
	if ref == "" {
		return dst
	}
	dst = append(dst, `,"ref":`...)
	return append(dst, ref...)
}

func appendName(dst []byte, name string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

func appendStringField(dst []byte, name, s string) []byte {
	return AppendString(appendName(dst, name), s)
}

func appendUintField[T ~uint64](dst []byte, name string, n T) []byte {
	return appendUint(appendName(dst, name), n)
}

func appendIntField(dst []byte, name string, n int64) []byte {
	return strconv.AppendInt(appendName(dst, name), n, 10)
}

// appendIDField appends nothing for the zero id, which stands for "none".
func appendIDField(dst []byte, name string, id store.ID) []byte {
	if id.IsZero() {
		return dst
	}
	return append(id.Append(append(appendName(dst, name), '"')), '"')
}

// appendDataField appends compact JSON; nil is null.
func appendDataField(dst, data []byte) []byte {
	dst = append(dst, `,"data":`...)
	if data == nil {
		return append(dst, "null"...)
	}
	return append(dst, data...)
}

// clip shortens a text for people to at most n bytes, so that a frame's size can be known beforehand.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
