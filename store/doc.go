// Package store is the log: one ordered sequence of events in one bbolt file, and the views that are folded from it: the heads
// of streams, the ids of mutations, the documents. It holds the words of the domain too (Seq, Stream, ID, Filter, Event,
// Mutation, Refusal), which every other package uses.
//
//	st, err := store.Open("app.tidemark", store.Options{Retention: store.Retention{Bytes: 10 << 30}})
//	…
//	verdicts, err := st.AppendWait(ctx, &store.Push{Mutations: []store.Mutation{
//		{ID: store.NewID(), Stream: "room/1", Key: "card/7", Op: store.OpPut, Data: []byte(`{"column":"todo"}`)},
//	}})
//	page, err := st.Read(store.Only("room/1"), cursor, store.PageLimit{})  // again from page.Through while page.More
//	doc, ok, err := st.Doc("room/1", "card/7")
//	err = st.Close()
//
// Append is AppendWait for those who have many pushes under way: Push.Done is called when the verdicts are on disk. Watch tells
// of every commit. Data is compact JSON, which CompactValue makes of any other.
//
// # How it works
//
// One goroutine, the writer, owns every write transaction. It takes the pushes that wait as one group, judges each mutation in
// order (group.go) and writes the records of the group to the end of one bucket, or, when they are few, into a journal that the next
// transaction empties into that bucket: that is all that a commit writes. Then the group is published: overlays in memory for the views, the tail of newest events, the head. The views' buckets follow in slices,
// with a checkpoint; Open folds what lies above it. Trimming moves the oldest events into a base, from which documents as
// of any seq above the floor are folded. docs/storage.md has the format, the bounds and the recovery.
//
//	Append ─▶ queue ─▶ writer: judge, commit, publish ─▶ Watch, Push.Done
//	                     │ journal.go: small groups; batch_write.go: large ones, and what the journal held, into bucket log
//	                     │ flush.go: slices of heads, docs, ids; the checkpoint moves
//	                     │ trim.go: the floor moves
//	Read ◀─ tail in memory, else the file (walk.go, wide.go)     Doc, Documents ◀─ overlay, else the file
//
// # Guarantees
//
//   - A verdict is given, and an event is delivered, only when it is on disk: after the fsync of its commit returned.
//   - A mutation takes effect at most once, for ever: its id is kept when its event is trimmed. Sent again it gets its first place.
//   - Events have seqs without gaps, in the order of judgement; an atomic push is contiguous, and a page never ends inside one.
//     The pushes of one Source do not overtake each other, also where one of them is refused for later.
//   - Every record carries a checksum and the checksum of the one before it, every view entry one of its own. What is damaged is an
//     error that names it (CorruptError), never skipped and never served.
//   - A full disk changes nothing: appends are refused (CodeReadOnly) until there is room, and reads go on. After any other error
//     of a commit nothing more is acknowledged or delivered: reads and appends return ErrFailed, Options.OnFail is told, and the
//     next start makes the file whole.
//   - Memory is bounded by Options: the queue, the tail, what the views' overlays may lag behind, the documents of a group.
//   - One process has the file open for writing. Another Open returns ErrLocked, and says which.
//
// All methods of Store may be called concurrently. Readers see what is published when they begin, and hold no transaction
// longer than a page.
//
// # Errors
//
// What is wrong with one mutation is its Verdict's Refusal and no error. Errors to tell apart: ErrClosed, ErrFailed, ErrReadOnly,
// ErrLocked, ErrNotStore, ErrNewerFormat, *CorruptError, and of readers *TrimmedError: the log no longer has what they asked for.
//
// # Caveats
//
// Events, documents and pages share memory with the store: they must not be changed. Functions given to Watch and Push.Done run
// on the writer goroutine: they must not block, and so not call AppendWait.
//
// A file that is open must not be copied, moved or cut: Backup copies it. A copy put in the original's place has the original's
// log id, but may lack what clients have seen; Restore gives it another. The file does not shrink when the log is trimmed, its
// pages are used again.
//
// Check walks every page in goroutines of bbolt's, which a badly damaged file can bring down: run it in a process of its own.
package store
