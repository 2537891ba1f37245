package wsapi

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"tidemark/internal/wire"
)

// TestHandshake sends requests as text: each line of a case replaces the ordinary line of that name, or is added.
func TestHandshake(t *testing.T) {
	r := newRig(t, rigOptions{ws: Options{Origins: []string{"https://app.example", "https://*.wild.example:8443"}}})
	tests := []struct {
		name, lines string
		want        int
	}{
		{"ordinary", "", 101},
		{"with the subprotocol", "Sec-WebSocket-Protocol: tidemark.v1", 101},
		{"with the subprotocol among others", "Sec-WebSocket-Protocol: chat, tidemark.v1", 101},
		{"with the subprotocol in a second header", "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol:tidemark.v1", 101},
		{"with other subprotocols only", "Sec-WebSocket-Protocol: tidemark.v2, chat", 400},
		{"with an empty subprotocol", "Sec-WebSocket-Protocol: ", 400},
		{"POST", "POST /v1/ws HTTP/1.1", 405},
		{"HEAD", "HEAD /v1/ws HTTP/1.1", 405},
		{"HTTP/1.0", "GET /v1/ws HTTP/1.0", 400},
		{"body", "Content-Length: 3\r\n\r\nabc", 400},
		{"chunked body", "Transfer-Encoding: chunked\r\n\r\n0\r\n", 400},
		{"pipelined frame", "X: y\r\n\r\n\x81\x80\x00\x00\x00\x00", 400},
		{"no upgrade", "Upgrade:", 426},
		{"upgrade to h2c", "Upgrade: h2c", 426},
		{"upgrade to websocketx", "Upgrade: websocketx", 426},
		{"upgrade in capitals", "Upgrade: WebSocket", 101},
		{"no connection", "Connection: keep-alive", 426},
		{"connection upgraded", "Connection: notupgrade", 426},
		{"connection as Firefox sends it", "Connection: keep-alive, Upgrade", 101},
		{"no version", "Sec-WebSocket-Version:", 426},
		{"version 8", "Sec-WebSocket-Version: 8", 426},
		{"versions", "Sec-WebSocket-Version: 13, 8", 426},
		{"no key", "Sec-WebSocket-Key:", 400},
		{"short key", "Sec-WebSocket-Key: short", 400},
		{"key of 15 bytes", "Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0", 400},
		{"key of 17 bytes", "Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NTY=", 400},
		{"key without padding", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ", 400},
		{"key with stray bits", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==", 400},
		{"two keys", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", 400},
		{"token in the URL", "GET /v1/ws?token=abc HTTP/1.1", 400},
		{"token in the URL in capitals", "GET /v1/ws?x=1&Access_Token=abc HTTP/1.1", 400},
		{"other parameters", "GET /v1/ws?x=1 HTTP/1.1", 101},
		{"bearer", "Authorization: Bearer abc", 101},
		{"bearer in small letters", "Authorization: bearer abc", 101},
		{"bearer without token", "Authorization: Bearer ", 401},
		{"bearer with two tokens", "Authorization: Bearer a b", 401},
		{"basic", "Authorization: Basic YTpi", 401},
		{"two authorizations", "Authorization: Bearer a\r\nAuthorization: Bearer b", 401},
		{"own origin", "Host: 127.0.0.1:80\r\nOrigin: http://127.0.0.1", 101},
		{"loopback origin", "Origin: http://localhost:5173", 101},
		{"loopback origin below localhost", "Origin: http://app.localhost:5173", 101},
		{"IPv6 loopback origin", "Origin: http://[::1]:5173", 101},
		{"listed origin", "Origin: https://app.example", 101},
		{"listed origin with its port", "Origin: https://app.example:443", 101},
		{"listed origin in capitals", "Origin: HTTPS://App.Example", 101},
		{"listed origin with another scheme", "Origin: http://app.example", 403},
		{"listed origin with another port", "Origin: https://app.example:8443", 403},
		{"listed origin as a prefix", "Origin: https://app.example.evil", 403},
		{"listed origin as a suffix", "Origin: https://evil-app.example", 403},
		{"listed origin with a user", "Origin: https://app.example@evil.example", 403},
		{"listed origin with a path", "Origin: https://app.example/", 403},
		{"listed origin with an empty query", "Origin: https://app.example?", 403},
		{"listed origin with an empty fragment", "Origin: https://app.example#", 403},
		{"wildcard", "Origin: https://a.wild.example:8443", 101},
		{"wildcard for two labels", "Origin: https://a.b.wild.example:8443", 403},
		{"wildcard for none", "Origin: https://wild.example:8443", 403},
		{"wildcard on another port", "Origin: https://a.wild.example", 403},
		{"foreign origin", "Origin: https://evil.example", 403},
		{"foreign origin that DNS bent here", "Host: evil.example\r\nOrigin: http://evil.example", 421},
		{"name that DNS bent here", "Host: evil.example", 421},
		{"name of a listed origin, as a proxy passes it on", "Host: App.Example\r\nOrigin: https://app.example", 101},
		{"name below a wildcard", "Host: a.wild.example:8443", 101},
		{"name of the wildcard itself", "Host: wild.example:8443", 421},
		{"IPv6 loopback", "Host: [::1]:8080", 101},
		{"another address", "Host: 192.0.2.1", 421},
		{"null origin", "Origin: null", 403},
		{"empty origin", "Origin: ", 403},
		{"file origin", "Origin: file://", 403},
		{"two origins", "Origin: https://app.example\r\nOrigin: https://app.example", 403},
		{"cookie without origin", "Cookie: a=b", 403},
		{"cookie with origin", "Cookie: a=b\r\nOrigin: https://app.example", 101},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := r.connect()
			check(t, c.SetDeadline(time.Now().Add(time.Minute)))
			_, err := io.WriteString(c, request(test.lines))
			check(t, err)
			res, err := http.ReadResponse(c.br, nil)
			check(t, err)
			body, _ := io.ReadAll(io.LimitReader(res.Body, int64(max(0, res.ContentLength))))
			if res.StatusCode != test.want {
				t.Errorf("%s %s, want %d", res.Status, body, test.want)
			}
			named := strings.Contains(test.lines, wire.Subprotocol)
			if got := res.Header.Get("Sec-WebSocket-Protocol"); test.want == 101 && (got == wire.Subprotocol) != named {
				t.Errorf("the server answered the subprotocol %q", got)
			}
			c.Close()
		})
	}
	waitFor(t, "the connections to end", func() bool { return r.ws.Stats().Conns == 0 })
}

// request returns an upgrade request in which lines stand for others.
func request(lines string) string {
	given := strings.Split(lines, "\r\n")
	head, rest := "GET /v1/ws HTTP/1.1", ""
	text := handshakeText[strings.Index(handshakeText, "\r\n")+2:]
	for i, l := range given {
		name, _, isHeader := strings.Cut(l, ":")
		switch {
		case strings.Contains(l, " HTTP/1."):
			head = l
		case l == "" && i > 0:
			rest = strings.Join(given[i+1:], "\r\n")
			return head + "\r\n" + text + "\r\n" + rest
		case isHeader && strings.Contains(text, name+": ") && !strings.Contains(strings.Join(given[:i], ""), name):
			at := strings.Index(text, name+": ")
			text = text[:at] + text[at+strings.Index(text[at:], "\r\n")+2:]
			fallthrough
		case isHeader:
			text += l + "\r\n"
		}
	}
	return head + "\r\n" + text + "\r\n"
}

// waitFor waits until something that nothing tells of has happened.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatal("waited in vain for " + what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// TestHandshakeAnswers checks the form of what is answered.
func TestHandshakeAnswers(t *testing.T) {
	r := newRig(t, rigOptions{ws: Options{Conns: 1}})
	for _, test := range []struct{ lines, header, want, body string }{
		{"", "Sec-Websocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", ""},
		{"Sec-WebSocket-Extensions: permessage-deflate", "Sec-Websocket-Extensions", "", ""},
		{"POST /v1/ws HTTP/1.1", "Allow", "GET", `{"error":{"code":"bad_message",`},
		{"Sec-WebSocket-Version: 7", "Sec-Websocket-Version", "13", `{"error":{"code":"bad_message",`},
		{"Authorization: Basic x", "Www-Authenticate", "Bearer", `{"error":{"code":"unauthorized",`},
		{"Origin: https://evil.example", "Content-Type", "application/json", `{"error":{"code":"forbidden",`},
	} {
		res := r.request(test.lines)
		body, _ := io.ReadAll(io.LimitReader(res.Body, int64(max(0, res.ContentLength))))
		if got := res.Header.Get(test.header); got != test.want || !strings.HasPrefix(string(body), test.body) {
			t.Errorf("%q: %s %q, body %s", test.lines, test.header, got, body)
		}
		waitFor(t, "the connection to end", func() bool { return r.ws.Stats().Conns == 0 })
	}
	waitFor(t, "the place to be free", func() bool { r.ws.mu.Lock(); defer r.ws.mu.Unlock(); return r.ws.places == 0 })
	first := r.dial()
	if res := r.request(""); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("a connection too many: %s", res.Status)
	}
	first.Close()
	waitFor(t, "the place to be free", func() bool { r.ws.mu.Lock(); defer r.ws.mu.Unlock(); return r.ws.places == 0 })
	r.dial()
}

