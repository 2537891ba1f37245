package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Store is an open log with its views. All methods may be called concurrently.
type Store struct {
	path     string
	opts     Options
	db       *bolt.DB
	identity identity
	lineage  []ancestor
	counters counters
	started  time.Time // with its monotonic reading; see clockSuspect

	head    atomic.Uint64 // the published head: no read goes beyond it
	gate    atomic.Bool   // closed at fail-stop: nothing is delivered or acknowledged any more
	refuse  atomic.Pointer[Refusal]
	suspect atomic.Pointer[string] // why trimming by age pauses

	queue      *queue
	jobs       chan *job
	closing    chan struct{}
	prepared   chan struct{} // a slice of the views is ready to be written
	trimAgain  chan struct{} // there is more to trim
	done       chan struct{}
	close      sync.Once
	fault      atomic.Pointer[error]
	scans      chan struct{}  // a token per scan of the log that may run at once
	background sync.WaitGroup // merges of id runs

	mu       sync.RWMutex // guards what follows; held for memory work only, never across I/O
	heads    map[Stream]*headEntry
	docs     map[Stream]map[string]*docEntry
	docOrder docOrder // the entries of docs
	docBytes int64    // of the documents in docs
	tail     tail
	lag      lagQueue
	ckpt     checkpoint
	floor    floorMark
	logBytes int64
	watchers []func(Commit)
	waiting  []rawRecord // what the journal holds; only ever appended to, or replaced
	holds    map[*hold]struct{}
	keep     hold // what KeepAfter keeps
	copies   int  // backups under way: trimming waits until they end

	ids *idIndex // guards itself

	// The writer goroutine's own.
	sealer       *sealer
	journal      *journal // nil: there is none
	spare        *group   // whose memory the next group uses
	logWriter    logWriter
	sizes        sizers
	lastCRC      uint32
	mapped       uintptr // where the file was mapped when last looked at
	lastAt       int64
	roomCheck    time.Time // no write is tried before, while the disk is full
	trimCheck    time.Time // nor is a step of retention
	heldAt       time.Time // since when snapshots keep trimming from its goal
	mergeCheck   time.Time // nor is a merge of id runs begun
	mergeWait    time.Duration
	reserve      reserve
	interned     map[string]string
	merging      bool
	flushing     *slice // being prepared
	sliceEntries int    // most entries of the next slice
	stepEvents   int    // about the most events of the next step of trimming
	agedTo       Seq    // events up to here are older than the retention
}

