package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sort"
	"unsafe"

	bolt "go.etcd.io/bbolt"
)

// The log's bucket has an entry for each event that was committed alone, and one for each run of events that were committed
// together: bbolt takes as long for an entry of 2 KiB as for one of 300 bytes, and for 16 pages in a row one write call. The key is the seq of the
// entry's last event, so that the first entry at or above a seq is the one that holds it. The value is a record, or a batch: its head,
// then the records of consecutive seqs. docs/storage.md, "Bucket log"; docs/decisions/0007 and 0009 have the reasons.

// Layout of a batch's head: mark (1), number of records (2), where each record ends, counted from the end of the head (2 each).
const (
	batchMark = 0x42 // no version of a record
	batchHead = 1 + 2
	batchEnd  = 2
)

// logEntry is one entry of the log's bucket.
type logEntry struct {
	first Seq
	n     int    // records
	ends  []byte // nil: the entry is one record
	recs  []byte
}

// parseEntry reads an entry. What makes no sense passes for one record that no check lets through, so that it cannot be
// overlooked.
func parseEntry(k, v []byte) logEntry {
	if len(k) != 8 || v == nil {
		return logEntry{n: 1, recs: []byte{}}
	}
	last := keySeq(k)
	alone := logEntry{first: last, n: 1, recs: v}
	if len(v) < batchHead || v[0] != batchMark {
		return alone
	}
	n := int(binary.BigEndian.Uint16(v[1:]))
	head := batchHead + n*batchEnd
	if n < 2 || head > len(v) || Seq(n) > last {
		return alone
	}
	e := logEntry{first: last - Seq(n) + 1, n: n, ends: v[batchHead:head:head], recs: v[head:]}
	if e.end(n-1) != len(e.recs) {
		return alone
	}
	return e
}

// end returns where record i ends.
func (e *logEntry) end(i int) int {
	if i < 0 {
		return 0
	}
	return int(binary.BigEndian.Uint16(e.ends[i*batchEnd:]))
}

// record returns record i, which is never nil.
func (e *logEntry) record(i int) []byte {
	if e.ends == nil {
		return e.recs
	}
	from, to := e.end(i-1), e.end(i)
	if from > to || to > len(e.recs) {
		return e.recs[:0:0] // no check lets it through
	}
	return e.recs[from:to:to]
}

// rises reports whether the ends of the records rise: else some of them are not where they were.
func (e *logEntry) rises() bool {
	for i := 1; e.ends != nil && i < e.n; i++ {
		if e.end(i-1) > e.end(i) {
			return false
		}
	}
	return true
}

// behind returns the value of the entry without the records up to a seq, in memory of its own.
func (e *logEntry) behind(seq Seq) []byte {
	var left []rawRecord
	for i := range e.n {
		if at := e.first + Seq(i); at > seq {
			left = append(left, rawRecord{at, e.record(i)})
		}
	}
	return appendEntry(nil, left)
}

// rawRecord is a record of the log as it stands there.
type rawRecord struct {
	seq Seq
	v   []byte
}

// logBucket reads the log in a transaction: its bucket, and behind that the records that are still in the journal. What it
// returns is valid within the transaction.
type logBucket struct {
	b      *bolt.Bucket
	behind []rawRecord // all of them may be in the bucket already
}

// logOf returns the log without what is in the journal.
func logOf(tx *bolt.Tx) logBucket { return logBucket{b: tx.Bucket(bucketLog)} }

// get returns the record at a seq, nil if there is none.
func (l logBucket) get(seq Seq) []byte {
	c := l.cursor()
	if at, rec := c.seek(seq); rec != nil && at == seq {
		return rec
	}
	return nil
}

// head returns the seq of the last record, the floor if there is none.
func (l logBucket) head(floor Seq) (Seq, error) {
	if n := len(l.behind); n > 0 {
		return l.behind[n-1].seq, nil
	}
	k, _ := l.b.Cursor().Last()
	switch {
	case k == nil:
		return floor, nil
	case len(k) != 8:
		return floor, corruptView("log: key %x", k)
	}
	return keySeq(k), nil
}

func (l logBucket) cursor() logCursor { return logCursor{c: l.b.Cursor(), behind: l.behind} }

// dropTo removes the records up to a seq, and tells whether an entry was cut in two.
func (l logBucket) dropTo(seq Seq) (cut bool, err error) {
	var gone [][]byte
	c := l.b.Cursor()
	k, v := c.First()
	for ; k != nil && keySeq(k) <= seq; k, v = c.Next() {
		gone = append(gone, bytes.Clone(k))
	}
	if k != nil {
		if e := parseEntry(k, v); e.first <= seq {
			if !e.rises() {
				return false, &CorruptError{Seq: keySeq(k), Err: errors.New("the head of its batch makes no sense")}
			}
			if err := l.b.Put(bytes.Clone(k), e.behind(seq)); err != nil {
				return false, err
			}
			cut = true
		}
	}
	for _, k := range gone {
		if err := l.b.Delete(k); err != nil {
			return false, err
		}
	}
	return cut, nil
}

// wholeLeaves returns the highest seq, up to a given one, behind which the log can be cut at little cost: without more than so many bytes that
// are written anew, into as many pages in a row, which a full disk may not have.
func (l logBucket) wholeLeaves(seq Seq, bytes int) Seq {
	c := l.b.Cursor()
	first, v := c.Seek(seqKey(seq))
	if first != nil && parseEntry(first, v).first > seq { // no event has this seq
		if first, _ = c.Prev(); first == nil {
			return 0
		}
		seq = keySeq(first)
	}
	if first == nil || l.rewritten(seq) <= bytes {
		return seq
	}
	for k, v := c.Prev(); k != nil; k, v = c.Prev() {
		if !sameLeaf(v, first) {
			return keySeq(k) // the end of the leaf before
		}
		first = k
	}
	return 0
}

