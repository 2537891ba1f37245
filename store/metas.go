package store

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"os"
)

// The layout of a bbolt meta page, as far as recovery needs it: a page header of 16 bytes, then the meta, whose last
// field is the FNV-64a of those before it.
const (
	metaAt       = 16
	metaSum      = 56 // offset of the checksum within the meta
	metaLen      = metaSum + 8
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	minPage      = 1 << 10
	maxPage      = 1 << 24
	metaPageSize = 8  // offset of the page size within the meta
	metaFreelist = 32 // offset of the number of the page that lists the free ones
	metaTxid     = 48 // offset of the transaction id
)

// metaPage is one of the two meta pages as read.
type metaPage struct {
	at    int64
	page  []byte
	txid  uint64
	valid bool
}

// rewriteMetas writes both meta pages as they read now, each followed by an fsync: the older or invalid one first, so that
// the newer one stays whole on disk until the other is safe.
func rewriteMetas(f *os.File) error {
	older, newer, err := readMetas(f)
	if err != nil {
		return err
	}
	for _, m := range []metaPage{older, newer} {
		if _, err := f.WriteAt(m.page, m.at); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

func readMetas(f *os.File) (older, newer metaPage, err error) {
	size, err := pageSizeOf(f)
	if err != nil {
		return older, newer, err
	}
	older, err = readMeta(f, 0, size)
	if err != nil {
		return older, newer, err
	}
	newer, err = readMeta(f, int64(size), size)
	if err != nil {
		return older, newer, err
	}
	if !newer.valid || (older.valid && older.txid > newer.txid) {
		older, newer = newer, older
	}
	return older, newer, nil
}

func readMeta(f *os.File, at int64, size int) (metaPage, error) {
	m := metaPage{at: at, page: make([]byte, size)}
	if _, err := io.ReadFull(io.NewSectionReader(f, at, int64(size)), m.page); err != nil {
		return m, err
	}
	_, m.txid, m.valid = parseMeta(m.page)
	return m, nil
}

// parseMeta reports whether the page holds a valid meta, with its page size and transaction id.
func parseMeta(page []byte) (size int, txid uint64, ok bool) {
	if len(page) < metaAt+metaLen {
		return 0, 0, false
	}
	m := page[metaAt : metaAt+metaLen]
	h := fnv.New64a()
	h.Write(m[:metaSum])
	ok = binary.NativeEndian.Uint32(m) == boltMagic && binary.NativeEndian.Uint32(m[4:]) == boltVersion &&
		binary.NativeEndian.Uint64(m[metaSum:]) == h.Sum64()
	return int(binary.NativeEndian.Uint32(m[metaPageSize:])), binary.NativeEndian.Uint64(m[metaTxid:]), ok
}

// pageSizeOf finds the page size in whichever meta is valid.
func pageSizeOf(f *os.File) (int, error) {
	var buf [metaAt + metaLen]byte
	for at := int64(0); at <= maxPage; {
		_, err := f.ReadAt(buf[:], at)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		if size, _, ok := parseMeta(buf[:]); ok && size >= minPage && size <= maxPage {
			return size, nil
		}
		if at == 0 {
			at = minPage
		} else {
			at *= 2
		}
	}
	return 0, ErrNotStore
}

// freePages counts the free pages of the file as of the last commit, those that were freed by it included.
func freePages(f *os.File) (pages, size int64, err error) {
	_, newer, err := readMetas(f)
	if err != nil {
		return 0, 0, err
	}
	size = int64(len(newer.page))
	var head [metaAt + 8]byte // of a page: number (8), flags (2), count (2), overflow (4); then of the list its length, if count has no room for it
	at := int64(binary.NativeEndian.Uint64(newer.page[metaAt+metaFreelist:])) * size
	if _, err := f.ReadAt(head[:], at); err != nil {
		return 0, 0, err
	}
	if pages = int64(binary.NativeEndian.Uint16(head[10:])); pages == 0xffff {
		pages = int64(binary.NativeEndian.Uint64(head[metaAt:]))
	}
	return pages, size, nil
}
