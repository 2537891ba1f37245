package store

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Names of members are equal when they mean the same, however they are escaped.

// nameMeaning returns what a name in quotes means: a part of it, or of text (which is returned, too) if it has escapes.
func nameMeaning(text, quoted []byte) (name, newText []byte) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], text
	}
	from := len(text)
	text = appendName(text, quoted)
	return text[from:len(text):len(text)], text
}

// appendName appends the meaning of a name, given with its quotes, as UTF-8. Escapes of lone surrogates, which have none,
// become what UTF-8 would write for them, so that different names stay different.
func appendName(dst, quoted []byte) []byte {
	s := quoted[1 : len(quoted)-1]
	for i := 0; i < len(s); {
		if s[i] != '\\' || i+1 == len(s) {
			dst = append(dst, s[i])
			i++
			continue
		}
		if s[i+1] != 'u' {
			dst = append(dst, plainEscape(s[i+1]))
			i += 2
			continue
		}
		r := hexRune(s, i+2)
		i += 6
		if utf16.IsSurrogate(r) && i+1 < len(s) && s[i] == '\\' && s[i+1] == 'u' {
			if both := utf16.DecodeRune(r, hexRune(s, i+2)); both != utf8.RuneError {
				r = both
				i += 6
			}
		}
		dst = appendRune(dst, r)
	}
	return dst
}

func plainEscape(b byte) byte {
	switch b {
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
	return b
}

func hexRune(s []byte, i int) rune {
	var r rune
	for _, b := range s[min(i, len(s)):min(i+4, len(s))] {
		r = r<<4 | rune(hexDigits[b|0x20]&15)
	}
	return r
}

func appendRune(dst []byte, r rune) []byte {
	if utf16.IsSurrogate(r) {
		return append(dst, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
	}
	return utf8.AppendRune(dst, r)
}

// nameIndex finds a member of one object by its name: among few by comparing, among many by a map, so that an object of
// many members costs linear time.
type nameIndex struct{ at map[string]int }

type named interface{ meaning() []byte }

const fewNames = 16

func findName[M named](x *nameIndex, members []M, name []byte) (int, bool) {
	if x.at != nil {
		i, ok := x.at[string(name)]
		return i, ok
	}
	for i := range members {
		if bytes.Equal(members[i].meaning(), name) {
			return i, true
		}
	}
	return 0, false
}

// nameAdded takes note of the last of members.
func nameAdded[M named](x *nameIndex, members []M) {
	switch n := len(members); {
	case x.at != nil:
		x.at[string(members[n-1].meaning())] = n - 1
	case n > fewNames:
		x.at = make(map[string]int, 2*n)
		for i := range members {
			x.at[string(members[i].meaning())] = i
		}
	}
}
