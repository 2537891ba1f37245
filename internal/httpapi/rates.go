package httpapi

import (
	"net"
	"net/http"
	"sync"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
)

// Rate bounds how fast one caller may write: a subject, or an address where nobody is authenticated. The zero Rate does not.
type Rate struct {
	PerSecond float64
	Burst     int // default: one second's worth, at least 1
}

// maxCallers bounds the memory of the rates: after so many others, a caller who has not written meanwhile is forgotten.
const maxCallers = 10_000

// rates holds a bucket of tokens per caller, in two generations: the older one is forgotten as a whole.
type rates struct {
	rate Rate

	mu         sync.Mutex
	young, old map[string]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newRates(r Rate) rates {
	if r.Burst == 0 {
		r.Burst = max(1, int(r.PerSecond))
	}
	return rates{rate: r, young: make(map[string]*bucket)}
}

// take takes n tokens, or returns how long to wait for them. A request larger than the whole burst takes a full bucket.
func (r *rates) take(caller string, n int, now time.Time) time.Duration {
	if r.rate.PerSecond == 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.bucket(caller, now)
	b.tokens = min(float64(r.rate.Burst), b.tokens+now.Sub(b.at).Seconds()*r.rate.PerSecond)
	b.at = now
	want := min(float64(n), float64(r.rate.Burst))
	if b.tokens < want {
		return time.Duration((want - b.tokens) / r.rate.PerSecond * float64(time.Second))
	}
	b.tokens -= float64(n)
	return 0
}

func (r *rates) bucket(caller string, now time.Time) *bucket {
	if b := r.young[caller]; b != nil {
		return b
	}
	b := r.old[caller]
	if b == nil {
		b = &bucket{tokens: float64(r.rate.Burst), at: now}
	}
	if len(r.young) >= maxCallers {
		r.young, r.old = make(map[string]*bucket), r.young
	}
	r.young[caller] = b
	return b
}

// charge counts n mutations or signals against the caller.
func (c *call) charge(n int) error {
	caller := "s:" + c.who.Subject
	if c.who.Subject == "" {
		caller = "a:" + address(c.r)
	}
	wait := c.rates.take(caller, n, time.Now())
	if wait == 0 {
		return nil
	}
	return &wire.Error{Code: store.CodeRateLimited, Message: "too many writes in too short a time", Later: true,
		RetryAfterMS: max(1, wait.Milliseconds())}
}

// address is the caller's, an IPv6 network of 64 bits as one.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		return ip.Mask(net.CIDRMask(64, 128)).String()
	}
	return host
}
