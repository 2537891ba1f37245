// Package auth turns tokens into principals. It is the one place that decides who somebody is and what they may do: the
// engine and the HTTP API are given one Authenticator and ask nobody else.
//
// So far there is one: Everybody, for servers that only their own machine can reach.
package auth

import (
	"context"

	eventsync "tidemark/sync"
)

// Everybody returns an authenticator that lets everybody do everything, as nobody in particular, whatever the token.
func Everybody() eventsync.Authenticator {
	return func(context.Context, string) (eventsync.Principal, error) {
		return eventsync.Principal{}, nil
	}
}
