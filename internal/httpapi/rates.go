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

// Rates holds a bucket of tokens per caller, in two generations: the older one is forgotten as a whole. It is safe for concurrent
// use, and may be shared by all that takes writes over HTTP. A nil *Rates bounds nothing.
type Rates struct {
	rate Rate

	mu         sync.Mutex
	young, old map[string]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

// NewRates returns full buckets for everybody.
func NewRates(r Rate) *Rates {
	if r.Burst == 0 {
		r.Burst = max(1, int(r.PerSecond))
	}
	return &Rates{rate: r, young: make(map[string]*bucket)}
}

func (r *Rates) negative() bool { return r != nil && (r.rate.PerSecond < 0 || r.rate.Burst < 0) }

// take takes n tokens, or returns how long to wait for them. A request larger than the whole burst takes a full bucket.
func (r *Rates) take(caller string, n int, now time.Time) time.Duration {
	if r == nil || r.rate.PerSecond == 0 {
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

func (r *Rates) bucket(caller string, now time.Time) *bucket {
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

// Charge counts n writes of a request against its caller: the subject, or the address where there is none. It returns 0, or how
// long to wait before they may come.
func (r *Rates) Charge(req *http.Request, subject string, n int) (wait time.Duration) {
	caller := "s:" + subject
	if subject == "" {
		caller = "a:" + address(req)
	}
	return r.take(caller, n, time.Now())
}

// charge counts n mutations or signals against the caller.
func (c *call) charge(n int) error {
	wait := c.Rates.Charge(c.r, c.who.Subject, n)
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
