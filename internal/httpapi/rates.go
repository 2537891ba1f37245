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

// maxCallers bounds the memory of the rates: beyond it, those who have not written for a while are forgotten.
const maxCallers = 10_000

// rates holds a bucket of tokens per caller.
type rates struct {
	rate Rate

	mu      sync.Mutex
	callers map[string]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newRates(r Rate) rates {
	if r.Burst == 0 {
		r.Burst = max(1, int(r.PerSecond))
	}
	return rates{rate: r, callers: make(map[string]*bucket)}
}

// take takes n tokens, or returns how long to wait for them. A request larger than the whole burst takes a full bucket.
func (r *rates) take(caller string, n int, now time.Time) time.Duration {
	if r.rate.PerSecond == 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.callers[caller]
	if b == nil {
		r.forget(now)
		b = &bucket{tokens: float64(r.rate.Burst), at: now}
		r.callers[caller] = b
	}
	b.tokens = min(float64(r.rate.Burst), b.tokens+now.Sub(b.at).Seconds()*r.rate.PerSecond)
	b.at = now
	want := min(float64(n), float64(r.rate.Burst))
	if b.tokens < want {
		return time.Duration((want - b.tokens) / r.rate.PerSecond * float64(time.Second))
	}
	b.tokens -= float64(n)
	return 0
}

// forget makes room for another caller: a bucket that is full again tells nothing.
func (r *rates) forget(now time.Time) {
	if len(r.callers) < maxCallers {
		return
	}
	full := time.Duration(float64(r.rate.Burst) / r.rate.PerSecond * float64(time.Second))
	for name, b := range r.callers {
		if now.Sub(b.at) >= full || len(r.callers) >= 2*maxCallers {
			delete(r.callers, name)
		}
	}
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
