// Package sync carries the events of a log to clients: sessions, cursors, fan-out, presence and signals. It is always
// imported under the name eventsync; in here, "sync" is the standard library's.
//
// # Use
//
// New makes an Engine over a Log, such as a *store.Store. For each connection the edge calls Engine.Connect, hands what the
// client sends to Session.Receive on the goroutine that reads, and, when it is woken, starts a goroutine that writes what
// Session.Next returns until there is nothing more. When the connection is over it calls Session.Close. The engine knows no
// wire: the edge decodes Messages and gives it an Encoder. Readers without a connection use Engine.Wait.
//
// # One loop
//
// A subscription is a cursor and nothing more. Its turn comes, it takes what the log has after its cursor, a page at most,
// and the cursor moves on; when there is nothing more it waits at the edge of its topic for the next event. A commit only
// wakes those who wait there. Replay and live are the same code, so that there is no hand-off to race; whoever is slow costs
// a cursor and one page, and simply reads larger pages later.
//
//	Log.Watch ─▶ registry ─▶ topic: head, waiters ─▶ Session.wake ─▶ the edge's writer
//	                                                                      │ Next
//	Log.Read ─▶ reader ─▶ topic: runs of encoded events ─▶ batch ─▶ Frame ┘
//
// What a page holds was encoded once: a topic (one per filter that somebody follows) keeps the runs of events that were read
// lately, and every session's frame points into them, from any event on. The newest run grows in place while it has room, so
// that many small commits are one piece to whoever comes later. Those who wish for the same page at the same time wait for
// one read of the log.
//
// # The machine
//
// What a session does is decided by a pure state machine (machine.go and the files that begin with what it does: following,
// pushing, meeting): messages, answers of the log and news go in, and next says what to do: send a reply, read a page, ask
// where a subscription stands, close. It has no goroutine, no clock and no I/O. Session is the shell around it: one lock,
// which is never held while the log is asked or another session is called. Answers go out before pages, in the order of what
// they answer; acks in the order of the pushes; subscriptions take turns. testdata has conversations to read.
//
// # Guarantees
//
//   - Each event of a subscription's filter after its cursor is handed out once, in order, with nothing left out in between;
//     the events of one atomic push in one frame. When that cannot be, a reset says so.
//   - A pong's seq, and live's, say what was handed out before them; the topics are told of a commit before the head is.
//   - No message is lost or reordered between Receive and the log; an older connection of a client hands nothing to the log
//     after a newer one was welcomed.
//   - Memory is bounded by configuration. A session queues no events. Pages in flight and frames coming in share one Budget,
//     encoded runs a cache, waiting signals and presence have bounds of their own; answers that are not read stop the reading
//     of messages.
//   - Nothing of a stream goes out after the right to read it went, once the change of rights has been answered.
//
// # Locks
//
// registry.mu, then nothing; Session.mu, then topic.mu, pages.mu, cache.mu or Budget.mu, one at a time. A session's lock is
// not taken while another's, or a topic's, is held: who is to be woken is listed first. Session.showing comes before all of
// these: it makes what a topic says of a session's presence follow the session. The engine's only goroutines of its own wake
// the waiters of a commit when they are many; Drain waits for them.
//
// # Caveats
//
// An End says how a connection ends, and the edge has to do it; after ErrEnded it must read nothing more. A frame's pieces
// are shared: they must not be changed, nor kept beyond the next call of Next or Close. Deadlines, heartbeats and the size of
// frames are the edge's.
package sync
