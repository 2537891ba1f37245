package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// faultError is a memory fault while reading the file: SIGBUS or SIGSEGV on the map.
type faultError struct{ what string }

func (e *faultError) Error() string { return "store: fault while reading the file: " + e.what }

// guard runs fn, which reads the mapped file, and turns a memory fault, or a panic of bbolt over a page that makes no
// sense, into an error.
func guard(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		switch p := recover().(type) {
		case nil:
		case runtime.Error:
			err = &faultError{what: p.Error()}
		default:
			err = &faultError{what: fmt.Sprint(p)}
		}
	}()
	return fn()
}

// fail stops the store: first the gate closes, then the marker is left for the next start, then the owner is told. What
// was queued is never answered, because nobody can know whether it is on disk.
func (s *Store) fail(err error) {
	if !s.fault.CompareAndSwap(nil, &err) {
		return
	}
	s.gate.Store(true)
	s.queue.close()
	s.opts.Logger.Error("the store has stopped: nothing more is acknowledged or delivered", "file", s.path, "err", err)
	text := fmt.Sprintf("%s %v\n", time.Now().UTC().Format(time.RFC3339), err)
	if e := os.WriteFile(markerPath(s.path), []byte(text), 0o600); e != nil {
		s.opts.Logger.Error("cannot leave the failure marker", "err", e)
	}
	s.opts.OnFail(err)
}

func (s *Store) failure() error {
	if p := s.fault.Load(); p != nil {
		return fmt.Errorf("%w: %w", ErrFailed, *p)
	}
	return nil
}

func markerPath(path string) string { return path + ".failed" }

// FailureMarker returns what the last process wrote when it stopped after a failure of the disk, "" if it did not. Whoever
// starts a server on such a file has it verified first, by Check in a process of its own; a successful Open removes the
// marker.
func FailureMarker(path string) (string, error) {
	b, err := os.ReadFile(markerPath(path))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}

func clearMarker(path string) error {
	if err := os.Remove(markerPath(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// diskFull reports whether a commit failed for want of room before anything of it could become visible. Only a refused
// write says that: the same error from a sync is as indeterminate as any other.
func diskFull(err error) bool {
	if errors.Is(err, berrors.ErrMaxSizeReached) {
		return true
	}
	var pe *fs.PathError
	return errors.As(err, &pe) && (pe.Op == "write" || pe.Op == "truncate") && noSpace(err)
}

func noSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// update runs fn in a write transaction on the writer goroutine, which also empties the journal. Errors of fn roll back and are
// returned; those of the commit are sorted: errNoRoom when the disk is full, else the store has failed.
func (s *Store) update(fn func(*bolt.Tx) error) error { return s.transact(s.waiting, fn) }

// maintain is update for work on the views and for trimming. On a full disk it leaves the journal as it is: what needs little
// room, and may make some, must not wait for what needs more. fn must not add to the log.
func (s *Store) maintain(fn func(*bolt.Tx) error) error {
	if s.refuse.Load() != nil {
		return s.transact(nil, fn)
	}
	return s.update(fn)
}

// transact runs fn in a write transaction, behind records of the journal: all that it holds, or none.
func (s *Store) transact(held []rawRecord, fn func(*bolt.Tx) error) error {
	committing, settling := false, false
	log := &s.logWriter
	err := guard(func() error {
		tx, err := s.db.Begin(true)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
		s.lookAtMap()
		log.begin(tx)
		for _, r := range held {
			log.add(r.seq, r.v)
		}
		if err := fn(tx); err != nil {
			return err
		}
		if err := log.flush(); err != nil {
			return err
		}
		committing = true
		if err := tx.Commit(); err != nil {
			return err
		}
		settling = true
		return s.settle()
	})
	var fault *faultError
	switch {
	case err == nil:
		s.counters.batches.Add(log.batches)
		s.counters.longBatches.Add(log.longs)
		if len(held) > 0 {
			s.journalMoved()
		}
		return nil
	case errors.As(err, &fault):
	case !committing:
		return err
	case !settling && diskFull(err):
		log.long.noRoom()
		return errNoRoom
	}
	return s.writeFailed(err)
}

// writeFailed stops the store after an error that leaves open what is on the disk.
func (s *Store) writeFailed(err error) error {
	if s.opts.faults.carryOn {
		return errNoRoom
	}
	s.fail(err)
	return ErrFailed
}

// journalMoved is called when all that the journal held is durable in the log's bucket.
func (s *Store) journalMoved() {
	s.journal.used = 0
	s.mu.Lock()
	s.waiting = nil
	s.counters.journalMoves.Add(1)
	s.mu.Unlock()
}

// save makes a group durable: in the journal, where it fits, else in the log's bucket.
func (s *Store) save(g *group) error {
	if !g.small {
		return s.append(g)
	}
	err := s.journal.write(g.records)
	if diskFull(err) { // a file system that takes new room for what is written anew: from now on we do without
		s.journal.span, g.small = -1, false
		return s.append(g)
	}
	if err == nil {
		err = s.sealer.sync()
	}
	if err != nil {
		return s.writeFailed(err)
	}
	s.counters.journaled.Add(1)
	return nil
}

// append makes a group durable in the log's bucket. When the disk is full it tries again with single pages.
func (s *Store) append(g *group) error {
	err := s.update(g.add)
	if errors.Is(err, errNoRoom) && s.logWriter.longs > 0 {
		s.counters.retriedShort.Add(1)
		err = s.update(g.add)
	}
	return err
}

// settle makes what bbolt has written durable.
func (s *Store) settle() error {
	once, err := s.sealer.commit()
	if once {
		s.counters.syncedOnce.Add(1)
	}
	return err
}

// lookAtMap counts how often the memory map was replaced by a larger one, which only transactions of this goroutine do.
func (s *Store) lookAtMap() {
	at := s.db.Info().Data
	if s.mapped != 0 && at != s.mapped {
		s.counters.remaps.Add(1)
	}
	s.mapped = at
}

// errNoRoom: the disk is full, nothing was changed.
var errNoRoom = errors.New("store: disk is full")
