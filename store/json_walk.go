package store

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// What follows walks JSON that CompactValue has let through: the grammar is known to be good and there is no white space.
// Text that is not so ends in errNotCompact or in other text, never in a panic or without an end.

var errNotCompact = errors.New("store: not compact JSON")

// skipString returns the place after the string that begins at src[i], or -1.
func skipString(src []byte, i int) int {
	if i >= len(src) || src[i] != '"' {
		return -1
	}
	for i++; i < len(src); {
		if i+8 <= len(src) {
			stop := stringStops(binary.LittleEndian.Uint64(src[i:]))
			if stop == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(stop) / 8
		}
		switch src[i] {
		case '"':
			return i + 1
		case '\\':
			i += 2
		default:
			i++
		}
	}
	return -1
}

// skipValue returns the place after the value that begins at src[i], or -1.
func skipValue(src []byte, i int) int {
	for depth := 0; i >= 0 && i < len(src); {
		switch src[i] {
		case '"':
			i = skipString(src, i)
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			depth--
			i++
		case ',', ':':
			i++
			continue
		default:
			i = skipScalar(src, i)
		}
		if depth <= 0 {
			return i
		}
	}
	return -1
}

// skipScalar returns the place after the number or literal that begins at src[i].
func skipScalar(src []byte, i int) int {
	for i < len(src) {
		switch src[i] {
		case ',', ':', ']', '}', '[', '{', '"':
			return i
		}
		i++
	}
	return i
}
