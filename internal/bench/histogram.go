package bench

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets whose width is 1/32 of their value, from a nanosecond to hours, in fixed memory.
type histogram struct {
	counts [64 * 32]uint64
	n      uint64
	top    time.Duration
}

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 32 {
		return int(v)
	}
	shift := bits.Len64(v) - 6
	return (shift+1)*32 + int(v>>shift)&31
}

// upper returns the largest duration of a bucket.
func upper(b int) time.Duration {
	if b < 32 {
		return time.Duration(b)
	}
	shift := b/32 - 1
	return time.Duration((uint64(b%32)+33)<<shift - 1)
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.n++
	h.top = max(h.top, d)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n += o.n
	h.top = max(h.top, o.top)
}

// quantile returns a duration that the given part of all durations does not exceed, at most 3 % too long.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := uint64(q * float64(h.n))
	if rank >= h.n {
		return h.top
	}
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += n; seen > rank {
			return min(upper(i), h.top)
		}
	}
	return h.top
}
