// Package httpapi is the HTTP side of tidemark.v1: events, documents, signals and streams for every client that speaks HTTP,
// and the health of the server. docs/http.md tells it to users, openapi.json describes it to machines, and the section
// "HTTP" of docs/protocol.md is the normative text.
//
//	api, err := httpapi.New(httpapi.Options{Log: st, Live: engine, Authenticate: auth.Everybody()})
//	srv := &http.Server{Handler: api}
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
