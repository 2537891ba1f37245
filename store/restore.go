package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// RestoreInfo tells what a restore has made.
type RestoreInfo struct {
	From        ID  // the log that was copied
	Log         ID  // the new log
	Cut         Seq // the last seq of the old log that the new one contains: lower than asked for where that lay inside an atomic push
	HeadID      ID  // of the event at Cut
	Floor       Seq
	Events      int64 // in the log
	DroppedTo   Seq   // the head of the old log: the events behind Cut up to here are not in the new one
	Took        time.Duration
	LineageLogs int // logs whose cursors can go on
}

// ErrBeyondHead is returned by Restore when the log ends before the cut that was asked for.
var ErrBeyondHead = errors.New("store: the log ends before that seq")

// Restore makes a new store at to from the file at from, which may be a backup, or a store that nobody has open. It has a
// log id of its own and remembers the old one: a client whose cursor is not above the cut goes on without a reset.
//
// cut is the last seq to keep; 0 keeps everything. It is lowered when it lies inside an atomic push, which is never cut in
// half; below the floor it is a *TrimmedError, above the head ErrBeyondHead. Ids of events above the cut are forgotten:
// resent, they are new.
//
// The new file is verified and appears under its name only when it is on disk; an existing file is never replaced
// (fs.ErrExist). Memory: about 100 bytes per stream and key.
func Restore(ctx context.Context, from, to string, cut Seq, progress func(done, total int64)) (RestoreInfo, error) {
	start := time.Now()
	o := Options{ReadOnly: true}
	if err := o.validate(); err != nil {
		return RestoreInfo{}, err
	}
	db, err := openBolt(from, &o)
	if err != nil {
		return RestoreInfo{}, err
	}
	var held []rawRecord // in the journal
	view := func(fn func(*bolt.Tx, logBucket) error) error {
		return guard(func() error {
			return db.View(func(tx *bolt.Tx) error { return fn(tx, logBucket{tx.Bucket(bucketLog), held}) })
		})
	}
	c := &copier{ctx: ctx, view: view, progress: half(progress)}
	info := RestoreInfo{}
	err = view(func(tx *bolt.Tx, log logBucket) (err error) {
		if held, err = heldUpTo(tx, cut); err != nil {
			return err
		}
		log.behind = held
		return c.restoreFrom(tx, log, cut, &info)
	})
	if err == nil {
		err = build(to, o, c.run, func(tmp string) error { return verifyFile(ctx, tmp, secondHalf(progress)) })
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return RestoreInfo{}, err
	}
	if progress != nil {
		progress(1, 1)
	}
	info.Log, info.HeadID, info.Events, info.Took = c.identity.log, c.headID, c.events, time.Since(start)
	return info, nil
}

// heldUpTo returns what is in the journal of a file. Damage to it is an error unless it lies behind the cut.
func heldUpTo(tx *bolt.Tx, cut Seq) ([]rawRecord, error) {
	if err := checkFormat(tx); err != nil {
		return nil, err
	}
	_, held, err := openJournal(tx, false)
	corrupt := (*CorruptError)(nil)
	if errors.Is(err, errJournal) && errors.As(err, &corrupt) && 0 < cut && cut < corrupt.Seq {
		return held, nil
	}
	return held, err
}

// restoreFrom decides what the new log is to be.
func (c *copier) restoreFrom(tx *bolt.Tx, log logBucket, cut Seq, info *RestoreInfo) (err error) {
	old, err := getIdentity(tx)
	if err != nil {
		return err
	}
	lineage, err := getLineage(tx)
	if err != nil {
		return err
	}
	if c.floor, err = getFloor(tx); err != nil {
		return err
	}
	if c.ids, err = openIDs(tx); err != nil {
		return err
	}
	c.inRuns = c.ids.checkpoint()
	head, err := log.head(c.floor.seq)
	if err != nil {
		return err
	}
	if c.upTo, err = lowerCut(log, cut, c.floor.seq, head); err != nil {
		return err
	}
	c.identity = newIdentity()
	c.identity.sparse = old.sparse
	c.lineage = descend(lineage, old.log, c.upTo)
	info.From, info.Cut, info.Floor, info.DroppedTo, info.LineageLogs = old.log, c.upTo, c.floor.seq, head, len(c.lineage)
	return nil
}

// descend adds the log that is copied to its own lineage, and lowers the cuts that are above its own: what lies behind is
// not in the copy.
func descend(lineage []ancestor, from ID, cut Seq) []ancestor {
	out := make([]ancestor, 0, len(lineage)+1)
	for _, a := range lineage {
		out = append(out, ancestor{log: a.log, cut: min(a.cut, cut)})
	}
	return append(out, ancestor{log: from, cut: cut})
}

// lowerCut returns the last seq that the copy keeps: the end of the last push that is whole at the cut.
func lowerCut(log logBucket, cut, floor, head Seq) (Seq, error) {
	switch {
	case cut == 0:
		cut = head
	case cut < floor:
		return 0, &TrimmedError{Floor: floor}
	case cut > head:
		return 0, fmt.Errorf("%w: it ends at %d", ErrBeyondHead, head)
	}
	c := log.cursor()
	step := c.last
	if _, v := c.seek(cut + 1); v != nil {
		step = c.prev
	}
	for seq, v := step(); v != nil; seq, v = c.prev() {
		var r record
		if err := parseRecord(seq, v, &r); err != nil {
			return 0, err
		}
		if !r.Flags.Has(FlagMore) {
			return r.Seq, nil
		}
	}
	return floor, nil
}
