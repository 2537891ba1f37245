package store

import (
	"os"
	"sync/atomic"
)

// Stats counts what the store has done since it was opened, and how it stands. Every mechanism has its counter, so that a
// test can prove that its path was taken.
type Stats struct {
	Head, Checkpoint, Floor Seq
	LogBytes                int64 // of the records in the log
	FileBytes               int64
	TailBytes, TailEvents   int64
	LagEvents, LagBytes     int64 // published but not yet in the views' buckets
	JournalBytes            int64 // of records in the journal
	QueueBytes              int64
	IDRuns                  int64 // sorted runs of the ids view
	IDFilterBytes           int64 // their filters, in memory

	Commits, Events, Duplicates, Refused int64
	CommitNanos                          int64 // spent in commits of groups
	SyncedOnce                           int64 // transactions that one fsync made durable, by a seal that lists their pages
	FlushSlices, FlushedEntries          int64
	FlushNanos, FlushMaxNanos            int64
	ThrottledGroups                      int64 // groups that had to wait for a flush
	GroupsCut, GroupDocsMost             int64 // groups that ended because of the documents that they needed; most bytes of those
	SizersMade, SizedPatches             int64 // documents near the limit that were indexed; patches whose room was found so
	TailReads, FileReads                 int64 // pages
	DenseScans, HopReads, MergedReads    int64 // how pages of the file were found
	SkipsNear, SkipsFar                  int64 // skip links followed
	PagesShrunk                          int64 // pages that ended because a byte or record bound was reached
	Trims, TrimmedEvents, TrimsHeld      int64
	TrimsFull                            int64 // steps of the retention on a full disk
	RetentionFlushes                     int64 // times that the views were behind what the retention was to remove
	IDMerges, IDMergedRuns               int64
	IDMergesGivenUp                      int64 // because the disk was full
	ReapsLeft                            int64 // times that old id runs were left for later, because the file had free pages enough
	DiskFull, Rejudged                   int64 // groups refused for want of room; groups judged again
	ReserveExtended                      int64
	Backups                              int64
	ReadAheads                           int64 // times that the kernel was told what a scan reads next (Linux)
	Journaled, JournalMoves              int64 // groups that went into the journal; times that it was emptied into the log's bucket
	Batches, LongBatches, BatchesCut     int64 // batches of records that were written; those of several pages; those that trimming cut in two
	RetriedShort                         int64 // groups that were committed without long batches because the disk had no room
	TrimmedReads                         int64 // pages refused because trimming had passed the reader
	Remaps                               int64 // times that the file outgrew its memory map
}

// counters are the live form of what Stats reports.
type counters struct {
	commits, events, duplicates, refused         atomic.Int64
	commitNanos, syncedOnce                      atomic.Int64
	flushSlices, flushedEntries                  atomic.Int64
	flushNanos, flushMaxNanos                    atomic.Int64
	throttled                                    atomic.Int64
	groupsCut, groupDocsMost                     atomic.Int64
	tailReads, fileReads                         atomic.Int64
	denseScans, hopReads, mergedReads            atomic.Int64
	skipsNear, skipsFar                          atomic.Int64
	pagesShrunk, trimmedReads, remaps            atomic.Int64
	trims, trimmed, trimsHeld, trimsFull         atomic.Int64
	retentionFlushes                             atomic.Int64
	idMerges, idMergedRuns, reapsLeft            atomic.Int64
	idMergesGivenUp                              atomic.Int64
	diskFull, rejudged, reserveExtended, backups atomic.Int64
	batches, longBatches, batchesCut, readAheads atomic.Int64
	retriedShort                                 atomic.Int64
	journaled, journalMoves                      atomic.Int64
}

// Stats returns the figures of this moment.
func (s *Store) Stats() Stats {
	c := &s.counters
	ids := s.ids.stats()
	st := Stats{
		Commits: c.commits.Load(), Events: c.events.Load(), Duplicates: c.duplicates.Load(), Refused: c.refused.Load(),
		CommitNanos: c.commitNanos.Load(), SyncedOnce: c.syncedOnce.Load(),
		FlushSlices: c.flushSlices.Load(), FlushedEntries: c.flushedEntries.Load(),
		FlushNanos: c.flushNanos.Load(), FlushMaxNanos: c.flushMaxNanos.Load(), ThrottledGroups: c.throttled.Load(),
		GroupsCut: c.groupsCut.Load(), GroupDocsMost: c.groupDocsMost.Load(),
		SizersMade: s.sizes.made.Load(), SizedPatches: s.sizes.asked.Load(),
		TailReads: c.tailReads.Load(), FileReads: c.fileReads.Load(),
		DenseScans: c.denseScans.Load(), HopReads: c.hopReads.Load(), MergedReads: c.mergedReads.Load(),
		SkipsNear: c.skipsNear.Load(), SkipsFar: c.skipsFar.Load(), PagesShrunk: c.pagesShrunk.Load(),
		Trims: c.trims.Load(), TrimmedEvents: c.trimmed.Load(), TrimsHeld: c.trimsHeld.Load(),
		TrimsFull: c.trimsFull.Load(), RetentionFlushes: c.retentionFlushes.Load(), TrimmedReads: c.trimmedReads.Load(), Remaps: c.remaps.Load(),
		ReapsLeft: c.reapsLeft.Load(),
		IDMerges:  c.idMerges.Load(), IDMergedRuns: c.idMergedRuns.Load(), IDMergesGivenUp: c.idMergesGivenUp.Load(), IDRuns: int64(ids.Runs), IDFilterBytes: ids.FilterBytes,
		DiskFull: c.diskFull.Load(), Rejudged: c.rejudged.Load(), ReserveExtended: c.reserveExtended.Load(),
		Journaled: c.journaled.Load(), JournalMoves: c.journalMoves.Load(),
		ReadAheads: c.readAheads.Load(), Batches: c.batches.Load(), LongBatches: c.longBatches.Load(), RetriedShort: c.retriedShort.Load(), BatchesCut: c.batchesCut.Load(),
		Backups: c.backups.Load(), QueueBytes: int64(s.queue.size()),
	}
	if fi, err := os.Stat(s.path); err == nil {
		st.FileBytes = fi.Size()
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	st.Head, st.Checkpoint, st.Floor, st.LogBytes = s.Head(), s.ckpt.seq, s.floor.seq, s.logBytes
	st.TailBytes, st.LagEvents, st.LagBytes = int64(s.tail.bytes), int64(s.lag.len()), s.lag.bytes
	for _, r := range s.waiting {
		st.JournalBytes += int64(len(r.v))
	}
	for _, r := range s.tail.runs {
		st.TailEvents += int64(len(r.events))
	}
	return st
}
