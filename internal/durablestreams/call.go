package durablestreams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"tidemark/store"
	eventsync "tidemark/sync"
)

// Headers of the protocol.
const (
	hNextOffset = "Stream-Next-Offset"
	hUpToDate   = "Stream-Up-To-Date"
	hCursor     = "Stream-Cursor"
	hClosed     = "Stream-Closed"
	hSeq        = "Stream-Seq"
	hTTL        = "Stream-TTL"
	hExpires    = "Stream-Expires-At"
	hForkedFrom = "Stream-Forked-From"
	hForkOffset = "Stream-Fork-Offset"
	hForkSub    = "Stream-Fork-Sub-Offset"
	hEncoding   = "Stream-SSE-Data-Encoding"
	hProducer   = "Producer-Id"
	hEpoch      = "Producer-Epoch"
	hProdSeq    = "Producer-Seq"
	hExpected   = "Producer-Expected-Seq"
	hReceived   = "Producer-Received-Seq"
)

// call is one request on its way.
type call struct {
	*Server
	w    http.ResponseWriter
	r    *http.Request
	who  eventsync.Principal
	name store.Stream
}

// identify finds out who asks.
func (c *call) identify() (err error) {
	scheme, token, ok := strings.Cut(c.r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		token = ""
	}
	c.who, err = c.Authenticate(c.r.Context(), strings.TrimSpace(token))
	return err
}

// locate checks the name of the stream, and whether the caller may do with it what the method does.
func (c *call) locate(name string) (err error) {
	if c.name, err = parseName(name); err != nil {
		return err
	}
	action := eventsync.ActWrite
	if c.r.Method == http.MethodGet || c.r.Method == http.MethodHead {
		action = eventsync.ActRead
	}
	return c.may(action, store.Only(c.name))
}

// parseName checks the name of a stream that a client may use here.
func parseName(name string) (store.Stream, error) {
	st, err := store.ParseStream(name)
	if err != nil {
		return "", refuse(http.StatusBadRequest, string(store.CodeStreamInvalid), err.Error())
	}
	if st.Reserved() || st == reserved || strings.HasPrefix(name, reserved+"/") {
		return "", refuse(http.StatusBadRequest, string(store.CodeStreamInvalid), "this name is the server's own")
	}
	return st, nil
}

func (c *call) may(a eventsync.Action, f store.Filter) error {
	if c.who.May(a, f) {
		return nil
	}
	return refuse(http.StatusForbidden, string(store.CodeForbidden), "this is not allowed")
}

// refusal is an answer that says no.
type refusal struct {
	status  int
	code    string
	message string
	header  http.Header
	fields  map[string]any // of the error object
}

func (e *refusal) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.code, e.message) }

func refuse(status int, code, message string) *refusal {
	return &refusal{status: status, code: code, message: message, header: http.Header{}}
}

func badRequest(message string) *refusal {
	return refuse(http.StatusBadRequest, "bad_request", message)
}

func (e *refusal) with(name, value string) *refusal {
	e.header.Set(name, value)
	return e
}

// aborted tells that an answer was begun and cannot be ended.
type aborted struct{ error }

func (e *aborted) Unwrap() error { return e.error }

// fail answers with an error.
func (c *call) fail(err error) {
	if _, begun := errors.AsType[*aborted](err); begun {
		panic(http.ErrAbortHandler)
	}
	if errors.Is(err, context.Canceled) && c.r.Context().Err() != nil {
		return // nobody is there to be answered
	}
	e := c.refusalOf(err)
	h := c.w.Header()
	maps.Copy(h, e.header)
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	fields := map[string]any{"code": e.code, "message": e.message}
	maps.Copy(fields, e.fields)
	body := encode(map[string]any{"error": fields})
	c.w.WriteHeader(e.status)
	_, _ = c.w.Write(body)
}

// refusalOf names an error to the client; what has no name is logged and hidden.
func (c *call) refusalOf(err error) *refusal {
	if e, ok := errors.AsType[*refusal](err); ok {
		return e
	}
	if _, ok := errors.AsType[*store.TrimmedError](err); ok {
		return refuse(http.StatusGone, "trimmed", "the stream no longer has what is asked for: begin at -1")
	}
	if r, ok := errors.AsType[*store.Refusal](err); ok {
		return fromStore(r)
	}
	switch {
	case errors.Is(err, store.ErrClosed), errors.Is(err, context.Canceled):
		return refuse(http.StatusServiceUnavailable, "overloaded", "the server stops").with("Retry-After", "1")
	case errors.Is(err, store.ErrFailed), errors.Is(err, store.ErrReadOnly):
		return refuse(http.StatusServiceUnavailable, "read_only", "the server cannot write").with("Retry-After", "5")
	}
	c.Logger.Error("durablestreams: request failed", "method", c.r.Method, "path", c.r.URL.Path, "err", err)
	return refuse(http.StatusInternalServerError, "internal", "internal error")
}

func fromStore(r *store.Refusal) *refusal {
	switch r.Code {
	case store.CodeUnauthorized, store.CodeTokenExpired:
		return refuse(http.StatusUnauthorized, string(r.Code), r.Message).with("WWW-Authenticate", "Bearer")
	case store.CodeForbidden:
		return refuse(http.StatusForbidden, string(r.Code), r.Message)
	case store.CodeTooLarge:
		return refuse(http.StatusRequestEntityTooLarge, string(r.Code), r.Message)
	}
	if r.Code.Later() {
		return refuse(http.StatusServiceUnavailable, string(r.Code), r.Message).with("Retry-After", "1")
	}
	return refuse(http.StatusBadRequest, string(r.Code), r.Message)
}

// sendJSON answers with a JSON text.
func (c *call) sendJSON(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body)
	return nil
}
