// Package sync carries the events of a log to clients: sessions, cursors, fan-out, presence and signals. It is always
// imported under the name eventsync; in here, "sync" is the standard library's.
package sync
