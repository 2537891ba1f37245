// Package origin judges which web pages may talk to the server: browsers send requests for any page of the internet, also to
// servers that listen on loopback only, and say in Origin and Host which page that was. Programs that are no browsers can
// write there what they like, and are not meant.
package origin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// origin is a web origin (RFC 6454): scheme, host in lower case, port with the scheme's default filled in.
type origin struct{ scheme, host, port string }

// parseOrigin reads the value of an Origin header: nothing but scheme, host and perhaps port.
func parseOrigin(s string) (origin, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" ||
		u.ForceQuery || strings.HasSuffix(s, "#") {
		return origin{}, false
	}
	o := origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	if o.scheme != "http" && o.scheme != "https" || o.host == "" {
		return origin{}, false
	}
	if o.port == "" {
		o.port = defaultPort(o.scheme)
	}
	return o, true
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// loopback reports whether a host name means the machine itself, whatever DNS says.
func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Policy says which web pages may talk to the server. The zero Policy knows the server's own pages and those of loopback.
type Policy struct {
	allowed map[origin]bool
	below   []origin // "*." entries: host begins with the dot
	any     bool
}

// New makes a policy of what --origin lists: "https://app.example:8443", "https://*.app.example", where the star stands for
// one label, or "*" for all.
func New(list []string) (Policy, error) {
	p := Policy{allowed: make(map[origin]bool)}
	for _, s := range list {
		if s == "*" {
			p.any = true
			continue
		}
		o, ok := parseOrigin(s)
		suffix, wild := strings.CutPrefix(o.host, "*")
		switch {
		case !ok || strings.Contains(suffix, "*") || wild && (len(suffix) < 2 || suffix[0] != '.'):
			return p, fmt.Errorf(`%q is no origin such as "https://app.example:8443" or "https://*.app.example"`, s)
		case wild:
			p.below = append(p.below, origin{o.scheme, suffix, o.port})
		default:
			p.allowed[o] = true
		}
	}
	return p, nil
}

// Allows judges the Origin of a request that a page must not make for its visitor without being allowed to.
func (p *Policy) Allows(r *http.Request) bool {
	sent := r.Header["Origin"]
	switch {
	case len(sent) == 0:
		return r.Header.Get("Cookie") == "" // browsers send cookies, and with them always an origin
	case len(sent) > 1:
		return false
	case p.any:
		return true
	}
	o, ok := parseOrigin(sent[0])
	if !ok {
		return false
	}
	return p.lists(o) || loopback(o.host) || sameHost(o, r)
}

func (p *Policy) lists(o origin) bool { return p.any || p.allowed[o] || p.isBelow(o) }

// Lists reports whether the value of an Origin header is one of the list; all: the list has "*".
func (p *Policy) Lists(sent string) (listed, all bool) {
	if p.any {
		return true, true
	}
	o, ok := parseOrigin(sent)
	return ok && p.lists(o), false
}

// KnowsHost judges the Host of a request: where the server was reached on loopback, the page of a name that only leads there
// would be of the same origin as the server, and might do everything (DNS rebinding). Names of loopback are known, and
// those of the list, which a proxy passes on.
func (p *Policy) KnowsHost(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil || r.Host == "" || p.any {
		return true
	}
	at, _, err := net.SplitHostPort(local.String())
	if err != nil || !loopback(at) {
		return true
	}
	name, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		name = strings.Trim(r.Host, "[]")
	}
	name = strings.ToLower(name)
	return loopback(name) || p.hasHost(name)
}

func (p *Policy) hasHost(name string) bool {
	for o := range p.allowed {
		if o.host == name {
			return true
		}
	}
	for _, w := range p.below {
		if p.isBelow(origin{w.scheme, name, w.port}) {
			return true
		}
	}
	return false
}

// isBelow matches wildcards: "*" stands for one whole label.
func (p *Policy) isBelow(o origin) bool {
	for _, w := range p.below {
		label, ok := strings.CutSuffix(o.host, w.host)
		if ok && label != "" && !strings.Contains(label, ".") && o.scheme == w.scheme && o.port == w.port {
			return true
		}
	}
	return false
}

// sameHost reports whether the page came from where the request goes. A name that leads to the machine itself without being
// a name of it may have been bent there (DNS rebinding), so it proves nothing.
func sameHost(o origin, r *http.Request) bool {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = strings.Trim(r.Host, "[]"), defaultPort(o.scheme)
	}
	if strings.ToLower(host) != o.host || port != o.port || r.TLS != nil && o.scheme != "https" {
		return false
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return true
	}
	at, _, err := net.SplitHostPort(local.String())
	return err != nil || !loopback(at) || loopback(o.host)
}
