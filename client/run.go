package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tidemark/internal/wire"
	"tidemark/store"
)

// run keeps a connection up until Close, or until the server says that another try is useless. It is the goroutine that
// reads, decodes and calls handlers; each connection has a second one that writes.
func (c *Client) run() {
	select {
	case <-c.wanted:
	case <-c.ctx.Done():
	}
	wait := backoff{min: c.o.BackoffMin, max: c.o.BackoffMax}
	why := TokenConnect
	token := ""
	for c.ctx.Err() == nil {
		c.state(State{Phase: Connecting})
		end := c.session(&token, why)
		if end.fatal || c.ctx.Err() != nil {
			c.finish(end.err)
			return
		}
		if end.progress {
			wait.reset()
		}
		why = end.why
		pause := wait.next()
		if end.wait > 0 {
			pause = end.wait
		}
		pause += end.least
		c.state(State{Phase: Waiting, Err: end.err, Wait: pause})
		select {
		case <-time.After(pause):
		case <-c.ctx.Done():
		}
	}
	c.finish(nil)
}

// ending tells how a connection ended and what follows from it.
type ending struct {
	err      error
	fatal    bool          // another try would end the same way
	why      TokenReason   // for the next token
	progress bool          // the connection was of use, so the next try may come soon
	wait     time.Duration // what the server asked for; 0: backoff decides
	least    time.Duration // what it asks of everybody: the wait comes on top, so that not all come back at once
}

// session makes one connection and serves it until it ends.
func (c *Client) session(token *string, why TokenReason) ending {
	if c.o.Token != nil {
		fresh, err := c.o.Token(c.ctx, why)
		if err != nil {
			return ending{err: fmt.Errorf("client: token: %w", err), why: why}
		}
		if why == TokenRefused && fresh == *token {
			return ending{err: &store.Refusal{Code: store.CodeUnauthorized, Message: "the token was refused"}, fatal: true}
		}
		*token = fresh
	}
	nc, rest, err := c.dialer.open(c.ctx, *token)
	if err != nil {
		return c.refusal(err)
	}
	k := newConn(c, nc, rest)
	stop := context.AfterFunc(c.ctx, k.shut)
	defer stop()
	err = k.serve()
	end := c.refusal(err)
	end.progress, end.wait = k.useful(), k.reconnectAfter
	return end
}

// refusal tells what to do after err.
func (c *Client) refusal(err error) ending {
	end := ending{err: err}
	if e, ok := errors.AsType[*CloseError](err); ok {
		switch wire.RetryAfter(uint16(e.Code)) {
		case wire.RetryNever:
			end.fatal = true
		case wire.RetryToken:
			end.why = TokenRefused
			end.fatal = c.o.Token == nil
		}
	}
	if e, ok := errors.AsType[*HandshakeError](err); ok {
		end.least = e.RetryAfter
		switch e.Status {
		case http.StatusUnauthorized:
			end.why = TokenRefused
			end.fatal = c.o.Token == nil
		case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusUpgradeRequired,
			http.StatusMisdirectedRequest:
			end.fatal = true
		}
	}
	return end
}

// finish ends everything that waits; err nil means Close.
func (c *Client) finish(err error) {
	if err == nil || c.ctx.Err() != nil {
		err = ErrClosed
	}
	c.mu.Lock()
	c.err = err
	lost := c.out.drop()
	for n, s := range c.subs {
		delete(c.subs, n)
		s.number = 0
		s.end(err)
	}
	c.tell(&c.room)
	c.tell(&c.empty)
	c.tell(&c.changed)
	c.mu.Unlock()
	for _, e := range lost {
		e.fail(err)
		e.answer()
	}
	c.state(State{Phase: Ended, Err: err})
}

func (c *Client) state(s State) {
	if c.o.OnState != nil {
		c.o.OnState(s)
	}
}
