package sync

import (
	"context"
	"time"

	"tidemark/store"
)

// Action is something that a principal may or may not do with streams.
type Action uint8

// The actions.
const (
	ActRead Action = iota
	ActWrite
	ActSignal
	ActPresence
)

// Principal is who a token speaks for, and what that one may do.
type Principal struct {
	Subject string    // "": nobody in particular
	Expires time.Time // zero: never
	// Allows reports whether an action is allowed on every stream of a filter; nil: everything is. It must be quick, does
	// no I/O, and may be called concurrently.
	Allows func(Action, store.Filter) bool
}

// May reports whether the principal may do a with every stream of f.
func (p *Principal) May(a Action, f store.Filter) bool { return p.Allows == nil || p.Allows(a, f) }

// Authenticator turns a token ("": none was sent) into a principal. A *store.Refusal with the code unauthorized or
// token_expired says that the token is bad; every other error is the server's own fault and hidden from the client.
type Authenticator func(ctx context.Context, token string) (Principal, error)
