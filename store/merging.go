package store

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
)

// mergeIDs starts the next merge of id runs, if one is due and none is under way. It is called on the writer goroutine;
// the merge reads on a goroutine of its own, which Close waits for, and hands the writer slice after slice.
func (s *Store) mergeIDs() {
	if s.merging || s.refuse.Load() != nil { // a merge needs twice the room: on a full disk, trimming comes first
		return
	}
	if s.opts.now().Before(s.mergeCheck) {
		return
	}
	m := s.ids.merge()
	if m == nil {
		return
	}
	s.inBackground("id runs could not be merged", func() error { return s.runMerge(m, s.ids.reap) })
}

// inBackground runs work on the ids beside the commits; one such work at a time.
func (s *Store) inBackground(failed string, work func() error) {
	s.merging = true
	s.background.Go(func() {
		debug.SetPanicOnFault(true)
		if err := work(); err != nil && s.failure() == nil && err != ErrClosed {
			s.opts.Logger.Error(failed, "err", err)
		}
	})
}

// mergeRetry is how long no merge is begun after one that found the disk full, mergeRetryMost after many.
const (
	mergeRetry     = time.Minute
	mergeRetryMost = time.Hour
)

// runMerge merges slice by slice. On a full disk it is given up: what it has written is deleted, for others need the room.
func (s *Store) runMerge(m *idMerge, reap func(*bolt.Tx) (func(), bool, error)) error {
	for more := true; more; {
		if err := m.read(s.view); err != nil {
			return err
		}
		err := s.onWriter(context.Background(), func() (err error) {
			more, err = s.mergeStep(m)
			return err
		})
		if err == errNoRoom {
			return s.runReap(reap)
		}
		if err != nil {
			return err
		}
	}
	s.counters.idMerges.Add(1)
	s.counters.idMergedRuns.Add(int64(len(m.inputs)))
	return s.runReap(reap)
}

// mergeStep writes one slice of a merge, or gives the merge up where there is no room for it.
func (s *Store) mergeStep(m *idMerge) (more bool, err error) {
	if err = errNoRoom; s.refuse.Load() == nil {
		more, err = s.idStep(m.write)
	}
	switch {
	case err == errNoRoom:
		m.giveUp()
		s.mergeWait = min(max(2*s.mergeWait, mergeRetry), mergeRetryMost)
		s.mergeCheck = s.opts.now().Add(s.mergeWait)
		s.counters.idMergesGivenUp.Add(1)
	case err == nil && !more:
		s.mergeWait = 0
	}
	return more, err
}

// reapRoom is how many bytes of free pages the file may have before old runs are left where they are: every commit sorts
// and writes the list of free pages anew (a thousand of them cost it 50 µs), so a large run is deleted no faster than its pages
// are needed.
const reapRoom = 4 << 20

// reapNeeded reports whether the file is short of free pages. On a full disk it needs more of them, to be written to again.
func (s *Store) reapNeeded() bool {
	room := s.opts.reapRoom
	if s.refuse.Load() != nil {
		room = max(room, roomInFile)
	}
	return s.freeInFile() < room
}

// runReap deletes runs that are no longer live, step by step, as far as room is needed, and starts the next merge.
func (s *Store) runReap(reap func(*bolt.Tx) (func(), bool, error)) error {
	for more := true; more; {
		err := s.onWriter(context.Background(), func() (err error) {
			if more = s.reapNeeded(); more {
				more, err = s.idStep(reap)
			} else {
				s.counters.reapsLeft.Add(1)
			}
			return err
		})
		if errors.Is(err, errNoRoom) {
			break // tidyIDs goes on with it
		}
		if err != nil {
			return err
		}
	}
	return s.onWriter(context.Background(), func() error {
		s.merging = false
		s.mergeIDs()
		return nil
	})
}

// tidyIDs starts a merge that is due, or deletes what merges have left, when the file has need of its room.
func (s *Store) tidyIDs() {
	s.mergeIDs()
	if s.merging || len(s.ids.dead) == 0 || s.failure() != nil || !s.reapNeeded() {
		return
	}
	s.inBackground("old id runs could not be deleted", func() error { return s.runReap(s.ids.reap) })
}

// idStep runs one bounded step of the ids view in a transaction of its own.
func (s *Store) idStep(step func(*bolt.Tx) (func(), bool, error)) (more bool, err error) {
	var done func()
	err = s.maintain(func(tx *bolt.Tx) (err error) {
		done, more, err = step(tx)
		return err
	})
	if err == nil {
		done()
	}
	return more, err
}
