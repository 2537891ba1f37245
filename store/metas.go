package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"syscall"
)

// The layout of a bbolt meta page, as far as recovery needs it: a page header of 16 bytes, then the meta, whose last
// field is the FNV-64a of those before it.
const (
	metaAt       = pageHeader
	metaSum      = 56 // offset of the checksum within the meta
	metaLen      = metaSum + 8
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	minPage      = 1 << 10
	maxPage      = 1 << 24
	metaPageSize = 8  // offset of the page size within the meta
	metaRoot     = 16 // offset of the page of the buckets
	metaFreelist = 32 // offset of the number of the page that lists the free ones
	metaHigh     = 40 // offset of the number of pages
	metaTxid     = 48 // offset of the transaction id
)

// metaPage is one of the two meta pages as read.
type metaPage struct {
	at     int64
	page   []byte
	valid  bool
	sealed bool
	seal   seal

	size                       int
	root, freelist, high, txid uint64
	sum                        uint64
}

// recoverMetas brings the file to its last whole commit and makes that durable, whatever the page cache shows of what the
// disk does not have. What a seal lists is written again as it was read, then the meta page that is not believed, then the other,
// each followed by an fsync, so that one of the two stays whole on disk.
func recoverMetas(f *os.File) error {
	size, err := pageSizeOf(f)
	if err != nil {
		return err
	}
	last, other, err := lastCommit(f, size)
	if err != nil {
		return err
	}
	p := pageFile{f: f, size: size, high: last.high}
	for _, s := range last.seal.pages {
		b, err := p.bytes(s.id, uint64(s.pages))
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(b, int64(s.id)*int64(size)); err != nil {
			return err
		}
	}
	if !other.valid || other.txid > last.txid {
		other.clear() // it never happened
	}
	for _, m := range []metaPage{other, last} {
		if _, err := f.WriteAt(m.page, m.at); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// clear makes it a meta page that says nothing.
func (m *metaPage) clear() {
	clear(m.page)
	binary.NativeEndian.PutUint64(m.page, uint64(m.at)/uint64(len(m.page)))
	binary.NativeEndian.PutUint16(m.page[8:], kindMeta)
}

// lastCommit returns the meta page of the last commit of which everything is there, and the other one.
func lastCommit(f *os.File, size int) (last, other metaPage, err error) {
	older, newer, err := readMetas(f, size, size)
	switch {
	case err != nil:
		return last, other, err
	case !older.sealed && !newer.sealed: // bbolt's own rule: it synced all before the meta page
		return newer, older, nil
	}
	for _, m := range [][2]metaPage{{newer, older}, {older, newer}} {
		if whole, err := m[0].whole(f); err != nil || whole {
			return m[0], m[1], err
		}
	}
	return last, other, &CorruptError{Err: errors.New("of the last two commits, neither is whole")}
}

// whole reports whether everything that the commit wrote is there.
func (m *metaPage) whole(f *os.File) (bool, error) {
	if !m.sealed {
		return false, nil
	}
	p := pageFile{f: f, size: m.size, high: m.high}
	for _, s := range m.seal.pages {
		if ok, err := p.holds(s); !ok {
			return false, err
		}
	}
	return true, nil
}

// ensureWhole recovers a file that is to be read only, if its last process ended in the middle of a commit.
func ensureWhole(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil {
		return nil // bbolt tells that it is in use
	}
	size, err := pageSizeOf(f)
	if err != nil {
		return nil // bbolt tells what is wrong with it
	}
	last, other, err := lastCommit(f, size)
	if err != nil || !other.valid || other.txid < last.txid {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_UN); err != nil {
		return err
	}
	if err := Recover(path); err != nil {
		return fmt.Errorf("store: %s ends in the middle of a commit, which is to be taken back first: %w", path, err)
	}
	return nil
}

// readMetas reads n bytes of both meta pages; newer is the valid one with the higher transaction id.
func readMetas(f *os.File, size, n int) (older, newer metaPage, err error) {
	older, err = readMeta(f, 0, n)
	if err != nil {
		return older, newer, err
	}
	newer, err = readMeta(f, int64(size), n)
	if err != nil {
		return older, newer, err
	}
	if !newer.valid || (older.valid && older.txid > newer.txid) {
		older, newer = newer, older
	}
	return older, newer, nil
}

func readMeta(f *os.File, at int64, n int) (metaPage, error) {
	page := make([]byte, n)
	if _, err := f.ReadAt(page, at); err != nil {
		return metaPage{}, err
	}
	m := parseMeta(page)
	m.at, m.page = at, page
	if m.valid {
		m.seal, m.sealed = parseSeal(page)
	}
	return m, nil
}

// parseMeta reads what bbolt has in a meta page.
func parseMeta(page []byte) (m metaPage) {
	if len(page) < metaAt+metaLen {
		return m
	}
	b := page[metaAt : metaAt+metaLen]
	h := fnv.New64a()
	h.Write(b[:metaSum])
	field := func(at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
	m.size = int(binary.NativeEndian.Uint32(b[metaPageSize:]))
	m.root, m.freelist, m.high, m.txid, m.sum = field(metaRoot), field(metaFreelist), field(metaHigh), field(metaTxid), field(metaSum)
	m.valid = binary.NativeEndian.Uint32(b) == boltMagic && binary.NativeEndian.Uint32(b[4:]) == boltVersion && m.sum == h.Sum64()
	return m
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
		if m := parseMeta(buf[:]); m.valid && m.size >= minPage && m.size <= maxPage {
			return m.size, nil
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
	n, err := pageSizeOf(f)
	if err != nil {
		return 0, 0, err
	}
	_, newer, err := readMetas(f, n, metaAt+metaLen)
	if err != nil {
		return 0, 0, err
	}
	size = int64(n)
	var head [metaAt + 8]byte // of a page: number (8), flags (2), count (2), overflow (4); then of the list its length, if count has no room for it
	if _, err := f.ReadAt(head[:], int64(newer.freelist)*size); err != nil {
		return 0, 0, err
	}
	if pages = int64(binary.NativeEndian.Uint16(head[10:])); pages == 0xffff {
		pages = int64(binary.NativeEndian.Uint64(head[metaAt:]))
	}
	return pages, size, nil
}
