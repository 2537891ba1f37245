package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogramAgainstSorting(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var a, b histogram
	var all []time.Duration
	for i := range 20000 {
		d := time.Duration(rng.Uint64N(1 << rng.Uint64N(40)))
		all = append(all, d)
		if i%2 == 0 {
			a.add(d)
		} else {
			b.add(d)
		}
	}
	a.merge(&b)
	slices.Sort(all)
	for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[min(int(q*float64(len(all))), len(all)-1)]
		if got := a.quantile(q); got < want || float64(got) > float64(want)*1.04+1 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
}

func TestBuckets(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 31, 32, 33, 63, 64, 1000, time.Second, time.Hour, 1 << 62} {
		b := bucketOf(d)
		if d > upper(b) || (b > 0 && d <= upper(b-1)) {
			t.Errorf("%d is in bucket %d, (%d, %d]", d, b, upper(b-1), upper(b))
		}
	}
}