// TestConnsPerAddress counts IPv4 addresses and IPv6 networks.
func TestConnsPerAddress(t *testing.T) {
	b := newBench(t, wire.Limits{}, Options{ConnsPerAddress: 2})
	defer b.stop()
	steps := []struct {
		addr string
		ok   bool
	}{
		{"192.0.2.1:1", true}, {"192.0.2.1:2", true}, {"192.0.2.1:3", false}, {"[::ffff:192.0.2.1]:4", false}, {"192.0.2.2:1", true},
		{"[2001:db8::1]:1", true}, {"[2001:db8::2]:1", true}, {"[2001:db8::ffff:0:0:3]:1", false}, {"[2001:db8:0:1::3]:1", true},
		{"[fe80::1%eth0]:1", true}, {"[fe80::1%eth1]:1", true}, {"[fe80::1%eth2]:1", false}, {"@", true}, {"@", true}, {"@", true},
	}
	for _, step := range steps {
		if f := b.srv.take(step.addr); (f == nil) != step.ok {
			t.Errorf("%s: %v", step.addr, f)
		}
	}
	for _, step := range steps {
		if step.ok {
			b.srv.giveBack(step.addr)
		}
	}
	if b.srv.places != 0 || len(b.srv.from) != 0 {
		t.Errorf("%d places are taken, %v", b.srv.places, b.srv.from)
	}
	if f := b.srv.take("192.0.2.1:5"); f != nil {
		t.Error(f)
	}
}

