package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"tidemark/internal/respond"
	"tidemark/internal/wire"
	"tidemark/store"
)

// contentJSON is the type of every answer that is one JSON text.
const contentJSON = "application/json"

func fault(code store.Code, message string) error { return &wire.Error{Code: code, Message: message} }

// statusError is an error whose status is not that of its code.
type statusError struct {
	status int
	error
}

func (e *statusError) Unwrap() error { return e.error }

// aborted tells that an answer was begun and cannot be ended: its connection is cut, so that nobody takes it as whole.
type aborted struct{ error }

func (e *aborted) Unwrap() error { return e.error }

// compressed begins an answer of a size that is given or unknown.
func (c *call) compressed(size int) *respond.Body { return respond.Compressed(c.w, c.r, size, c.Stall) }

// finish completes an answer.
func finish(out *respond.Body) error {
	if err := out.End(); err != nil {
		return &aborted{err}
	}
	return nil
}

// send writes one JSON text.
func (c *call) send(status int, body []byte) error {
	out := c.compressed(len(body))
	out.Begin(status, contentJSON, len(body))
	if c.r.Method != http.MethodHead {
		out.Write(body)
	}
	return finish(out)
}

// fail answers with an error.
func (c *call) fail(err error) {
	if _, begun := errors.AsType[*aborted](err); begun {
		if !errors.Is(err, context.Canceled) {
			c.Logger.Debug("httpapi: answer cut off", "path", c.r.URL.Path, "err", err)
		}
		panic(http.ErrAbortHandler)
	}
	if errors.Is(err, context.Canceled) && c.r.Context().Err() != nil {
		return // nobody is there to be answered
	}
	e := c.errorOf(err)
	status := wire.Status(e.Code)
	if s, ok := errors.AsType[*statusError](err); ok {
		status = s.status
	}
	h := c.w.Header()
	h.Del("ETag")
	h.Set("Content-Type", contentJSON)
	h.Set("Cache-Control", "no-store")
	switch status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
		h.Del("Tidemark-Log")
	case http.StatusTooManyRequests:
		h.Set("Retry-After", strconv.FormatInt((e.RetryAfterMS+999)/1000, 10))
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	}
	body := wire.AppendErrorBody(nil, e)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body)
}

// errorOf names an error to the client; what has no name is logged and hidden.
func (c *call) errorOf(err error) *wire.Error {
	switch {
	case errors.Is(err, store.ErrFailed), errors.Is(err, store.ErrReadOnly):
		return &wire.Error{Code: store.CodeReadOnly, Message: "the server cannot write", Later: true}
	case errors.Is(err, store.ErrClosed):
		return &wire.Error{Code: store.CodeOverloaded, Message: "the server stops", Later: true}
	}
	if _, ok := errors.AsType[*store.TrimmedError](err); ok {
		return wire.FromReset(store.ResetTrimmed)
	}
	e, hidden := wire.FromError(err)
	if hidden {
		c.Logger.Error("httpapi: request failed", "method", c.r.Method, "path", c.r.URL.Path, "err", err)
	}
	return e
}
