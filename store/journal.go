package store

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"unsafe"

	bolt "go.etcd.io/bbolt"
)

// The journal is what makes a small commit cheap. A transaction of bbolt writes half a dozen pages in as many places, however
// little it is about; a small group of records goes instead, as one entry, into pages that were set aside for that in the
// file, in one write. The next transaction, whatever it is for, first puts what the journal holds into the log's bucket, and then the
// journal is written from its beginning again: an entry counts while its records are above the bucket's. Until then readers find them
// in memory (logBucket). docs/storage.md, "Journal", and docs/decisions/0008 tell why this is sound.
type journal struct {
	f     *os.File
	key   [journalKeyLen]byte
	page  int
	at    int64 // where its first page is in the file
	pages int
	span  int  // the most pages that an entry takes
	blind bool // tests: leave the checksums out
	used  int  // pages, from the first one
	out   []byte
}

// The bucket of the journal has one entry, whose value covers the pages. It begins with a random key; the first page that holds
// nothing else is the first of the journal.
var journalEntryName = []byte("pages")

const (
	journalPages = 128
	journalSpan  = 16
)

// journalSize can be another one in tests.
type journalSize struct {
	pages int // of a journal that is made
	span  int // the most pages that an entry takes; negative: there are no entries
}

// Layout of an entry, which begins with a page: the file's key, length of the entry, seq of the first record, number of records; the
// records, each preceded by its length; checksum of all before. Nobody outside knows the key, so that no data of a client can pass for an entry.
const (
	journalKeyLen = 16
	journalHead   = journalKeyLen + 4 + 8 + 4
	journalSum    = 4
)

// errJournal: the journal is not what was written.
var errJournal = errors.New("journal")

func corruptJournal(format string, a ...any) error {
	return &CorruptError{Err: fmt.Errorf("%w: %s", errJournal, fmt.Sprintf(format, a...))}
}

// createJournal sets the pages aside.
func createJournal(tx *bolt.Tx, pages int) error {
	b, err := tx.CreateBucketIfNotExists(bucketJournal)
	if err != nil || b.Get(journalEntryName) != nil {
		return err
	}
	value := make([]byte, (1+pages)*tx.DB().Info().PageSize-journalLead)
	if _, err := rand.Read(value[:journalKeyLen]); err != nil {
		return err
	}
	return b.Put(journalEntryName, value)
}

// journalLead is what stands in the first page of the bucket before the value.
var journalLead = pageHeader + pageElement + len(journalEntryName)

// openJournal returns the journal of a file and what it holds; nil: the file has none.
func openJournal(tx *bolt.Tx, blind bool) (*journal, []rawRecord, error) {
	b := tx.Bucket(bucketJournal)
	if b == nil {
		return nil, nil, nil
	}
	info := tx.DB().Info()
	v := b.Get(journalEntryName)
	j := &journal{blind: blind, page: info.PageSize, pages: (len(v)+journalLead)/info.PageSize - 1}
	lead := info.PageSize - journalLead
	if len(v) < lead || lead < journalKeyLen || j.pages < 1 || len(v) != lead+j.pages*j.page {
		return nil, nil, corruptJournal("it has %d bytes", len(v))
	}
	j.at = int64(uintptr(unsafe.Pointer(&v[lead])) - info.Data)
	if j.at%int64(j.page) != 0 {
		return nil, nil, corruptJournal("it does not begin with a page")
	}
	copy(j.key[:], v)
	floor, err := getFloor(tx)
	if err != nil {
		return nil, nil, err
	}
	head, err := logOf(tx).head(floor.seq)
	if err != nil {
		return nil, nil, err
	}
	held, err := j.load(v[lead:], head)
	return j, held, err
}

// load reads the entries above the last seq of the log's bucket, and makes the journal go on behind them. What is no entry was
// never whole, and so never happened, unless an entry follows it: then the journal is damaged.
func (j *journal) load(pages []byte, head Seq) (held []rawRecord, err error) {
	next := head + 1
	for at := 0; at < j.pages; at++ {
		records, n := j.parse(pages[at*j.page:])
		if n == 0 || records[0].seq <= head {
			continue
		}
		if at != j.used || records[0].seq != next {
			return nil, corruptJournal("what stands before event %d is damaged", records[0].seq)
		}
		for i := range records {
			records[i].v = append([]byte(nil), records[i].v...)
		}
		held = append(held, records...)
		next += Seq(len(records))
		j.used += j.pagesOf(n)
		at = j.used - 1
	}
	return held, nil
}

// parse reads the entry at the beginning of b and returns how many bytes it has; 0: there is none. The records share memory with b.
func (j *journal) parse(b []byte) (records []rawRecord, size int) {
	if len(b) < journalHead+journalSum || [journalKeyLen]byte(b) != j.key {
		return nil, 0
	}
	size = int(binary.BigEndian.Uint32(b[journalKeyLen:]))
	if size < journalHead+journalSum || size > len(b) {
		return nil, 0
	}
	end := size - journalSum
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) && !j.blind {
		return nil, 0
	}
	d := decoder{b: b[journalKeyLen+4 : end : end]}
	seq, n := Seq(d.uint64()), d.uint32()
	for i := range Seq(n) {
		if records = append(records, rawRecord{seq + i, d.bytes()}); d.bad {
			return nil, 0
		}
	}
	if n == 0 || len(d.b) > 0 && !j.blind {
		return nil, 0
	}
	return records, size
}

// settle makes durable what was loaded: after a failed sync the page cache may show what the disk does not have.
func (j *journal) settle(sync func() error) error {
	pages := make([]byte, j.used*j.page)
	if _, err := j.f.ReadAt(pages, j.at); err != nil {
		return err
	}
	if _, err := j.f.WriteAt(pages, j.at); err != nil {
		return err
	}
	return sync()
}

// room reports whether an entry with so many records of so many bytes in all fits.
func (j *journal) room(records, bytes int) bool {
	if j == nil {
		return false
	}
	n := j.pagesOf(journalHead + records*binary.MaxVarintLen32 + bytes + journalSum)
	return n <= j.span && j.used+n <= j.pages
}

func (j *journal) pagesOf(bytes int) int { return (bytes + j.page - 1) / j.page }

// write appends an entry of consecutive records, which is on disk when the file was synced.
func (j *journal) write(records []rawRecord) error {
	b := append(j.out[:0], j.key[:]...)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(records[0].seq))
	b = binary.BigEndian.AppendUint32(b, uint32(len(records)))
	for _, r := range records {
		b = append(binary.AppendUvarint(b, uint64(len(r.v))), r.v...)
	}
	binary.BigEndian.PutUint32(b[journalKeyLen:], uint32(len(b)+journalSum))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	n := j.pagesOf(len(b))
	b = append(b, make([]byte, n*j.page-len(b))...) // whole pages: the kernel need not read them first
	j.out = b
	if _, err := j.f.WriteAt(b, j.at+int64(j.used)*int64(j.page)); err != nil {
		return err
	}
	j.used += n
	return nil
}
