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
// little it is about; a small group of records goes instead, as one entry, into blocks that were set aside for that in the
// file, in one write. The next transaction, whatever it is for, first puts what the journal holds into the log's bucket, and then the
// journal is written from its beginning again: an entry counts while its records are above the bucket's. Until then readers find them
// in memory (logBucket). docs/storage.md, "Journal", and docs/decisions/0008 tell why this is sound.
type journal struct {
	f      *os.File
	key    [journalKeyLen]byte
	at     int64 // where its first block is in the file
	blocks int
	span   int  // the most blocks that an entry takes
	used   int  // blocks, from the first one
	blind  bool // tests: leave the checksums out

	found []byte // what was read of it at the start
	out   []byte
}

// The bucket of the journal has one entry. Its value is a head, then as many blocks as the head says, the first of them at the next
// multiple of journalBlock in the file.
var journalEntryName = []byte("blocks")

const (
	journalBlock  = 4096
	journalBlocks = 128
	journalSpan   = 16

	// Layout of the value's head: a random key, the number of blocks, checksum.
	journalKeyLen   = 16
	journalValueLen = journalKeyLen + 4 + 4
)

// Layout of an entry, which begins with a block: the file's key, length of the entry, seq of the first record, number of records; the
// records, each preceded by its length; checksum of all before. Nobody outside knows the key, so that no data of a client can pass for an
// entry.
const (
	journalHead = journalKeyLen + 4 + 8 + 4
	journalSum  = 4
)

// journalSize can be another one in tests.
type journalSize struct {
	blocks int // of a journal that is made
	span   int // the most blocks that an entry takes; negative: there are no entries
}

// errJournal: the journal is not what was written.
var errJournal = errors.New("journal")

func corruptJournal(seq Seq, format string, a ...any) error {
	return &CorruptError{Seq: seq, Err: fmt.Errorf("%w: %s", errJournal, fmt.Sprintf(format, a...))}
}

// createJournal sets the blocks aside.
func createJournal(tx *bolt.Tx, blocks int) error {
	b, err := tx.CreateBucket(bucketJournal)
	if err != nil {
		return err
	}
	value := make([]byte, journalValueLen+(1+blocks)*journalBlock)
	if _, err := rand.Read(value[:journalKeyLen]); err != nil {
		return err
	}
	binary.BigEndian.PutUint32(value[journalKeyLen:], uint32(blocks))
	binary.BigEndian.PutUint32(value[journalKeyLen+4:], crc32.Checksum(value[:journalKeyLen+4], castagnoli))
	return b.Put(journalEntryName, value)
}

// findJournal returns the journal of a file as it was before anything is read of it; nil: the file has none. next is the seq behind the log's
// bucket.
func findJournal(tx *bolt.Tx, next Seq) (*journal, error) {
	b := tx.Bucket(bucketJournal)
	if b == nil {
		return nil, nil
	}
	v := b.Get(journalEntryName)
	if len(v) < journalValueLen+2*journalBlock ||
		crc32.Checksum(v[:journalKeyLen+4], castagnoli) != binary.BigEndian.Uint32(v[journalKeyLen+4:]) {
		return nil, corruptJournal(next, "it has no head")
	}
	j := &journal{key: [journalKeyLen]byte(v), blocks: int(binary.BigEndian.Uint32(v[journalKeyLen:]))}
	if len(v) != journalValueLen+(1+j.blocks)*journalBlock {
		return nil, corruptJournal(next, "%d bytes for %d blocks", len(v), j.blocks)
	}
	value := int64(uintptr(unsafe.Pointer(&v[0])) - tx.DB().Info().Data) // its place in the file, for the file is mapped
	j.at = (value + journalValueLen + journalBlock - 1) / journalBlock * journalBlock
	if value < 0 || value+int64(len(v)) > tx.Size() {
		return nil, corruptJournal(next, "it is not in the file")
	}
	j.found = append(j.found, v[j.at-value:][:j.blocks*journalBlock]...)
	return j, nil
}

// openJournal returns the journal of a file, ready to go on behind what it holds, and that: the records above those of the log's bucket.
// The journal is nil when the file has none. blind is for tests.
func openJournal(tx *bolt.Tx, blind bool) (*journal, []rawRecord, error) {
	floor, err := getFloor(tx)
	if err != nil {
		return nil, nil, err
	}
	head, err := logOf(tx).head(floor.seq)
	if err != nil {
		return nil, nil, err
	}
	j, err := findJournal(tx, head+1)
	if err != nil || j == nil {
		return nil, nil, err
	}
	j.blind = blind
	held, err := j.load(head)
	return j, held, err
}

// load reads the entries above the last seq of the log's bucket. What is no entry was never whole, and so never happened, unless
// an entry follows it: then the journal is damaged, and what stands before that is returned with the error.
func (j *journal) load(head Seq) (held []rawRecord, err error) {
	next := head + 1
	for at := 0; at < j.blocks; at++ {
		records, n := j.parse(j.found[at*journalBlock:])
		if n == 0 || records[0].seq <= head {
			continue
		}
		if at != j.used || records[0].seq != next {
			return held, corruptJournal(next, "what follows event %d is damaged", next-1)
		}
		held = append(held, records...)
		next += Seq(len(records))
		j.used += blocksOf(n)
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

// settle writes again what was loaded and makes it durable: after a failed sync the page cache may show what the disk does not have.
func (j *journal) settle(sync func() error) error {
	found := j.found[:j.used*journalBlock]
	j.found = nil
	if len(found) == 0 {
		return nil
	}
	if _, err := j.f.WriteAt(found, j.at); err != nil {
		return err
	}
	return sync()
}

// room reports whether an entry with so many records of so many bytes in all fits.
func (j *journal) room(records, bytes int) bool {
	if j == nil {
		return false
	}
	n := blocksOf(journalHead + records*binary.MaxVarintLen32 + bytes + journalSum)
	return n <= j.span && j.used+n <= j.blocks
}

func blocksOf(bytes int) int { return (bytes + journalBlock - 1) / journalBlock }

// write appends an entry, which is on disk when the file was synced.
func (j *journal) write(records []rawRecord) error {
	b := j.entry(records)
	if _, err := j.f.WriteAt(b, j.at+int64(j.used)*journalBlock); err != nil {
		return err
	}
	j.used += len(b) / journalBlock
	return nil
}

// entry makes an entry of records with consecutive seqs, valid until the next call. It fills its blocks, so that the kernel need not read
// them before.
func (j *journal) entry(records []rawRecord) []byte {
	b := append(j.out[:0], j.key[:]...)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(records[0].seq))
	b = binary.BigEndian.AppendUint32(b, uint32(len(records)))
	for _, r := range records {
		b = append(binary.AppendUvarint(b, uint64(len(r.v))), r.v...)
	}
	binary.BigEndian.PutUint32(b[journalKeyLen:], uint32(len(b)+journalSum))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	j.out = append(b, make([]byte, blocksOf(len(b))*journalBlock-len(b))...)
	return j.out
}
