// Package client is the Go client of a Tidemark server: one connection for many subscriptions, kept up by itself.
//
//	c, err := client.New(client.Options{URL: "ws://127.0.0.1:8080"})
//	defer c.Close()
//
//	results, err := c.Push(ctx, store.Mutation{Stream: "room/1", Type: "said", Data: []byte(`"hello"`)})
//
//	for u, err := range c.Updates(ctx, client.Spec{Filter: store.Only("room/1"), From: client.FromStart}) {
//		if err != nil { … }
//		for _, e := range u.Events { … }
//		save(u.Cursor) // with what was applied, or after it
//	}
//
// New does not connect; the first use does. From then on the Client reconnects with exponential backoff and full jitter,
// resumes every subscription from its cursor, and sends again what has no answer, in order, byte for byte.
//
// # Guarantees
//
// A mutation takes effect at most once, however often it is sent: its id sees to that. Results arrive in the order in which
// the mutations were sent, and only after they are on the server's disk. When the server says "later" (its disk is full,
// say), nothing is sent before all that is outstanding is answered, and then everything in order from the first refused
// one, so that the writes of one Client never overtake each other.
//
// A subscription brings every event of its streams once and in order. The Client proves it: each event's prev must be the
// seq of the event before it in its stream. A gap is repaired by subscribing again from before it, and counted (FeedStats);
// what came before is left out. When the history that the cursor stands in is not the server's any more, there is an update
// of KindReset that says why.
//
// Memory is bounded: the outbox by Options.OutboxBytes, an iterator that falls behind by Options.BufferBytes, a message by
// Options.MaxMessage. Only the chain of a wide filter grows, with the number of streams that had events.
//
// # Caveats
//
// The outbox lives in memory. Who must not lose a mutation in a crash of its own keeps it, with its id, and sends it again
// after the start: if it had arrived, the result says Dup.
//
// What an Update points to is valid until the handler returns or the iterator goes on. Handlers and the done functions of
// Send run on the goroutine that reads the connection: they must not block.
package client
