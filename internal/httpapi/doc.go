// Package httpapi is the HTTP side of tidemark.v1: events, documents, signals and streams for every client that speaks HTTP,
// and the health of the server. docs/http.md tells it to users, openapi.json describes it to machines, and the section
// "HTTP" of docs/protocol.md is the normative text.
//
//	api, err := httpapi.New(httpapi.Options{Log: st, Live: engine, Authenticate: auth.Everybody()})
//	srv := &http.Server{Handler: api}
//
// # Use
//
// The API reads from the log itself, page by page, and asks the engine only to wait for news and to pass signals on. call.go
// is what one request is: who asks, what it costs, how errors are told. Each route is a method of it (read.go, docs.go, post.go, sse.go,
// streams.go), and the table of routes is in api.go; a new one needs its path in openapi.json, which a test compares.
//
// At shutdown Drain ends the answers that wait for more, then http.Server.Shutdown waits for the handlers, then Close for the
// readers of server-sent events, whose connections have left the HTTP server.
//
// # Guarantees
//
// A stream's name is what stands behind the route's prefix, percent-decoded once. Nothing is cleaned, joined or redirected, so
// no spelling of a path reaches another stream than the one that authorization was asked about. Answers of any size are
// written page by page; who reads slowly costs one page, and whoever makes no progress is let go.
//
// # Caveats
//
// The handler must be the server's root: http.ServeMux cleans paths. Other handlers are hung below it with Options.Mount.
// An answer that was begun and cannot be ended is cut off, never ended as if it were whole.
package httpapi
