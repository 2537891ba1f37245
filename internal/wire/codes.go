package wire

import (
	"errors"
	"net/http"

	"tidemark/store"
)

// Close is a WebSocket close code of the protocol with the reason that goes with it.
type Close struct {
	Code   uint16
	Reason string
}

// How the server ends a connection.
var (
	CloseShutdown     = Close{1001, "going_away"}
	CloseBroken       = Close{1002, "protocol"} // a broken WebSocket frame
	CloseTooLarge     = Close{1009, "too_large"}
	CloseGoingAway    = Close{4000, "going_away"}
	CloseSlow         = Close{4001, "slow"}
	CloseSilent       = Close{4002, "silent"}
	CloseOverloaded   = Close{4003, "overloaded"}
	CloseReplaced     = Close{4005, "replaced"}
	CloseProtocol     = Close{4400, "protocol"}
	CloseUnauthorized = Close{4401, "unauthorized"}
	CloseForbidden    = Close{4403, "forbidden"}
	CloseUpgrade      = Close{4426, "upgrade_required"}
)

// Retry tells what a client may do after a close.
type Retry uint8

// What to do after a close.
const (
	RetryBackoff Retry = iota // reconnect with backoff
	RetryToken                // get a new token first
	RetryNever                // it would end the same way
)

// RetryAfter tells what a client may do after a close with this code; what is not known is worth another try.
func RetryAfter(code uint16) Retry {
	switch code {
	case CloseUnauthorized.Code:
		return RetryToken
	case CloseProtocol.Code, CloseForbidden.Code, CloseReplaced.Code, CloseUpgrade.Code, CloseTooLarge.Code:
		return RetryNever
	}
	return RetryBackoff
}

// codes is the one table of what an error code means outside the JSON: the HTTP status of an answer, and how a connection
// ends when the error ends it.
var codes = map[store.Code]struct {
	status int
	close  Close
}{
	store.CodeBadMessage:      {http.StatusBadRequest, CloseProtocol},
	store.CodeUnsupported:     {http.StatusBadRequest, CloseProtocol},
	store.CodeTooLarge:        {http.StatusRequestEntityTooLarge, CloseTooLarge},
	store.CodeTooMany:         {http.StatusRequestEntityTooLarge, CloseProtocol},
	store.CodeStreamInvalid:   {http.StatusBadRequest, CloseProtocol},
	store.CodeMutationInvalid: {http.StatusBadRequest, CloseProtocol},
	store.CodeSubInUse:        {http.StatusBadRequest, CloseProtocol},
	store.CodeSubUnknown:      {http.StatusBadRequest, CloseProtocol},
	store.CodeUnauthorized:    {http.StatusUnauthorized, CloseUnauthorized},
	store.CodeTokenExpired:    {http.StatusUnauthorized, CloseUnauthorized},
	store.CodeForbidden:       {http.StatusForbidden, CloseForbidden},
	store.CodeRuleDenied:      {http.StatusForbidden, CloseForbidden},
	store.CodeSchemaViolation: {http.StatusForbidden, CloseForbidden},
	store.CodeConflict:        {http.StatusConflict, CloseProtocol},
	store.CodeIDReused:        {http.StatusConflict, CloseProtocol},
	store.CodeAborted:         {http.StatusConflict, CloseProtocol},
	store.CodeRateLimited:     {http.StatusTooManyRequests, CloseOverloaded},
	store.CodeOverloaded:      {http.StatusServiceUnavailable, CloseOverloaded},
	store.CodeReadOnly:        {http.StatusServiceUnavailable, CloseOverloaded},
	store.CodeInternal:        {http.StatusInternalServerError, CloseOverloaded},
	store.CodeNotFound:        {http.StatusNotFound, CloseProtocol},

	store.Code(store.ResetLogChanged): {http.StatusGone, CloseProtocol},
	store.Code(store.ResetAhead):      {http.StatusGone, CloseProtocol},
	store.Code(store.ResetTrimmed):    {http.StatusGone, CloseProtocol},
	store.Code(store.ResetErased):     {http.StatusGone, CloseProtocol},
}

// Status returns the HTTP status of an error code; 500 for one that is not in the table.
func Status(c store.Code) int {
	if e, ok := codes[c]; ok {
		return e.status
	}
	return http.StatusInternalServerError
}

// CloseFor returns how a connection ends when this error ends it.
func CloseFor(c store.Code) Close {
	if e, ok := codes[c]; ok {
		return e.close
	}
	return CloseOverloaded
}

// Error is an answer that names what is wrong: a frame of its own, a mutation's verdict, or the body of an HTTP answer. It
// is an error. Seq and Data belong to conflict; RetryAfterMS (HTTP only) to rate_limited.
type Error struct {
	Ref          Ref
	Sub          uint64 // 0: not about one subscription
	Code         store.Code
	Message      string
	Later        bool // also true of every code that says so by itself
	Seq          store.Seq
	Data         []byte // JSON
	RetryAfterMS int64
}

// Error returns code and message.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

func errorf(c store.Code, message string) *Error { return &Error{Code: c, Message: message} }

// FromRefusal returns the error that tells of a refusal, with the document of a conflict if it has it (WithDocument).
func FromRefusal(r *store.Refusal) *Error {
	return &Error{Code: r.Code, Message: r.Message, Later: r.Code.Later(), Seq: r.Seq, Data: r.Data}
}

// Refusal returns the error as a verdict.
func (e *Error) Refusal() *store.Refusal {
	return &store.Refusal{Code: e.Code, Message: e.Message, Seq: e.Seq, Data: e.Data}
}

// FromReset returns the error of an HTTP read whose cursor cannot be continued.
func FromReset(r store.Reset) *Error {
	return errorf(store.Code(r), "the history that you have cannot be continued: begin anew")
}

// FromError returns what to tell the client about err. An error that has no code of its own is internal: its text stays
// here, and hidden is true, for the caller must log it.
func FromError(err error) (e *Error, hidden bool) {
	if e, ok := errors.AsType[*Error](err); ok {
		return e, false
	}
	if r, ok := errors.AsType[*store.Refusal](err); ok {
		return FromRefusal(r), false
	}
	if errors.Is(err, store.ErrStreamInvalid) {
		return errorf(store.CodeStreamInvalid, err.Error()), false
	}
	return &Error{Code: store.CodeInternal, Message: "internal error", Later: true}, true
}
