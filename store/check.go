package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// The names of the invariants that Check walks, as they stand in its report; docs/storage.md tells what each means.
const (
	CheckPages      = "pages"      // bbolt's own structure
	CheckMeta       = "meta"       // identity, lineage
	CheckFloor      = "floor"      // the floor's place and event
	CheckCheckpoint = "checkpoint" // its bounds, and the bytes of the log below it
	CheckRecord     = "record"     // form and checksum of each record
	CheckSeq        = "seq"        // contiguous from the floor on, unless the log was sequenced elsewhere
	CheckChain      = "chain"      // each record repeats the checksum of the one before it
	CheckTime       = "time"       // never runs backwards
	CheckPrev       = "prev"       // links to the event before in the stream
	CheckSkip       = "skip"       // links to block boundaries
	CheckKPrev      = "kprev"      // links to the event before on the key
	CheckPush       = "push"       // no atomic push is cut
	CheckShape      = "shape"      // what a mutation may hold
	CheckHeads      = "heads"      // the view equals a fold of base and log
	CheckDocs       = "docs"       // so does this one
	CheckIDs        = "ids"        // every event has its id, no id has another event
	CheckFilter     = "filter"     // no filter denies an id that it has
	CheckBaseHeads  = "base-heads" // what trimming left behind is possible
	CheckBaseDocs   = "base-docs"
	CheckJournal    = "journal" // form, and that nothing is missing between its entries
)

// Problem is one violation of an invariant.
type Problem struct {
	Invariant string // one of the Check… names
	Seq       Seq    // the event that it is about; 0: none
	Detail    string
}

func (p Problem) String() string {
	if p.Seq == 0 {
		return p.Invariant + ": " + p.Detail
	}
	return fmt.Sprintf("%s: event %d: %s", p.Invariant, p.Seq, p.Detail)
}

// Report is what Check found.
type Report struct {
	Problems []Problem
	More     int // problems beyond those listed

	Log                         ID
	Floor, Checkpoint, Head     Seq
	HeadID                      ID // of the event at Head: what an outside anchor compares
	Events, Streams, Keys, Docs int64
	IDs                         int64 // in runs; those of events above the checkpoint are only in the log
}

// Err returns nil when there is no problem, else an error with the first of them.
func (r Report) Err() error {
	if len(r.Problems) == 0 {
		return nil
	}
	return &CorruptError{Seq: r.Problems[0].Seq,
		Err: fmt.Errorf("%v (%d problems in all)", r.Problems[0], len(r.Problems)+r.More)}
}

// maxProblems bounds a report: a damaged page makes thousands.
const maxProblems = 100

// Check walks every invariant of the file at path, which nobody may have open for writing: ErrLocked otherwise. It reads
// only. progress, if not nil, is told now and then how much of the work is done.
//
// Run it in a process of its own: bbolt checks its pages in goroutines that a badly damaged file can crash. An error means
// that the file could not be looked at; what is wrong with it stands in the report. Memory: about 100 bytes per stream and per key.
func Check(ctx context.Context, path string, progress func(done, total int64)) (Report, error) {
	o := Options{ReadOnly: true}
	if err := o.validate(); err != nil {
		return Report{}, err
	}
	o.mmapSize = 0
	db, err := openBolt(path, &o)
	if err != nil {
		return Report{}, err
	}
	c := &checker{ctx: ctx, progress: progress}
	err = guard(func() error { return db.View(c.run) })
	var fault *faultError
	var corrupt *CorruptError
	switch {
	case errors.As(err, &fault):
		c.problem(CheckPages, 0, "%v", fault)
		err = nil
	case errors.As(err, &corrupt): // metadata that nothing can be compared with
		c.problem(CheckMeta, corrupt.Seq, "%v", corrupt.Err)
		err = nil
	}
	return c.report, errors.Join(err, db.Close())
}

// checker walks one file in one read transaction.
type checker struct {
	ctx         context.Context
	progress    func(done, total int64)
	done, total int64
	report      Report

	tx       *bolt.Tx
	log      logBucket
	identity identity
	ckpt     checkpoint
	floor    floorMark
	ids      *idIndex // nil: it cannot be opened

	streams map[Stream]*checkedStream
	keys    map[keyHash]*checkedKey
	seed    keySeed
}

