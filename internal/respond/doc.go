// Package respond is what the HTTP edges share: it writes the bodies of answers, compressed where the client takes it, in
// chunks whose deadlines measure progress, and reads the bodies of requests within bounds.
//
//	body, err := respond.ReadBody(w, r, limit, 10*time.Second)
//	…
//	b := respond.Compressed(w, r, respond.Unknown, stall)
//	b.Begin(http.StatusOK, "application/json", respond.Unknown)
//	for … { b.Write(page) }
//	if err := b.End(); err != nil { panic(http.ErrAbortHandler) }  // cut off, never ended as if it were whole
//
// # Slow and dead lines
//
// Each chunk of 16 KiB has its own deadline: a line of a few KB a second is served to the end, however long that takes, and one
// that takes nothing for as long as stall is let go. Body.Write takes everything and remembers the first error, so that whoever
// writes page after page looks at Err between two of them, and nowhere else.
//
// Detach is for answers that mostly wait, such as server-sent events: the connection leaves the HTTP server, whose buffers,
// goroutines and request are most of what such a reader costs.
//
// # Guarantees
//
// ReadBody allocates no more than 64 KiB before as much has arrived, whatever length was declared, and nothing for a body that is
// declared larger than the limit. Compressors are kept and used again; an answer that is small is not compressed. A body that
// fails half way is never completed: End says so, and Abort breaks a detached one in a way that its reader notices.
//
// # Caveats
//
// A Body must not be used concurrently. After Detach nobody reads from the connection any more: a peer who left shows at the next
// write only, so something must be written now and then, and whoever owns the Body has to end it at shutdown, for http.Server
// knows nothing of it.
package respond
