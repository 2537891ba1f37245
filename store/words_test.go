package store

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

var canonicalID = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// FuzzWords reads every word of the log from any text, and compares with the plainest way to say what is right.
func FuzzWords(f *testing.F) {
	for _, s := range []string{
		"0192a0b1-7c3d-7e4f-8a9b-0c1d2e3f4a5b", "00000000-0000-0000-0000-000000000000", "0192a0b1-7c3d-7e4f-8a9b-0c1d-e3f4a5b6",
		strings.Repeat("-", 36), "room/1", "room/**", "**", "a//b", "..", "a/.", "$x/y", "a\u0085b", "a\xff", "0", "9007199254740992", "+1", "01",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if want := canonicalID.MatchString(s) && strings.Trim(s, "0-") != ""; (err == nil) != want {
			t.Errorf("id %q: %v", s, err)
		} else if want && id.String() != s {
			t.Errorf("id %q became %s", s, id)
		}
		seq, err := ParseSeq(s)
		if n, bad := strconv.ParseUint(s, 10, 53); (err == nil) != (bad == nil && strconv.FormatUint(n, 10) == s) || err == nil && uint64(seq) != n {
			t.Errorf("seq %q: %d, %v", s, seq, err)
		}
		stream, err := ParseStream(s)
		if (err == nil) != plainStream(s) || err == nil && string(stream) != s {
			t.Errorf("stream %q: %q, %v", s, stream, err)
		}
		filter, err := ParseFilter(s)
		prefix, wide := strings.CutSuffix(s, "/**")
		if want := s == "**" || wide && plainStream(prefix) || plainStream(s); (err == nil) != want {
			t.Errorf("filter %q: %v", s, err)
		} else if want && filter.String() != s {
			t.Errorf("filter %q became %q", s, filter)
		}
	})
}

func plainStream(s string) bool {
	if len(s) > MaxStream || !utf8.ValidString(s) || strings.Contains(s, "*") {
		return false
	}
	for _, r := range s {
		if r < 0x20 || r >= 0x7f && r <= 0x9f {
			return false
		}
	}
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}