// rewritten is how many bytes are written anew when the records up to a seq go: what is left of its leaf, and when that is but one
// entry, or small, bbolt puts the next leaf together with it.
func (l logBucket) rewritten(seq Seq) (size int) {
	c := l.b.Cursor()
	k, last := c.Seek(seqKey(seq))
	entries := 0
	if k != nil && keySeq(k) != seq {
		entries, size = 1, len(last)
	}
	leaf := func() {
		for k, v := c.Next(); k != nil; k, v = c.Next() {
			if !sameLeaf(last, k) {
				last = v
				return
			}
			entries, size, last = entries+1, size+len(v), v
		}
		last = nil
	}
	leaf()
	if entries > 0 && (entries == 1 || size <= mergedLeaf) && last != nil {
		size += len(last)
		leaf()
	}
	return size
}

// mergedLeaf is the size of a leaf that bbolt, with pages of 4 KiB, does not leave alone.
const mergedLeaf = 1024

// nextLeaf returns the first seq above a given one, and at most at a limit, behind which both a push and a leaf end; 0: there is none.
func (l logBucket) nextLeaf(seq, limit Seq) Seq {
	c := l.b.Cursor()
	k, v := c.Seek(seqKey(seq))
	for k != nil && keySeq(k) <= limit {
		next, w := c.Next()
		if !sameLeaf(v, next) && l.endsPush(keySeq(k)) {
			return keySeq(k)
		}
		k, v = next, w
	}
	return 0
}

// endsPush reports whether the record at a seq is the last one of its push.
func (l logBucket) endsPush(seq Seq) bool {
	var rec record
	v := l.get(seq)
	return v != nil && parseRecord(seq, v, &rec) == nil && !rec.Flags.Has(FlagMore)
}

// sameLeaf reports whether an entry's value and the key of the next one stand in the same leaf: then they touch.
func sameLeaf(v, next []byte) bool {
	return len(v) > 0 && len(next) > 0 && unsafe.Add(unsafe.Pointer(unsafe.SliceData(v)), len(v)) == unsafe.Pointer(unsafe.SliceData(next))
}

// logCursor walks the records of the log. Its methods return the seq and the record that they come to; the record is nil
// when there is none.
type logCursor struct {
	c      *bolt.Cursor
	behind []rawRecord
	e      logEntry
	i      int // in the entry
	past   int // where the entry is in behind, counted from 1; 0: it is in the bucket
	ahead  readAhead
}

// seek goes to the first record at or above a seq.
func (c *logCursor) seek(seq Seq) (Seq, []byte) {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], uint64(seq))
	if !c.enter(c.c.Seek(key[:])) {
		return c.pass(seq)
	}
	if seq > c.e.first {
		c.i = min(int(seq-c.e.first), c.e.n-1)
	}
	return c.here()
}

func (c *logCursor) first() (Seq, []byte) {
	if !c.enter(c.c.First()) {
		return c.pass(0)
	}
	return c.here()
}

func (c *logCursor) last() (Seq, []byte) {
	k, v := c.c.Last()
	if n := len(c.behind); n > 0 && endsBefore(k, c.behind[n-1].seq) {
		return c.at(n)
	}
	return c.end(k, v)
}

func (c *logCursor) next() (Seq, []byte) {
	if c.i++; c.i < c.e.n {
		return c.here()
	}
	if c.past > 0 {
		return c.at(c.past + 1)
	}
	above := c.e.first + Seq(c.e.n)
	if !c.enter(c.c.Next()) {
		return c.pass(above)
	}
	c.ahead.at(c.e.recs)
	return c.here()
}

func (c *logCursor) prev() (Seq, []byte) {
	if c.i--; c.i >= 0 {
		return c.here()
	}
	switch c.past {
	case 0:
		return c.end(c.c.Prev())
	case 1:
		return c.end(c.c.Last())
	}
	return c.at(c.past - 1)
}

// endsBefore reports whether the bucket, whose last key is k, ends before a seq.
func endsBefore(k []byte, seq Seq) bool { return k == nil || len(k) == 8 && keySeq(k) < seq }

// pass goes to the first record of the journal at or above a seq, which is above all that are in the bucket.
func (c *logCursor) pass(seq Seq) (Seq, []byte) {
	return c.at(1 + sort.Search(len(c.behind), func(i int) bool { return c.behind[i].seq >= seq }))
}

// at goes to a record of the journal, counted from 1.
func (c *logCursor) at(past int) (Seq, []byte) {
	c.e, c.i, c.past = logEntry{}, 0, 0
	if past > len(c.behind) {
		return 0, nil
	}
	r := c.behind[past-1]
	c.e, c.past = logEntry{first: r.seq, n: 1, recs: r.v}, past
	return c.here()
}

// enter takes up an entry of the bucket, at its first record.
func (c *logCursor) enter(k, v []byte) bool {
	c.e, c.i, c.past = logEntry{}, 0, 0
	if k == nil {
		return false
	}
	c.e = parseEntry(k, v)
	return true
}

func (c *logCursor) end(k, v []byte) (Seq, []byte) {
	if !c.enter(k, v) {
		return 0, nil
	}
	c.i = c.e.n - 1
	return c.here()
}

func (c *logCursor) here() (Seq, []byte) { return c.e.first + Seq(c.i), c.e.record(c.i) }
