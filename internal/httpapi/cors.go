package httpapi

import (
	"net/http"

	"tidemark/internal/wire"
	"tidemark/store"
)

// What pages in browsers may send and see, the headers of Durable Streams included.
const (
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
	corsHeaders = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, If-None-Match, If-Match, Cache-Control, " +
		"Stream-Seq, Stream-TTL, Stream-Expires-At, Stream-Closed, Stream-Forked-From, Stream-Fork-Offset, " +
		"Stream-Fork-Sub-Offset, Producer-Id, Producer-Epoch, Producer-Seq"
	corsExpose = "ETag, Location, Retry-After, Tidemark-Log, Tidemark-Seq, Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, " +
		"Stream-Closed, Stream-TTL, Stream-Expires-At, Stream-SSE-Data-Encoding, Producer-Epoch, Producer-Seq, " +
		"Producer-Expected-Seq, Producer-Received-Seq"
)

// keepOut refuses what a browser sends for pages that may not: anything by a name that is not the server's, and writing for a
// foreign page, which needs neither an answer nor a preflight request. It returns true when it has answered.
func (a *API) keepOut(w http.ResponseWriter, r *http.Request) bool {
	status, text := 0, ""
	switch {
	case !a.pages.KnowsHost(r):
		status, text = http.StatusMisdirectedRequest, "this server does not go by that name"
	case writes(r.Method) && len(r.Header["Origin"]) > 0 && !a.pages.Allows(r):
		status, text = http.StatusForbidden, "pages of this origin may not write"
	default:
		return false
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(wire.AppendErrorBody(nil, &wire.Error{Code: store.CodeForbidden, Message: text}))
	return true
}

func writes(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}

// cors tells a browser which pages may call, and answers its preflight requests; then it returns true. Requests without an
// Origin, and of origins that are not configured, go on without any CORS header: the browser then keeps the answer.
func (a *API) cors(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if len(a.Origins) == 0 || origin == "" {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	switch listed, all := a.pages.Lists(origin); {
	case all:
		h.Set("Access-Control-Allow-Origin", "*")
	case listed:
		h.Set("Access-Control-Allow-Origin", origin)
	default:
		return false
	}
	h.Set("Access-Control-Expose-Headers", corsExpose)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Allow-Headers", corsHeaders)
	h.Set("Access-Control-Max-Age", "7200")
	w.WriteHeader(http.StatusNoContent)
	return true
}
