package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
)

// Options configure a Client. Only URL is required.
type Options struct {
	// URL of the server: "ws://host:port", "wss://…", "http://…" or "https://…". Without a path, /v1/ws is meant.
	URL string

	// Token returns the token to connect with; why tells what it is needed for. nil: connect without one. It is called
	// before each connection and before the token expires, never concurrently. An error counts as a failed try.
	Token func(ctx context.Context, why TokenReason) (string, error)

	// ID names the outbox of one installation, so that a connection that takes over ends the one before it. Only one
	// Client at a time may use it. Zero: a fresh one.
	ID store.ID

	App string // the app's name and version, for the operator of the server

	OutboxBytes int // text of mutations that wait for their answer; Send blocks beyond it. Default 8 MiB
	PushBytes   int // size of push frames; a larger atomic push still goes as one. Default 64 KiB
	BufferBytes int // of updates that one subscription's iterator may be behind before it is paused. Default 1 MiB
	MaxMessage  int // the longest message accepted from the server. Default 64 MiB

	BackoffMin time.Duration // bound of the first wait before reconnecting. Default 0.5 s
	BackoffMax time.Duration // bound of the longest. Default 30 s

	// OnState is told when the connection changes. It must not block and must not call the Client.
	OnState func(State)

	// Dial opens the byte stream to the server. nil: TCP with keep-alive.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	TLS  *tls.Config // for wss. nil: the system's certificates
}

// TokenReason tells why a token is needed.
type TokenReason uint8

// The reasons.
const (
	TokenConnect TokenReason = iota // for a connection
	TokenExpires                    // the one in use expires soon
	TokenRefused                    // the server refused the last one
)

// From tells where a subscription without a cursor begins, and how it goes on after a reset.
type From uint8

// The places to begin at.
const (
	FromSnapshot = From(wire.FromSnapshot) // the documents, then the events after them
	FromStart    = From(wire.FromStart)    // every event that the log still has
	FromNow      = From(wire.FromNow)      // only what comes
)

// State tells how the connection stands.
type State struct {
	Phase   Phase
	Err     error         // why it is not connected; nil before the first try
	Wait    time.Duration // until the next try
	Welcome Welcome       // with Connected: what the server said
}

// Welcome is what the server says of itself.
type Welcome struct {
	Server  string
	Log     store.ID
	Session store.ID
	Head    store.Seq
	By      string
}

// Phase is a part of a connection's life.
type Phase uint8

// The phases.
const (
	Idle       Phase = iota // nothing was asked yet
	Connecting              // dialling, or waiting for the server's welcome
	Connected               // subscriptions are served, mutations are sent
	Waiting                 // until the next try
	Ended                   // for good: closed, or refused by the server
)

// String returns the phase's name.
func (p Phase) String() string {
	return [...]string{"idle", "connecting", "connected", "waiting", "ended"}[p]
}

// errURL is wrapped by errors about Options.URL.
var errURL = errors.New("client: URL")

func (o Options) validate() (Options, *url.URL, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return o, nil, fmt.Errorf("%w: %w", errURL, err)
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	case "ws", "wss":
	default:
		return o, nil, fmt.Errorf("%w: %q has scheme %q, not ws, wss, http or https", errURL, o.URL, u.Scheme)
	}
	if u.Host == "" || u.User != nil || u.Fragment != "" {
		return o, nil, fmt.Errorf("%w: %q needs a host, and no user or fragment", errURL, u.Redacted())
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/ws"
	}
	setDefault(&o.OutboxBytes, 8<<20)
	setDefault(&o.PushBytes, 64<<10)
	setDefault(&o.BufferBytes, 1<<20)
	setDefault(&o.MaxMessage, 64<<20)
	setDefault(&o.BackoffMin, 500*time.Millisecond)
	setDefault(&o.BackoffMax, 30*time.Second)
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	return o, u, nil
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
