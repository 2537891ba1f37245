package store

import (
	"time"

	bolt "go.etcd.io/bbolt"
)

// reserve keeps disk blocks allocated ahead of what the file uses, so that a disk that another program fills ends appends
// cleanly, with room left for what the store must still write. upTo is the offset up to which blocks are ours.
type reserve struct {
	upTo int64
	off  bool // the file system cannot do it: a full disk shows at the next commit
}

// roomRetry is how often a full disk is tried again.
const roomRetry = time.Second

// roomInFile is how many bytes of free pages in the file are room enough to append on a full disk: a group, and the slices
// of the views that follow it.
const roomInFile = 2 * groupBytes

func (s *Store) initReserve() {
	s.reserve.off = s.opts.reserve < 0 || s.opts.file == nil
	s.extendReserve()
}

// extendReserve takes more room when the file has grown into the reserve by half. It reports false when there is none.
func (s *Store) extendReserve() bool {
	if s.reserve.off || s.failure() != nil {
		return true
	}
	st, err := s.opts.file.Stat()
	if err != nil || st.Size()+s.opts.reserve/2 <= s.reserve.upTo {
		return true
	}
	to := st.Size() + s.opts.reserve
	err = allocate(s.opts.file, s.reserve.upTo, to-s.reserve.upTo)
	switch {
	case err == nil:
		s.reserve.upTo = to
		s.counters.reserveExtended.Add(1)
	case noSpace(err) && s.freeInFile() >= roomInFile: // the file need not grow
	case noSpace(err):
		s.noRoom(&Refusal{Code: CodeReadOnly, Message: "the disk is nearly full"})
		return false
	default:
		s.reserve.off = true
		s.opts.Logger.Info("no disk space can be reserved here", "file", s.path, "err", err)
	}
	return true
}

// noRoom refuses appends until the disk has room again.
func (s *Store) noRoom(r *Refusal) {
	if s.refuse.Swap(r) == nil {
		s.opts.Logger.Error("appends are refused until there is room", "file", s.path, "reason", r.Message)
	}
	if now := s.opts.now(); !now.Before(s.roomCheck) { // else what finds no room meanwhile would put it off for ever
		s.roomCheck = now.Add(roomRetry)
	}
}

// freeInFile returns how many bytes of the file are free pages; 0 when it cannot tell.
func (s *Store) freeInFile() int64 {
	if s.opts.file == nil {
		return 0
	}
	pages, size, err := freePages(s.opts.file)
	if err != nil {
		return 0
	}
	return pages * size
}

// tryRoom takes up appends again when there is room: the reserve can be had, or trimming has made room in the file, and a
// little can be written.
func (s *Store) tryRoom() {
	if !s.extendReserve() {
		return
	}
	err := s.update(func(tx *bolt.Tx) error { return putCheckpoint(tx, s.ckpt) })
	switch {
	case s.failure() != nil:
	case err != nil:
		s.roomCheck = s.opts.now().Add(roomRetry)
	default:
		s.refuse.Store(nil)
		s.opts.Logger.Info("there is room again: appends are accepted", "file", s.path)
	}
}
