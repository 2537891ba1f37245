package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"tidemark/internal/wire"
)

// dialTimeout bounds everything from the first packet to the end of the handshake.
const dialTimeout = 15 * time.Second

// HandshakeError is a server's refusal to open a WebSocket.
type HandshakeError struct {
	Status     int           // of the HTTP answer
	Body       string        // its beginning
	RetryAfter time.Duration // how long the server wants to be left alone; 0: it did not say
}

// Error returns the status and the beginning of the body.
func (e *HandshakeError) Error() string {
	return fmt.Sprintf("client: the server answered %d %s: %.200q", e.Status, http.StatusText(e.Status), e.Body)
}

// maxRetryAfter bounds what a server, or a proxy before it, may ask for, in seconds.
const maxRetryAfter = 300

// answers are buffers for the answer to a handshake.
var answers = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// dialer opens WebSocket connections to one URL.
type dialer struct {
	url  *url.URL
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
	tls  *tls.Config
}

// open connects and shakes hands. rest is what the server sent right behind its answer.
func (d *dialer) open(ctx context.Context, token string) (nc net.Conn, rest []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := d.dial(ctx, "tcp", d.address())
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer func() {
		if !stop() || err != nil {
			raw.Close()
			err = errors.Join(err, context.Cause(ctx))
		}
	}()
	nc = raw
	if d.url.Scheme == "wss" {
		conf := &tls.Config{}
		if d.tls != nil {
			conf = d.tls.Clone()
		}
		if conf.ServerName == "" {
			conf.ServerName = d.url.Hostname()
		}
		nc = tls.Client(raw, conf)
	}
	rest, err = d.shake(nc, token)
	return nc, rest, err
}

func (d *dialer) address() string {
	if d.url.Port() != "" {
		return d.url.Host
	}
	if d.url.Scheme == "wss" {
		return net.JoinHostPort(d.url.Hostname(), "443")
	}
	return net.JoinHostPort(d.url.Hostname(), "80")
}

// shake asks for the upgrade (RFC 6455, section 4.1) and checks the answer.
func (d *dialer) shake(nc net.Conn, token string) (rest []byte, err error) {
	var nonce [16]byte
	rand.Read(nonce[:])
	key := base64.StdEncoding.EncodeToString(nonce[:])
	b := make([]byte, 0, 512)
	b = fmt.Appendf(b, "GET %s HTTP/1.1\r\nHost: %s\r\n", d.url.RequestURI(), d.url.Host)
	b = fmt.Appendf(b, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n")
	b = fmt.Appendf(b, "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: %s\r\n", key, wire.Subprotocol)
	if token != "" {
		if strings.ContainsAny(token, "\r\n") {
			return nil, errors.New("client: the token has a line break")
		}
		b = fmt.Appendf(b, "Authorization: Bearer %s\r\n", token)
	}
	if _, err := nc.Write(append(b, "\r\n"...)); err != nil {
		return nil, err
	}
	br := answers.Get().(*bufio.Reader)
	br.Reset(nc)
	defer func() {
		br.Reset(nil)
		answers.Put(br)
	}()
	res, err := http.ReadResponse(br, &http.Request{Method: http.MethodGet})
	if err != nil {
		return nil, fmt.Errorf("client: handshake: %w", err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(io.LimitReader(res.Body, 512))
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return nil, &HandshakeError{Status: res.StatusCode, Body: strings.TrimSpace(string(body)),
			RetryAfter: time.Duration(min(max(seconds, 0), maxRetryAfter)) * time.Second}
	}
	switch {
	case !strings.EqualFold(res.Header.Get("Upgrade"), "websocket"),
		!strings.EqualFold(res.Header.Get("Connection"), "upgrade"),
		res.Header.Get("Sec-WebSocket-Accept") != acceptKey(key):
		return nil, errors.New("client: handshake: the answer is not a WebSocket server's")
	case res.Header.Get("Sec-WebSocket-Protocol") != wire.Subprotocol:
		return nil, fmt.Errorf("client: handshake: the server speaks %q, not %s",
			res.Header.Get("Sec-WebSocket-Protocol"), wire.Subprotocol)
	}
	rest, _ = br.Peek(br.Buffered())
	return bytes.Clone(rest), nil
}

func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