// Open opens the store at path, creating it when there is none, and brings its views up to the log's head.
//
// The file is locked: a second Open, in this process or another, returns ErrLocked. A file of a newer version is refused
// with ErrNewerFormat, what is no store with ErrNotStore, a damaged record with a *CorruptError.
func Open(path string, o Options) (*Store, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if !o.ReadOnly {
		if err := ensure(path, o); err != nil {
			return nil, err
		}
	}
	db, err := openBolt(path, &o)
	if err != nil {
		return nil, err
	}
	s := newStore(path, o, db)
	if err := s.begin(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// begin takes up what the file holds and starts the writer.
func (s *Store) begin() error {
	if s.opts.ReadOnly {
		close(s.done)
		return errors.Join(s.openJournal(), s.load())
	}
	for _, step := range []func() error{s.own, s.openJournal, s.load, func() error { return clearMarker(s.path) }} {
		if err := step(); err != nil {
			return err
		}
	}
	go s.run()
	return nil
}

// ensure creates the file if it does not exist.
func ensure(path string, o Options) error {
	_, err := os.Lstat(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	id := newIdentity()
	id.sparse = o.Sparse
	err = create(path, o, func(tx *bolt.Tx) error { return initBuckets(tx, id) })
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// own makes the file ready to be written to: of this version, and sealed.
func (s *Store) own() (err error) {
	sync := s.db.Sync
	if s.opts.faults.noSync {
		sync = func() error { return nil }
	}
	if s.sealer, err = newSealer(s.opts.file, sync); err != nil {
		return err
	}
	s.sealer.blind = s.opts.faults.blindSeal
	s.logWriter.long.pages, s.logWriter.long.free = s.opts.long, s.freeInFile
	return guard(func() error {
		if err := s.db.View(checkFormat); err != nil {
			return err
		}
		return errors.Join(upgrade(s.db, s.opts.journal.blocks), s.sealer.begin())
	})
}

// openJournal reads the journal, and makes what it holds durable before anybody believes it.
func (s *Store) openJournal() error {
	err := s.view(func(tx *bolt.Tx) (err error) {
		if err = checkFormat(tx); err != nil {
			return err
		}
		s.journal, s.waiting, err = openJournal(tx, s.opts.faults.blindJournal)
		return err
	})
	if err != nil || s.journal == nil || s.opts.ReadOnly {
		return err
	}
	s.journal.f, s.journal.span = s.opts.file, s.opts.journal.span
	if s.opts.faults.noRewrite {
		return nil
	}
	return s.journal.settle(s.sealer.sync)
}

// openBolt opens the file, turning bbolt's panics and errors on what is no store into ours.
func openBolt(path string, o *Options) (db *bolt.DB, err error) {
	if o.ReadOnly {
		if err := ensureWhole(path); err != nil {
			return nil, err
		}
	}
	err = guard(func() error {
		db, err = bolt.Open(path, 0o600, o.bolt())
		return err
	})
	if err != nil && o.file != nil {
		o.file.Close() // bbolt has done so unless it panicked; either way the lock must go
	}
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return nil, fmt.Errorf("%w: %s: %w", ErrNotStore, path, err)
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s is open in %s", ErrLocked, path, holder(path))
	}
	return nil, fmt.Errorf("store: open %s: %w", path, err)
}

func newStore(path string, o Options, db *bolt.DB) *Store {
	return &Store{
		path: path, opts: o, db: db, started: o.now(),
		queue:        newQueue(o.QueueBytes),
		jobs:         make(chan *job),
		closing:      make(chan struct{}),
		prepared:     make(chan struct{}, 1),
		trimAgain:    make(chan struct{}, 1),
		done:         make(chan struct{}),
		scans:        make(chan struct{}, 2),
		heads:        make(map[Stream]*headEntry),
		docs:         make(map[Stream]map[string]*docEntry),
		tail:         tail{limit: o.TailBytes},
		holds:        make(map[*hold]struct{}),
		keep:         firstKeep(&o),
		interned:     make(map[string]string),
		sliceEntries: max(1, o.flush.entries/4),
		stepEvents:   trimEvents,
	}
}

// load reads the metadata and folds the log from the checkpoint to the head into the overlays.
func (s *Store) load() error {
	return s.view(func(tx *bolt.Tx) (err error) {
		if s.identity, err = getIdentity(tx); err != nil {
			return err
		}
		if s.lineage, err = getLineage(tx); err != nil {
			return err
		}
		if s.ckpt, err = getCheckpoint(tx); err != nil {
			return err
		}
		if s.floor, err = getFloor(tx); err != nil {
			return err
		}
		if s.ids, err = openIDs(tx); err != nil {
			return err
		}
		if through := s.ids.checkpoint(); through != s.ckpt.seq {
			return corruptView("ids: they reach to %d, the checkpoint is %d", through, s.ckpt.seq)
		}
		s.logBytes = s.ckpt.bytes
		return s.catchUp(tx)
	})
}

// Close commits what is queued, brings the views' buckets up to the head and closes the file. It is idempotent; when the
// store had failed it returns the failure.
func (s *Store) Close() error {
	var err error
	s.close.Do(func() {
		s.queue.close()
		close(s.closing)
		<-s.done
		s.background.Wait()
		if !s.opts.ReadOnly && s.failure() == nil {
			if err := guard(s.sealer.end); err != nil {
				s.fail(err)
			}
		}
		err = s.db.Close()
		if !s.opts.ReadOnly && s.failure() == nil {
			err = errors.Join(err, forgetHolder(s.path))
		}
	})
	if f := s.failure(); f != nil {
		return f
	}
	return err
}

// Path returns the name of the file.
func (s *Store) Path() string { return s.path }

// LogID returns the id of the log.
func (s *Store) LogID() ID { return s.identity.log }

// Head returns the seq of the newest event that is on disk and visible.
func (s *Store) Head() Seq { return Seq(s.head.Load()) }

// Floor returns the seq up to which the log was trimmed.
func (s *Store) Floor() Seq {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.floor.seq
}

// Watch registers fn to be told of every commit, in log order, after it is durable and visible and before its pushes are
// answered. fn runs on the store's own goroutine and must not block. Register before the first Append.
func (s *Store) Watch(fn func(Commit)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, fn)
}

// HoldTrim keeps trimming, for a bounded time, from going beyond a seq until release is called: a reader of documents that is going
// to read the events after it holds them.
func (s *Store) HoldTrim(after Seq) (release func()) {
	h := &hold{after: after, since: s.opts.now()}
	s.mu.Lock()
	s.holds[h] = struct{}{}
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		delete(s.holds, h)
		s.mu.Unlock()
	}
}

// KeepAfter keeps trimming from going beyond a seq until the next call. It is for a view of events that has not yet written down what
// it took from those after the seq, and that goes on with it as the log grows. On a full disk it holds for a minute since the
// last call only: the view would have to append before it can go on, and trimming is what makes room for that.
func (s *Store) KeepAfter(seq Seq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep = hold{after: seq, since: s.opts.now()}
}

func firstKeep(o *Options) hold {
	if o.KeepAll {
		return hold{since: o.now()}
	}
	return hold{after: MaxSeq}
}

// hold is a snapshot that is being read, or a view that is not written down: the events after a seq are needed.
type hold struct {
	after Seq
	since time.Time
}

// Writable returns nil, or why appends are refused now.
func (s *Store) Writable() error {
	if err := s.failure(); err != nil {
		return err
	}
	if s.opts.ReadOnly {
		return ErrReadOnly
	}
	if r := s.refuse.Load(); r != nil {
		return r
	}
	return nil
}

// view runs fn in a read transaction. A fault of the memory map, as when the file was cut short or the disk cannot read a
// page, stops the store like any other error of the disk.
func (s *Store) view(fn func(*bolt.Tx) error) error {
	if s.gate.Load() {
		return ErrFailed
	}
	err := guard(func() error { return s.db.View(fn) })
	var fault *faultError
	if errors.As(err, &fault) {
		s.fail(fault)
		return ErrFailed
	}
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

// viewLog runs fn in a read transaction, with the log as it is then.
func (s *Store) viewLog(fn func(*bolt.Tx, logBucket) error) error {
	waiting, moves := s.inJournal() // before the transaction: what has left the journal by then is in the bucket
	return s.view(func(tx *bolt.Tx) error {
		if more, m := s.inJournal(); m == moves { // views in the transaction may know of them
			waiting = more
		}
		return fn(tx, logBucket{tx.Bucket(bucketLog), waiting})
	})
}

// inJournal returns what the journal holds, and how often it was emptied.
func (s *Store) inJournal() ([]rawRecord, int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.waiting, s.counters.journalMoves.Load()
}

// job is work for the writer goroutine: fn runs there, between two groups.
type job struct {
	fn   func() error
	done chan error
}

// onWriter runs fn on the writer goroutine and waits for it.
func (s *Store) onWriter(ctx context.Context, fn func() error) error {
	j := &job{fn: fn, done: make(chan error, 1)}
	select {
	case s.jobs <- j:
	case <-s.done:
		return s.gone()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-j.done:
		return err
	case <-s.done:
		return s.gone()
	}
}

// gone is the error of calls that come after the writer has ended.
func (s *Store) gone() error {
	switch {
	case s.failure() != nil:
		return ErrFailed
	case s.opts.ReadOnly:
		return ErrReadOnly
	}
	return ErrClosed
}
