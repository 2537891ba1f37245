package sync

import (
	"strconv"
	"strings"
)

// tooOld reports whether an app such as "board/2.1" is older than the oldest version that may connect. Versions are compared
// number by number; an app that names none is older than any.
func tooOld(app string, oldest map[string]string) bool {
	if len(oldest) == 0 {
		return false
	}
	name, version, _ := strings.Cut(app, "/")
	limit, ok := oldest[name]
	return ok && olderVersion(version, limit)
}

func olderVersion(have, want string) bool {
	for want != "" {
		var h, w string
		h, have, _ = strings.Cut(have, ".")
		w, want, _ = strings.Cut(want, ".")
		hn, wn := leadingNumber(h), leadingNumber(w)
		if hn != wn {
			return hn < wn
		}
	}
	return false
}

// leadingNumber reads "3" and "3-rc1" as 3, and what is no number as -1.
func leadingNumber(s string) int {
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(s)
	}
	n, err := strconv.Atoi(s[:end])
	if err != nil {
		return -1
	}
	return n
}
