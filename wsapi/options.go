package wsapi

import (
	"errors"
	"log/slog"
	"time"
)

// Options configure a Server. The zero value is a good one.
type Options struct {
	// Origins lists the web origins whose pages may connect: "https://app.example", "https://app.example:8443", or
	// "https://*.app.example", where the star stands for one label. Pages of the server's own host and of loopback may
	// always; programs that are no browsers send no Origin. "*" lets the pages of every site on the internet act with
	// whatever their visitors are allowed to do here.
	Origins []string

	// Compression offers permessage-deflate to clients that ask for it. It costs much processor time and memory for every
	// message of 512 bytes or more, once for each connection; so it pays on slow lines with few clients only.
	Compression bool

	// Conns is how many connections may be open; 0: as many as the process can have. More are refused with 503.
	Conns int

	// ConnsPerAddress is how many connections one address may have open, of IPv6 one /64 network; 0: as many as all. More
	// are refused with 429. Behind a proxy everybody has the proxy's address.
	ConnsPerAddress int

	// Handshakes is how many connections one address, as above, may open in a second; 0: any number. It bounds what clients
	// cost that come and go. More are refused with 429.
	Handshakes int

	// SendBuffer is the size in bytes of a socket's send buffer (SO_SNDBUF), which is memory of the kernel's for each
	// connection that reads slowly; default 128 KiB. It bounds what one connection gets in a round trip.
	SendBuffer int

	// HelloTimeout is how long a peer that nobody knows yet may hold a connection; default 10 s.
	HelloTimeout time.Duration

	// MessageTimeout is how long a message may take to come in, from its first byte, and a second more for every 4 KiB of it
	// that came; default 30 s. It ends connections that drip.
	MessageTimeout time.Duration

	// WriteTimeout is how long a peer may take nothing of what is written to it; default 10 s.
	WriteTimeout time.Duration

	Logger *slog.Logger // default: nothing is logged
}

// validate fills in the defaults.
func (o *Options) validate() error {
	if o.Conns < 0 || o.ConnsPerAddress < 0 || o.Handshakes < 0 || o.SendBuffer < 0 || o.HelloTimeout < 0 || o.MessageTimeout < 0 || o.WriteTimeout < 0 {
		return errors.New("wsapi: options must not be negative")
	}
	if o.SendBuffer == 0 {
		o.SendBuffer = 128 << 10
	}
	for _, d := range [...]struct {
		have *time.Duration
		want time.Duration
	}{{&o.HelloTimeout, 10 * time.Second}, {&o.MessageTimeout, 30 * time.Second}, {&o.WriteTimeout, 10 * time.Second}} {
		if *d.have == 0 {
			*d.have = d.want
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
