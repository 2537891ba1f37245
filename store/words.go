package store

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Seq is the position of an event in the log: 1, 2, 3 … over the whole log, never reused. 0 means "none".
type Seq uint64

// MaxSeq is the largest seq that every client language can hold as a number.
const MaxSeq Seq = 1<<53 - 1

// String returns the seq in decimal.
func (s Seq) String() string { return strconv.FormatUint(uint64(s), 10) }

// ParseSeq reads a decimal seq from 0 to MaxSeq, without sign, leading zeros or fraction.
func ParseSeq(s string) (Seq, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || Seq(n) > MaxSeq || (len(s) > 1 && s[0] == '0') || s[0] == '+' {
		return 0, fmt.Errorf("store: %.40q is not a seq (0 to 2^53-1)", s)
	}
	return Seq(n), nil
}

// ID identifies a mutation, a log or a client: a UUID of any version. The zero ID means "none".
type ID [16]byte

// NewID returns a fresh time-ordered (v7) id.
func NewID() ID { return ID(uuid.Must(uuid.NewV7())) }

// ParseID reads the canonical form only: 36 characters, lower case, hyphens in place, not nil.
func ParseID(s string) (ID, error) {
	if id, ok := parseID(s); ok && !id.IsZero() {
		return id, nil
	}
	return ID{}, fmt.Errorf("store: %.40q is not a UUID in canonical form (36 characters, lower case, not nil)", s)
}

func parseID[T ~string | ~[]byte](s T) (id ID, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, false
	}
	bad := byte(0)
	for j, at := range idDigits {
		hi, lo := hexDigits[s[at]], hexDigits[s[at+1]]
		id[j] = hi<<4 | lo
		bad |= hi | lo
	}
	return id, bad < 16
}

// idDigits is where the digits of each byte stand in the canonical form.
var idDigits = [16]uint8{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// hexDigits is the value of each lower-case hexadecimal digit, 255 for every other byte. A table, because a branch per
// random digit costs more than all the rest.
var hexDigits = func() (t [256]byte) {
	for c := range t {
		t[c] = 255
	}
	for i, c := range "0123456789abcdef" {
		t[c] = byte(i)
	}
	return t
}()

// IsZero reports whether the id is absent.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the canonical form.
func (id ID) String() string { return string(id.Append(make([]byte, 0, 36))) }

// Append appends the canonical form to dst.
func (id ID) Append(dst []byte) []byte {
	const digits = "0123456789abcdef"
	for i, b := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, digits[b>>4], digits[b&15])
	}
	return dst
}

// Stream is the name of a part of the log, such as "org/42/board/7": 1 to 255 bytes of UTF-8 in segments split by "/",
// none of them empty, "." or "..", without control characters and "*". Names are compared byte by byte.
type Stream string

// MaxStream is the longest stream name, in bytes.
const MaxStream = 255

// ErrStreamInvalid is wrapped by every error about the form of a stream name or filter.
var ErrStreamInvalid = errors.New("stream name is invalid")

// ParseStream checks a stream name. Reserved names ("$…") are well formed; see Stream.Reserved.
func ParseStream(s string) (Stream, error) {
	if len(s) == 0 || len(s) > MaxStream {
		return "", fmt.Errorf("%w: it has %d bytes, not 1 to %d", ErrStreamInvalid, len(s), MaxStream)
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%w: it is not UTF-8", ErrStreamInvalid)
	}
	if HasControl(s) || strings.Contains(s, "*") {
		return "", fmt.Errorf("%w: it has a control character or a '*'", ErrStreamInvalid)
	}
	for seg := range strings.SplitSeq(s, "/") {
		if seg == "" || seg == "." || seg == ".." {
			return "", fmt.Errorf("%w: segment %q", ErrStreamInvalid, seg)
		}
	}
	return Stream(s), nil
}

// Reserved reports whether the name is the server's own: its first segment begins with "$".
func (s Stream) Reserved() bool { return len(s) > 0 && s[0] == '$' }

// HasControl reports whether s holds a control character: U+0000 to U+001F or U+007F to U+009F.
func HasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < 0x20 || c == 0x7f || (c == 0xc2 && i+1 < len(s) && s[i+1] >= 0x80 && s[i+1] <= 0x9f) {
			return true
		}
	}
	return false
}

// Filter selects events by stream: one stream, everything below a name ("room/**"), or the whole log ("**").
// The zero Filter selects nothing. Filters are comparable.
type Filter struct {
	name string // the stream, or the prefix with its trailing "/"; "" with wide: everything
	wide bool
}

// All selects every stream that is not reserved.
var All = Filter{wide: true}

// Only selects exactly one stream.
func Only(s Stream) Filter { return Filter{name: string(s)} }

// ParseFilter reads "room/1", "room/**" (everything below, not the name before it) or "**".
func ParseFilter(s string) (Filter, error) {
	if s == "**" {
		return All, nil
	}
	if p, ok := strings.CutSuffix(s, "/**"); ok {
		if _, err := ParseStream(p); err != nil {
			return Filter{}, err
		}
		return Filter{name: p + "/", wide: true}, nil
	}
	st, err := ParseStream(s)
	return Only(st), err
}

// Match reports whether events of s belong to the filter.
func (f Filter) Match(s Stream) bool {
	switch {
	case !f.wide:
		return f.name == string(s)
	case f.name == "":
		return !s.Reserved()
	default:
		return strings.HasPrefix(string(s), f.name)
	}
}

// Stream returns the one stream of an exact filter.
func (f Filter) Stream() (Stream, bool) { return Stream(f.name), !f.wide }

// Wide reports whether the filter may match more than one stream.
func (f Filter) Wide() bool { return f.wide }

// Prefix returns what the names of a wide filter's streams begin with: "room/", or "" for the whole log.
func (f Filter) Prefix() string { return f.name }

// Reserved reports whether the filter names streams of the server's own.
func (f Filter) Reserved() bool { return Stream(f.name).Reserved() }

// String returns the form that ParseFilter reads.
func (f Filter) String() string {
	if f.wide {
		return f.name + "**"
	}
	return f.name
}

// Op is how an event changes the document at its key.
type Op uint8

// The operations. An event without one changes no document.
const (
	OpNone Op = iota
	OpPut
	OpPatch // RFC 7396 merge patch
	OpDelete
)

var opNames = [...]string{"", "put", "patch", "delete"}

// String returns the wire name, "" for OpNone.
func (o Op) String() string { return opNames[o] }

// ParseOp reads a wire name.
func ParseOp(s string) (Op, bool) {
	for i, n := range opNames[1:] {
		if n == s {
			return Op(i + 1), true
		}
	}
	return OpNone, false
}
