package store

import (
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// formatVersion is that of the whole file. Every later version opens the files of earlier ones.
const formatVersion = 4

// The buckets of a file; docs/storage.md tells what each holds.
var (
	bucketMeta      = []byte("meta")
	bucketLog       = []byte("log")
	bucketHeads     = []byte("heads")
	bucketDocs      = []byte("docs")
	bucketIDs       = []byte("ids")
	bucketBaseHeads = []byte("base-heads")
	bucketBaseDocs  = []byte("base-docs")
	bucketJournal   = []byte("journal") // may be missing
)

var allBuckets = [][]byte{bucketMeta, bucketLog, bucketHeads, bucketDocs, bucketIDs, bucketBaseHeads, bucketBaseDocs}

// The keys of the meta bucket.
var (
	metaFormat     = []byte("format")
	metaIdentity   = []byte("identity")
	metaLineage    = []byte("lineage")
	metaCheckpoint = []byte("checkpoint")
	metaFloor      = []byte("floor")
)

// identity is what a log is born with.
type identity struct {
	log     ID
	created int64 // Unix ms
	sparse  bool  // events come from a sequencer elsewhere (Apply), seqs may have holes
}

// ancestor is a log that this one was restored from: cursors of it that are not above cut go on here.
type ancestor struct {
	log ID
	cut Seq
}

// checkpoint is how far the views' buckets contain the log.
type checkpoint struct {
	seq   Seq
	bytes int64 // of the records in the log up to seq
}

// floorMark is the newest event that trimming has removed.
type floorMark struct {
	seq Seq
	crc uint32 // what the next record is chained to
	id  ID
	at  int64
}

func putMeta(tx *bolt.Tx, key, value []byte) error {
	return tx.Bucket(bucketMeta).Put(key, sealed(key, value))
}

func openMeta(tx *bolt.Tx, key []byte) decoder { return unsealed(key, tx.Bucket(bucketMeta).Get(key)) }

func putIdentity(tx *bolt.Tx, id identity) error {
	b := append([]byte(nil), id.log[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(id.created))
	var sparse byte
	if id.sparse {
		sparse = 1
	}
	return putMeta(tx, metaIdentity, append(b, sparse))
}

func getIdentity(tx *bolt.Tx) (identity, error) {
	d := openMeta(tx, metaIdentity)
	id := identity{log: d.id(), created: int64(d.uint64()), sparse: d.byte() != 0}
	if d.bad || id.log.IsZero() {
		return id, corruptView("meta: identity")
	}
	return id, nil
}

func putLineage(tx *bolt.Tx, as []ancestor) error {
	var b []byte
	for _, a := range as {
		b = append(b, a.log[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(a.cut))
	}
	return putMeta(tx, metaLineage, b)
}

func getLineage(tx *bolt.Tx) (as []ancestor, err error) {
	d := openMeta(tx, metaLineage)
	for len(d.b) > 0 && !d.bad {
		as = append(as, ancestor{log: d.id(), cut: Seq(d.uint64())})
	}
	if d.bad {
		return nil, corruptView("meta: lineage")
	}
	return as, nil
}

func putCheckpoint(tx *bolt.Tx, c checkpoint) error {
	b := binary.BigEndian.AppendUint64(nil, uint64(c.seq))
	return putMeta(tx, metaCheckpoint, binary.BigEndian.AppendUint64(b, uint64(c.bytes)))
}

func getCheckpoint(tx *bolt.Tx) (checkpoint, error) {
	d := openMeta(tx, metaCheckpoint)
	c := checkpoint{seq: Seq(d.uint64()), bytes: int64(d.uint64())}
	if d.bad {
		return c, corruptView("meta: checkpoint")
	}
	return c, nil
}

func putFloor(tx *bolt.Tx, f floorMark) error {
	b := binary.BigEndian.AppendUint64(nil, uint64(f.seq))
	b = binary.BigEndian.AppendUint32(b, f.crc)
	b = append(b, f.id[:]...)
	return putMeta(tx, metaFloor, binary.BigEndian.AppendUint64(b, uint64(f.at)))
}

func getFloor(tx *bolt.Tx) (floorMark, error) {
	d := openMeta(tx, metaFloor)
	f := floorMark{seq: Seq(d.uint64()), crc: d.uint32(), id: d.id(), at: int64(d.uint64())}
	if d.bad {
		return f, corruptView("meta: floor")
	}
	return f, nil
}

// initBuckets makes an empty log.
func initBuckets(tx *bolt.Tx, id identity) error {
	for _, name := range allBuckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	if err := putFormat(tx); err != nil {
		return err
	}
	if err := putIdentity(tx, id); err != nil {
		return err
	}
	if err := putLineage(tx, nil); err != nil {
		return err
	}
	if err := putFloor(tx, floorMark{}); err != nil {
		return err
	}
	if err := putCheckpoint(tx, checkpoint{}); err != nil {
		return err
	}
	return createIDs(tx)
}

func newIdentity() identity { return identity{log: NewID(), created: time.Now().UnixMilli()} }

// upgrade brings a file of an earlier version to this one, and gives it a journal if it has none, synced by bbolt's own rule.
// Version 2 brought seals, version 3 batches of records in the log, version 4 the journal: a program that does not know them must not
// touch such a file. On a full disk the file does without a journal until a later start.
func upgrade(db *bolt.DB, journalBlocks int) error {
	var d decoder
	journal := false
	err := db.View(func(tx *bolt.Tx) error {
		d.b = append(d.b, tx.Bucket(bucketMeta).Get(metaFormat)...)
		journal = tx.Bucket(bucketJournal) != nil
		return nil
	})
	if err != nil {
		return err
	}
	db.NoSync = false
	defer func() { db.NoSync = true }()
	if d.uint32() != formatVersion {
		err = db.Update(putFormat)
	}
	if err != nil || journal {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error { return createJournal(tx, journalBlocks) })
	if diskFull(err) {
		return nil
	}
	return err
}

func putFormat(tx *bolt.Tx) error {
	return tx.Bucket(bucketMeta).Put(metaFormat, binary.BigEndian.AppendUint32(nil, formatVersion))
}

// checkFormat refuses what is no store or a newer one.
func checkFormat(tx *bolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return ErrNotStore
	}
	d := decoder{b: meta.Get(metaFormat)}
	v := d.uint32()
	switch {
	case d.bad:
		return ErrNotStore
	case v > formatVersion:
		return fmt.Errorf("%w: it has version %d, this program reads up to %d", ErrNewerFormat, v, formatVersion)
	}
	for _, name := range allBuckets {
		if tx.Bucket(name) == nil {
			return corruptView("bucket %q is missing", name)
		}
	}
	return nil
}
