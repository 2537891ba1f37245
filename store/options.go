package store

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Options configure a store. The zero value is useful.
type Options struct {
	Limits     Limits
	Retention  Retention
	TailBytes  int                                          // memory for the newest events; default 32 MiB
	QueueBytes int                                          // pushes that wait for the writer; a full queue makes Append wait; default 16 MiB
	Logger     *slog.Logger                                 // default: slog.Default
	ReadOnly   bool                                         // for tools: a shared lock, nothing is written, Append and Apply return ErrReadOnly
	OnFail     func(error)                                  // called once when the store has stopped after a failure of the disk (docs/operations.md)
	Verify     func(ctx context.Context, path string) error // looks at a finished backup, best in a process of its own; default: Check
	KeepAll    bool                                         // nothing is trimmed before the first KeepAfter
	Sparse     bool                                         // a new file takes its events from a sequencer elsewhere, by Apply; seqs may have holes

	pageSize int      // tests: bbolt's page size
	mmapSize int      // tests: the initial map
	flush    flushPol // tests: small slices
	docs     int      // tests: groupDocs
	reapRoom int64    // tests: see reapRoom
	journal  journalSize
	long     int   // tests: pages of records that are worth long leaves; negative: none are
	reserve  int64 // tests: bytes kept allocated ahead of the file's use; negative: none
	now      func() time.Time
	faults   faults
	file     *os.File // the descriptor that bbolt uses, once it is open
}

// ErrReadOnly is returned by writes to a store that was opened with Options.ReadOnly.
var ErrReadOnly = errors.New("store: opened read-only")

// Retention says how much of the log is kept. Documents, heads and ids stay when events go. Zero fields do not limit.
type Retention struct {
	Age   time.Duration // events older than this go
	Bytes int64         // the oldest events go while the log's records have more than this
	Count uint64        // the oldest events go while the log has more seqs than this; only in a sparse log are those more than its events
}

func (r Retention) enabled() bool { return r != Retention{} }

// flushPol bounds the distance between the log and the views' buckets.
type flushPol struct {
	target  int   // events behind at which slices begin
	bound   int   // events behind at which appends wait for slices
	bytes   int64 // the same in bytes: half of it begins slices, all of it makes appends wait
	events  int   // most events of one slice
	entries int   // most view entries written by one slice
}

// faults are switches for the controls of the power-loss test: each one breaks a promise on purpose.
type faults struct {
	noSync       bool // commit without fsync
	ackEarly     bool // answer before the commit
	publishEarly bool // publish before the commit
	carryOn      bool // go on after an I/O error
	noRewrite    bool // believe what the file shows at open
	blindSeal    bool // seal commits without the checksums of their pages
	blindJournal bool // believe entries of the journal whatever their checksum is
	noCRC        bool // do not check record checksums
}

const defaultMmap = 64 << 30 // address space, not memory: growth must never wait for readers to leave the map

func (o *Options) validate() error {
	if o.Limits.Data < 0 || o.Limits.Doc < 0 || o.TailBytes < 0 || o.QueueBytes < 0 ||
		o.Retention.Age < 0 || o.Retention.Bytes < 0 {
		return errors.New("store: options: a limit is negative")
	}
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&o.Limits.Data, 256<<10)
	def(&o.Limits.Doc, 1<<20)
	def(&o.TailBytes, 32<<20)
	def(&o.QueueBytes, 16<<20)
	def(&o.mmapSize, defaultMmap)
	def(&o.docs, groupDocs)
	def(&o.long, longPages)
	def(&o.journal.blocks, journalBlocks)
	def(&o.journal.span, journalSpan)
	if o.reapRoom == 0 {
		o.reapRoom = reapRoom
	}
	if o.reserve == 0 {
		o.reserve = 16 << 20
	}
	def(&o.flush.target, 64<<10)
	def(&o.flush.bound, 256<<10)
	def(&o.flush.events, 16<<10)
	def(&o.flush.entries, 16<<10)
	if o.flush.bytes == 0 {
		o.flush.bytes = 64 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.OnFail == nil {
		o.OnFail = func(error) {}
	}
	if o.now == nil {
		o.now = time.Now
	}
	return nil
}

func (o *Options) bolt() *bolt.Options {
	b := &bolt.Options{
		Timeout:         time.Second,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: o.mmapSize,
		ReadOnly:        o.ReadOnly,
		NoStatistics:    true,
		NoSync:          true, // the sealer syncs
	}
	if o.ReadOnly {
		return b
	}
	recover := recoverMetas
	if o.faults.noRewrite {
		recover = func(*os.File) error { return nil }
	}
	b.OpenFile = func(path string, flag int, mode os.FileMode) (f *os.File, err error) {
		o.file, err = openOwned(path, flag, mode, recover)
		return o.file, err
	}
	return b
}