// TestHandshakesPerAddress lets an address open so many connections in a second, however soon it closes them.
func TestHandshakesPerAddress(t *testing.T) {
	bubble(t, wire.Limits{}, Options{Handshakes: 2}, func(t *testing.T, b *bench) {
		try := func(addr string, ok bool) {
			t.Helper()
			f := b.srv.take(addr)
			switch {
			case (f == nil) != ok:
				t.Errorf("%s: %v", addr, f)
			case f == nil:
				b.srv.giveBack(addr)
			case f.status != http.StatusTooManyRequests || f.header != [2]string{"Retry-After", "1"}:
				t.Errorf("%s: %+v", addr, f)
			}
		}
		for range 3 {
			try("192.0.2.1:1", true)
			try("192.0.2.1:2", true)
			try("192.0.2.1:3", false)
			try("192.0.2.2:1", true)
			try("[2001:db8::1]:1", true)
			try("[2001:db8::2]:1", true)
			try("[2001:db8::3]:1", false)
			time.Sleep(time.Second)
		}
		if n := len(b.srv.rush.count); n != 3 {
			t.Errorf("%d addresses are remembered", n)
		}
		if b.srv.places != 0 {
			t.Errorf("%d places are taken", b.srv.places)
		}
	})
}

// request sends a request and returns the answer; the connection is closed.
func (r *rig) request(lines string) *http.Response {
	r.t.Helper()
	c := r.connect()
	defer c.Close()
	_, err := io.WriteString(c, request(lines))
	check(r.t, err)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	check(r.t, err)
	return res
}

func TestOptionsAreChecked(t *testing.T) {
	r := newRig(t, rigOptions{})
	for _, o := range []Options{
		{Origins: []string{"app.example"}}, {Origins: []string{"https://app.example/"}}, {Origins: []string{"https://*"}},
		{Origins: []string{"https://*example.org"}}, {Origins: []string{"https://a.*.example"}}, {Origins: []string{"ftp://a.example"}},
		{Conns: -1}, {ConnsPerAddress: -1}, {Handshakes: -1}, {WriteTimeout: -1},
	} {
		if _, err := New(r.engine, o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

// TestOffersDeflate takes offers that it can take as they are.
func TestOffersDeflate(t *testing.T) {
	for offer, want := range map[string]bool{
		"permessage-deflate":                                                                                 true,
		"permessage-deflate; client_max_window_bits":                                                         true,
		"permessage-deflate;client_max_window_bits=15; server_no_context_takeover":                           true,
		`permessage-deflate; client_max_window_bits="10"`:                                                    true,
		"permessage-deflate; server_max_window_bits=10":                                                      false,
		"permessage-deflate; server_max_window_bits=10, permessage-deflate":                                  true,
		"permessage-deflate; client_max_window_bits=16":                                                      false,
		"permessage-deflate; client_max_window_bits=7":                                                       false,
		"permessage-deflate; client_no_context_takeover=1":                                                   false,
		"permessage-deflate; client_no_context_takeover; client_no_context_takeover":                         false,
		"permessage-deflate; unknown":                                                                        false,
		"x-permessage-deflate":                                                                               false,
		"permessage-deflate2":                                                                                false,
		"x-webkit-deflate-frame, permessage-deflate; client_no_context_takeover; server_no_context_takeover": true,
		"": false,
	} {
		if got := offersDeflate([]string{offer}); got != want {
			t.Errorf("%q: %v", offer, got)
		}
	}
}
