package durablestreams

import (
	"fmt"
	"strings"

	"tidemark/store"
)

// offsetDigits is enough for every seq, so that offsets sort as text.
const offsetDigits = 16

// formatOffset writes a position in a stream: everything up to the seq has been read.
func formatOffset(seq store.Seq) string { return fmt.Sprintf("%0*d", offsetDigits, uint64(seq)) }

// parseOffset reads what formatOffset wrote. Other servers join two numbers of 16 digits by "_"; the first of them counts,
// so that their beginning of a stream is ours.
func parseOffset(s string) (store.Seq, error) {
	head, tail, joined := strings.Cut(s, "_")
	if len(head) != offsetDigits || joined && len(tail) != offsetDigits || !digits(head) || !digits(tail) {
		return 0, fmt.Errorf("durablestreams: %.40q is not an offset", s)
	}
	return store.ParseSeq(trimZeros(head))
}

func trimZeros(s string) string {
	s = strings.TrimLeft(s, "0")
	if s == "" {
		return "0"
	}
	return s
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// parseCount reads a decimal number from 0 to 2^53-1 without sign or leading zeros, as all counts of the protocol are.
func parseCount(s string) (uint64, error) {
	n, err := store.ParseSeq(s)
	return uint64(n), err
}
