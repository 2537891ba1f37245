package store

import (
	"errors"
	"fmt"
)

// Errors of Open.
var (
	// ErrLocked: another process has the file open.
	ErrLocked = errors.New("store: file is in use")
	// ErrNewerFormat: the file was written by a newer version of this program.
	ErrNewerFormat = errors.New("store: file format is newer than this program")
	// ErrNotStore: the file is no store.
	ErrNotStore = errors.New("store: not a store file")
)

// Errors of a store in use.
var (
	ErrClosed = errors.New("store: closed")
	// ErrFailed: the store stopped after an error of the disk; nothing more is acknowledged or delivered.
	ErrFailed = errors.New("store: stopped after a failure of the disk")
)

// CorruptError tells of a record or view entry that is not what was written. Seq is 0 for what is not a record.
type CorruptError struct {
	Seq Seq
	Err error
}

func (e *CorruptError) Error() string {
	if e.Seq == 0 {
		return fmt.Sprintf("store: corrupt: %v", e.Err)
	}
	return fmt.Sprintf("store: corrupt: event %d: %v", e.Seq, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// TrimmedError tells that events that were asked for are no longer in the log.
type TrimmedError struct {
	Floor Seq // the highest seq lost
}

func (e *TrimmedError) Error() string { return fmt.Sprintf("store: trimmed up to %d", e.Floor) }

func corruptView(format string, a ...any) error {
	return &CorruptError{Err: fmt.Errorf(format, a...)}
}
