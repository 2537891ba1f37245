package sync

import (
	"context"

	"tidemark/store"
)

// Reader is what the engine reads from a log. All methods may be called concurrently; nothing that they return is above the
// published head, and what is below it never changes. What returned events and documents point to is shared and must not be
// changed; the slices that they come in are the caller's.
type Reader interface {
	// Read returns the events of f after a seq, oldest first. *store.TrimmedError: some of them are gone.
	Read(f store.Filter, after store.Seq, lim store.PageLimit) (store.Page, error)
	// Documents returns the documents of f after a position, of about that many bytes, as they are now.
	Documents(f store.Filter, after store.DocKey, bytes int) (store.DocPage, error)
	// Resume tells where a reader of f stands and whether its cursor can go on. LogHead is taken before Head: when Head is
	// not above the cursor, nothing of f lies between the cursor and LogHead.
	Resume(f store.Filter, c store.Cursor) (store.Standing, error)
	// Mark returns the id of the event at a seq, zero when the log does not have it any more.
	Mark(at store.Seq) store.ID
	// LogID returns the id of the log, which does not change while it is open.
	LogID() store.ID
}

// Log is what the engine needs of a log; *store.Store is one.
type Log interface {
	Reader
	// Append queues a push and waits while the queue is full. p belongs to the log until p.Done is called, which happens
	// once, when everything that the verdicts rest on is on disk, in the order of the pushes of one p.Source. An error
	// means that the push was not taken.
	Append(ctx context.Context, p *store.Push) error
	// Watch registers fn to be told of every commit, in log order, after it is durable and visible to Read and before its
	// pushes are answered. fn does not block. Called once, before the first Append.
	Watch(fn func(store.Commit))
}

// Holder is a Log that can make trimming wait while a snapshot is being read.
type Holder interface {
	// HoldTrim keeps trimming, for a bounded time, from going beyond a seq until release is called.
	HoldTrim(after store.Seq) (release func())
}
