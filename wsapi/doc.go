// Package wsapi is the WebSocket edge: it carries the protocol tidemark.v1 between clients and the engine (package sync).
//
//	engine, err := eventsync.New(log, eventsync.Options{Encoder: wsapi.NewEncoder(limits), …})
//	ws, err := wsapi.New(engine, wsapi.Options{Origins: …})
//	mux.Handle("/v1/ws", ws)
//	…
//	err = engine.Drain(ctx)  // says goodbye to everybody
//	err = ws.Shutdown(ctx)   // and waits until they are gone
//
// # The life of a connection
//
//  1. handshake.go and origin.go judge the upgrade request; nothing is made for one that is not granted.
//  2. The socket is taken over from net/http, and gws answers the handshake.
//  3. The read goroutine runs gws's ReadLoop over a guard, which lets a frame pass only after its header was found good and
//     its length was charged to the process's budget. Messages go to Session.Receive, whose waiting is the backpressure:
//     it keeps the socket from being read.
//  4. When the session has something to write, a write goroutine starts, writes until Session.Next has nothing more, and
//     ends. Several small frames share one write; large ones are written in chunks, straight from memory that all
//     subscribers share.
//  5. Whatever ends the connection, it is conn.end that begins the end, and the write goroutine that carries it out: the
//     close frame, then Session.Close. The read goroutine reads on for up to a second and closes the socket.
//
// One further goroutine, the sweeper, keeps time for all connections.
//
// # Guarantees
//
// No frame, whatever it says, ends the process, and no peer makes memory grow beyond what it costs to hold its connection: one
// read buffer while bytes are there, one chunk while something is written. A panic ends the connection that it happened on.
// Whatever a peer sends is a sign of life, and nobody counts as silent or slow while the server is not reading him. A write
// deadline measures progress: a line of 8 KB/s is served, one that takes nothing for Options.WriteTimeout is closed.
//
// # Caveats
//
// The http.Server in front must have ReadHeaderTimeout and MaxHeaderBytes set, and must offer HTTP/1.1. A peer that stalls in
// the middle of a frame cannot be told why it is closed, unless it takes the rest of that frame within a second.
// gws reads and answers the handshake; what it writes otherwise is not used, because its writes have no deadlines and its
// queues no bounds.
package wsapi
