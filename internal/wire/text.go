package wire

import (
	"unicode/utf8"
	"unsafe"
)

// unescape appends the text of a string token to dst. A surrogate without its other half is kept as the three bytes that
// UTF-8 would have for it, so that different texts stay different, and reported.
func unescape(dst, raw []byte) (text []byte, lone bool) {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			i++
			continue
		}
		if raw[i+1] != 'u' {
			dst = append(dst, unescaped(raw[i+1]))
			i += 2
			continue
		}
		r, _ := hex4(raw[i+2:])
		i += 6
		if low, ok := lowSurrogate(raw[i:]); ok && isHigh(r) {
			r = 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
			i += 6
		}
		if isHigh(r) || isLow(r) {
			dst = append(dst, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
			lone = true
			continue
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst, lone
}

func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

func isHigh(r rune) bool { return 0xd800 <= r && r < 0xdc00 }
func isLow(r rune) bool  { return 0xdc00 <= r && r < 0xe000 }

func lowSurrogate(raw []byte) (rune, bool) {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return 0, false
	}
	r, _ := hex4(raw[2:])
	return r, isLow(r)
}

// view returns b as a string without copying it. It is for calls that do not keep their argument.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
