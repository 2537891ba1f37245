// Package durablestreams serves the Durable Streams protocol from the log: a stream at /v1/stream/{path} is the stream of that
// name, written and read over plain HTTP by clients of that protocol and over WebSocket by everybody else.
//
//	ds, err := durablestreams.New(durablestreams.Options{Log: st, Authenticate: auth.Everybody()})
//	defer ds.Close()
//	api, err := httpapi.New(httpapi.Options{…, Mount: map[string]http.Handler{durablestreams.Path: ds}})
//
// docs/durable-streams.md tells it to users, docs/decisions/0010-durable-streams.md why it is built as it is.
//
// # How it maps
//
//   - An appended message is an event of type "message"; a batch is an atomic push; bytes are events with bytes.
//   - An offset is a seq, zero-padded. A stream's offsets grow with the log, so they have holes and never repeat.
//   - What the protocol knows of a stream (its media type, life, closure, forks) is one document on the reserved stream
//     "$durable/streams", its key the name: created, changed and deleted by control events. A stream that was deleted and
//     made anew begins behind the event that made it, so nothing old shows through.
//   - A producer's epoch and sequence stand in the tagged section of the events that they came with, so they are on disk
//     exactly when the data is. The view over them is an overlay in memory above documents on "$durable/producers".
//   - A fork is a list of ranges of other streams before its own; nothing is copied but a piece of one binary message.
//   - Subscriptions are documents, too; leases live in memory and are fenced by a generation in the log.
//
// # Guarantees
//
// Every answer, a refusal too, is sent after everything that it rests on is on disk. A retried append of a producer takes
// effect once, whatever crashed in between.
//
// # Caveats
//
// One server owns the life cycle of its streams: they are judged here, not by the log. Deleting hides events from readers of
// this protocol; they leave the log with retention or erasure, as all others.
package durablestreams
