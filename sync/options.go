package sync

import (
	"errors"
	"log/slog"
	"time"
)

// Options configure an Engine. Encoder and Authenticate are needed; zero values of the others mean the defaults.
type Options struct {
	Encoder      Encoder
	Authenticate Authenticator
	Limits       Limits
	Heartbeat    time.Duration // told to clients; default 25 s
	Budget       int64         // bytes, for the whole process, of pages in flight and frames coming in; default 64 MiB
	Cache        int64         // bytes of encoded pages kept for other readers; default 32 MiB
	Server       string        // told to clients: name and version
	Features     []string      // told to clients

	// MinApp holds the oldest version, such as "2.1", of each app that may connect; apps that are not named all may.
	MinApp map[string]string

	Logger *slog.Logger // default: nothing is logged
}

// Limits are told to every client in its welcome, and what it is held to. Zero fields mean the defaults.
type Limits struct {
	Frame     int // bytes of a frame, either way; default 1 MiB
	Mutations int // mutations of a push; default 1,000, at most Inflight
	Inflight  int // unanswered mutations of a connection; default 1,000
	Subs      int // subscriptions of a connection; default 1,000
	Data      int // bytes of compact data; default 256 KiB
	Doc       int // bytes of a folded document; default 1 MiB
	Presence  int // members of a stream's presence; default 1,000
}

// WithDefaults returns l with its zero fields filled in.
func (l Limits) WithDefaults() Limits {
	d := Limits{Frame: 1 << 20, Mutations: 1000, Inflight: 1000, Subs: 1000, Data: 256 << 10, Doc: 1 << 20, Presence: 1000}
	for _, f := range [...]struct{ have, want *int }{
		{&l.Frame, &d.Frame}, {&l.Mutations, &d.Mutations}, {&l.Inflight, &d.Inflight}, {&l.Subs, &d.Subs},
		{&l.Data, &d.Data}, {&l.Doc, &d.Doc}, {&l.Presence, &d.Presence},
	} {
		if *f.have == 0 {
			*f.have = *f.want
		}
	}
	return l
}

const (
	defaultHeartbeat = 25 * time.Second
	defaultBudget    = 64 << 20
	defaultCache     = 32 << 20

	pageBytes  = 256 << 10 // an ordinary page
	smallBytes = 16 << 10  // a page to a peer that stalled, or when the budget is nearly spent
)

// validate fills in the defaults.
func (o *Options) validate() error {
	if o.Encoder == nil || o.Authenticate == nil {
		return errors.New("sync: an engine needs an Encoder and an Authenticator")
	}
	o.Limits = o.Limits.WithDefaults()
	if o.Limits.Mutations > o.Limits.Inflight {
		return errors.New("sync: limits.mutations must not exceed limits.inflight")
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = defaultHeartbeat
	}
	if o.Budget == 0 {
		o.Budget = defaultBudget
	}
	if o.Cache == 0 {
		o.Cache = defaultCache
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