func (c *checker) problem(invariant string, seq Seq, format string, a ...any) {
	if len(c.report.Problems) == maxProblems {
		c.report.More++
		return
	}
	c.report.Problems = append(c.report.Problems, Problem{invariant, seq, fmt.Sprintf(format, a...)})
}

// step counts one piece of work; it ends the check when the context ends.
func (c *checker) step() error {
	if c.done++; c.done&0xfff != 0 {
		return nil
	}
	if c.progress != nil {
		c.progress(c.done, max(c.done, c.total))
	}
	return c.ctx.Err()
}

func (c *checker) run(tx *bolt.Tx) error {
	c.tx = tx
	c.streams = make(map[Stream]*checkedStream)
	c.keys = make(map[keyHash]*checkedKey)
	c.seed = newKeySeed()
	c.checkPages()
	if err := checkFormat(tx); err != nil {
		return err
	}
	c.readJournal()
	for _, walk := range []func() error{
		c.readMeta, c.baseHeads, c.baseDocs, c.readHeads, c.readDocs, c.walkLog, c.compareViews, c.compareDocs, c.compareIDs,
	} {
		if err := walk(); err != nil {
			return err
		}
	}
	if c.progress != nil {
		c.progress(c.done, c.done)
	}
	return nil
}

// readJournal reads what is in the journal: it belongs to the log.
func (c *checker) readJournal() {
	c.log = logOf(c.tx)
	_, held, err := openJournal(c.tx, false)
	if corrupt := (*CorruptError)(nil); errors.Is(err, errJournal) && errors.As(err, &corrupt) {
		c.problem(CheckJournal, corrupt.Seq, "%s", strings.TrimPrefix(corrupt.Err.Error(), errJournal.Error()+": "))
	}
	c.log.behind = held
}

// checkPages asks bbolt about its structure.
func (c *checker) checkPages() {
	for err := range c.tx.Check() {
		c.problem(CheckPages, 0, "%v", err)
	}
}

func (c *checker) readMeta() (err error) {
	if c.identity, err = getIdentity(c.tx); err != nil {
		return err
	}
	if c.ckpt, err = getCheckpoint(c.tx); err != nil {
		return err
	}
	if c.floor, err = getFloor(c.tx); err != nil {
		return err
	}
	lineage, err := getLineage(c.tx)
	if err != nil {
		return err
	}
	head, _ := c.log.head(c.floor.seq) // a wrong key is found by walkLog
	c.report.Log, c.report.Floor, c.report.Checkpoint, c.report.Head = c.identity.log, c.floor.seq, c.ckpt.seq, head
	c.report.HeadID = c.floor.id
	c.total = 2 * int64(head-c.floor.seq)
	c.checkLineage(lineage, head)
	switch {
	case c.ckpt.seq < c.floor.seq:
		c.problem(CheckCheckpoint, 0, "%d is below the floor %d", c.ckpt.seq, c.floor.seq)
	case c.ckpt.seq > head:
		c.problem(CheckCheckpoint, 0, "%d is above the head %d", c.ckpt.seq, head)
	}
	if (c.floor.seq == 0) != c.floor.id.IsZero() || c.floor.seq == 0 && c.floor.crc != 0 {
		c.problem(CheckFloor, 0, "floor %d with event %s and checksum %08x", c.floor.seq, c.floor.id, c.floor.crc)
	}
	if c.ids, err = openIDs(c.tx); err != nil {
		c.problem(CheckIDs, 0, "%v", err)
		c.ids = nil
	} else if through := c.ids.checkpoint(); through != c.ckpt.seq {
		c.problem(CheckIDs, 0, "they reach to %d, the checkpoint is %d", through, c.ckpt.seq)
	}
	return nil
}

func (c *checker) checkLineage(lineage []ancestor, head Seq) {
	seen := map[ID]bool{c.identity.log: true}
	for i, a := range lineage {
		if a.log.IsZero() || seen[a.log] {
			c.problem(CheckMeta, 0, "lineage: log %s stands there twice", a.log)
		}
		seen[a.log] = true
		if a.cut > head || i > 0 && a.cut < lineage[i-1].cut {
			c.problem(CheckMeta, 0, "lineage: log %s is cut at %d, above a later cut or the head", a.log, a.cut)
		}
	}
}
