package durablestreams

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// Cursors let caches in between answer many readers of a live stream with one response: readers of the same interval ask
// the same question. The number of an interval counts from an epoch that all servers of the protocol share.
var cursorEpoch = time.Date(2024, 10, 9, 0, 0, 0, 0, time.UTC)

const (
	cursorInterval = 20 * time.Second
	cursorJitter   = 180 // intervals, an hour: how far a reader that runs ahead is moved on
)

// nextCursor returns the interval of now; a reader that has been given this one already, or a later one, is moved on by a
// random step, so that it never goes round in a cache.
func nextCursor(given string, now time.Time) string {
	current := int64(now.Sub(cursorEpoch) / cursorInterval)
	if had, err := strconv.ParseInt(given, 10, 64); err == nil && had >= current && had < 1<<53 {
		current = had + 1 + rand.Int64N(cursorJitter)
	}
	return strconv.FormatInt(current, 10)
}
