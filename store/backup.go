package store

import (
	"context"
	"time"

	bolt "go.etcd.io/bbolt"
)

// BackupInfo tells what a backup holds. Head and HeadID, written down elsewhere, prove later that its end is not missing.
type BackupInfo struct {
	Log         ID
	Floor, Head Seq
	HeadID      ID
	Events      int64 // in the log
	Took        time.Duration
}

// Backup makes a copy of the store at path, complete up to the head of the moment of the call, while writing goes on. Trimming
// waits until everything is copied, not until it is verified. The copy is a store like any other, of the same log: whoever
// puts it in the place of the original should do so by Restore, which gives it a log id of its own. The file appears under its
// name only when it is complete and verified; an existing one is refused (fs.ErrExist). progress, if not nil, is told how much
// is done.
func (s *Store) Backup(ctx context.Context, path string, progress func(done, total int64)) (BackupInfo, error) {
	start := time.Now()
	c := &copier{ctx: ctx, view: s.viewLog, identity: s.identity, lineage: s.lineage, ids: s.ids, progress: half(progress)}
	verify := s.opts.Verify
	if verify == nil {
		verify = func(ctx context.Context, path string) error { return verifyFile(ctx, path, secondHalf(progress)) }
	}
	err := build(path, s.opts, func(db *bolt.DB) error { return s.copyTo(db, c) }, func(tmp string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return verify(ctx, tmp)
	})
	if err != nil {
		return BackupInfo{}, err
	}
	if progress != nil {
		progress(1, 1)
	}
	s.counters.backups.Add(1)
	return BackupInfo{
		Log: c.identity.log, Floor: c.floor.seq, Head: c.reached, HeadID: c.headID, Events: c.events, Took: time.Since(start),
	}, nil
}

// copyTo lets c copy what is in the store now. Trimming waits for it.
func (s *Store) copyTo(db *bolt.DB, c *copier) error {
	begin := func() error { // on the writer goroutine: nothing is trimmed or flushed in between
		s.mu.Lock()
		defer s.mu.Unlock()
		s.copies++
		c.floor, c.inRuns, c.upTo = s.floor, s.ckpt.seq, s.Head()
		return nil
	}
	if s.opts.ReadOnly {
		_ = begin()
	} else if err := s.onWriter(c.ctx, begin); err != nil {
		return err
	}
	defer func() {
		s.mu.Lock()
		s.copies--
		s.mu.Unlock()
	}()
	return c.run(db)
}

// verifyFile is Check with everything it finds as an error.
func verifyFile(ctx context.Context, path string, progress func(done, total int64)) error {
	r, err := Check(ctx, path, progress)
	if err != nil {
		return err
	}
	return r.Err()
}

// half makes the progress of a copy the first half of the whole; its verification is the second.
func half(progress func(done, total int64)) func(done, total int64) {
	if progress == nil {
		return nil
	}
	return func(done, total int64) { progress(done, 2*total) }
}

func secondHalf(progress func(done, total int64)) func(done, total int64) {
	if progress == nil {
		return nil
	}
	return func(done, total int64) { progress(total+done, 2*total) }
}
