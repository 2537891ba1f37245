// Package wire is the JSON of the protocol tidemark.v1, in both directions: the only place of this program that knows it.
// docs/protocol.md is the normative text; testdata/protocol holds vectors that this package and the TypeScript client run.
//
// The server decodes with a Decoder (one per connection) and answers with the Append methods of the server's messages:
//
//	m, fault := dec.Decode(frame) // *Hello, *Subscribe, *Push …, or what to answer
//	frame = (&wire.Pong{Ref: m.Ref, Head: head}).Append(frame[:0])
//
// A client does the reverse: it encodes with the Append methods of the client's messages, and decodes with DecodeServer,
// or, where most events are only passed on, with ScanEvents, which reads no more of each event than its place.
//
// Push and Ack hold store.Push and its verdicts themselves, so that a mutation is not copied between the frame and the log. The
// table of error codes, with the HTTP status and the close code of each, is in codes.go.
//
// # Guarantees
//
// What a decoder returns shares no memory with the frame, unless its comment says so. Every decoder runs in time linear in
// its input, without recursion, whatever the input is; nothing in here panics on hostile bytes. What an encoder appends is
// one JSON text without white space between tokens and without line breaks, so it is a line of NDJSON and of SSE too.
//
// # Caveats
//
// The data slices of one decoded push share one allocation: who keeps a small piece of it for long should clone it.
// Faults of a message are named once: of several faults the first one found is reported.
package wire
