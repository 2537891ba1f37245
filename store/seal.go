package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
)

// A seal makes one fsync a commit enough. bbolt writes a transaction's pages and then the meta page that points to them, and
// needs a sync between the two, because the disk may keep the second and lose the first. Here it syncs nothing itself:
// behind the meta page stands a seal with the checksum of each page that the transaction wrote, and one sync covers all. What a
// start finds of a transaction either matches its seal, and then all of it is there, or never happened.
//
// Only a commit that did nothing but append to the log has its pages listed; they are few and easy to find. Any other
// is synced first and sealed with an empty list then: the seal is what bbolt's meta page was. docs/storage.md, "Seals", and
// docs/decisions/0006 tell why this is sound.
type seal struct {
	meta  uint64 // the checksum of the meta page that it belongs to
	pages []sealedPage
}

// Layout of a seal, behind the meta that bbolt keeps in the first sector of the same page.
const (
	sealAt    = 512 // so that no write of one tears the other
	sealMagic = "SEAL"
	sealHead  = 4 + 2 + 8 // magic, number of pages, checksum of the meta
	sealEntry = 8 + 4 + 4
	sealSum   = 4
)

// sealRoom is how many pages a seal can list.
func sealRoom(pageSize int) int { return (pageSize - sealAt - sealHead - sealSum) / sealEntry }

func (s *seal) append(b []byte) []byte {
	start := len(b)
	b = append(b, sealMagic...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.pages)))
	b = binary.BigEndian.AppendUint64(b, s.meta)
	for _, p := range s.pages {
		b = binary.BigEndian.AppendUint64(b, p.id)
		b = binary.BigEndian.AppendUint32(b, p.pages)
		b = binary.BigEndian.AppendUint32(b, p.sum)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// parseSeal reads the seal of a meta page; false: there is none that belongs to this meta.
func parseSeal(page []byte) (s seal, ok bool) {
	if len(page) < sealAt+sealHead+sealSum || string(page[sealAt:sealAt+4]) != sealMagic {
		return s, false
	}
	b := page[sealAt:]
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n > sealRoom(len(page)) {
		return s, false
	}
	end := sealHead + n*sealEntry
	s.meta = binary.BigEndian.Uint64(b[6:])
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) || s.meta != parseMeta(page).sum {
		return s, false
	}
	for e := b[sealHead:end]; len(e) > 0; e = e[sealEntry:] {
		s.pages = append(s.pages, sealedPage{
			binary.BigEndian.Uint64(e), binary.BigEndian.Uint32(e[8:]), binary.BigEndian.Uint32(e[12:]),
		})
	}
	return s, true
}

// sealer makes commits durable. It belongs to the writer goroutine, or to Open before that runs.
type sealer struct {
	pageFile
	sync  func() error
	blind bool // tests: leave out the checksums

	tree, next treeEdge // of the last transaction, and of the one before it or to come
	list       []sealedPage
	below      [][]uint64 // scratch of walk: the children of a page of each depth
	met        []int      // how many of tree's children of each depth were met again
	out        []byte
}

// treeEdge is what an append to the log changes of the buckets: the right edge of the log's tree.
type treeEdge struct {
	txid     uint64     // of the transaction that left it so; 0: not known
	roots    []uint64   // of the buckets
	log      int        // which of them is that of the log
	children [][]uint64 // of the last branch page of each depth, from the root down
}

func newSealer(f *os.File, sync func() error) (*sealer, error) {
	size, err := pageSizeOf(f)
	if err != nil {
		return nil, err
	}
	return &sealer{pageFile: pageFile{f: f, size: size}, sync: sync}, nil
}

// commit makes the transaction durable that bbolt has just written. It reports whether one sync was enough. An error leaves
// unknown what is on the disk.
func (l *sealer) commit() (once bool, err error) {
	older, newer, err := l.metas(metaAt + metaLen)
	if err != nil {
		return false, err
	}
	pages, err := l.fresh(&older, &newer)
	if l.blind {
		pages, err = nil, nil
	}
	once = err == nil
	if !once {
		if !errors.Is(err, errNotListed) && !errors.Is(err, errPages) {
			return false, err
		}
		if err := l.sync(); err != nil { // before the seal says that everything is there
			return false, err
		}
	}
	l.tree, l.next = l.next, l.tree
	return once, l.write(&newer, pages)
}

// write writes a seal and makes it durable, with all that was written before.
func (l *sealer) write(m *metaPage, pages []sealedPage) error {
	s := seal{meta: m.sum, pages: pages}
	l.out = s.append(l.out[:0])
	if _, err := l.f.WriteAt(l.out, m.at+sealAt); err != nil {
		return err
	}
	return l.sync()
}

// begin seals what the file holds, which is on disk, unless that was done: from now on, what has no seal never happened.
func (l *sealer) begin() error {
	_, newer, err := l.metas(l.size)
	if err != nil || newer.sealed {
		return err
	}
	return l.write(&newer, nil)
}

// end takes the seals away, the older one first: after it, the file is one that bbolt alone, and whoever knows it, can judge.
func (l *sealer) end() error {
	older, newer, err := l.metas(l.size)
	if err != nil {
		return err
	}
	for _, m := range []metaPage{older, newer} {
		if _, err := l.f.WriteAt(make([]byte, l.size-sealAt), m.at+sealAt); err != nil {
			return err
		}
		if err := l.sync(); err != nil {
			return err
		}
	}
	return nil
}

// metas reads n bytes of both meta pages.
func (l *sealer) metas(n int) (older, newer metaPage, err error) {
	older, newer, err = readMetas(l.f, l.size, n)
	if err == nil && !newer.valid {
		err = ErrNotStore
	}
	l.high = newer.high
	return older, newer, err
}

// errNotListed: the pages of a transaction are not listed in its seal.
var errNotListed = errors.New("store: more than an append to the log, or a long one")

// fresh lists the pages that the newest transaction wrote. What is in the tree before it is not written by it, so whatever both
// trees have needs no look; and an append changes nothing but the right edge of the log. That a page is listed although both have it
// does no harm.
func (l *sealer) fresh(older, newer *metaPage) ([]sealedPage, error) {
	if err := l.look(newer, &l.next); err != nil {
		return nil, err
	}
	if !older.valid || older.txid+1 != newer.txid {
		return nil, errNotListed
	}
	if l.tree.txid != older.txid {
		if err := l.look(older, &l.tree); err != nil {
			return nil, err
		}
	}
	if !l.next.appendsTo(&l.tree) {
		return nil, errNotListed
	}
	l.list, l.met = l.list[:0], l.met[:0]
	for range l.next.children {
		l.met = append(l.met, 0)
	}
	if err := l.walk(l.next.roots[l.next.log], 0); err != nil {
		return nil, err
	}
	for _, id := range []uint64{newer.root, newer.freelist} {
		if _, err := l.take(id); err != nil {
			return nil, err
		}
	}
	return l.list, nil
}

// look reads the edge of the tree that a meta page points to.
func (l *sealer) look(m *metaPage, t *treeEdge) error {
	t.txid = 0
	page, err := l.read(m.root)
	if err != nil {
		return err
	}
	if t.roots, t.log, err = buckets(page, t.roots[:0]); err != nil {
		return err
	}
	depth := 0
	for id := t.roots[t.log]; id != 0; depth++ {
		if page, err = l.read(id); err != nil {
			return err
		}
		if depth == cap(t.children) {
			t.children = append(t.children[:depth], nil)
		}
		t.children = t.children[:depth+1]
		if t.children[depth], err = children(page, t.children[depth][:0]); err != nil {
			return err
		}
		if len(t.children[depth]) == 0 {
			break
		}
		id = t.children[depth][len(t.children[depth])-1]
	}
	t.children = t.children[:depth]
	t.txid = m.txid
	return nil
}

// appendsTo reports whether nothing differs but the log.
func (t *treeEdge) appendsTo(before *treeEdge) bool {
	if len(t.roots) != len(before.roots) || t.log != before.log {
		return false
	}
	for i := range t.roots {
		if t.roots[i] != before.roots[i] && i != t.log {
			return false
		}
	}
	return true
}

// walk lists a page of the new log and those below it that are not in the old one.
func (l *sealer) walk(id uint64, depth int) error {
	if id == 0 {
		return nil
	}
	page, err := l.take(id)
	if err != nil {
		return err
	}
	if depth == len(l.below) {
		l.below = append(l.below, nil)
	}
	below, err := children(page, l.below[depth][:0])
	if err != nil {
		return err
	}
	l.below[depth] = below
	var old []uint64
	if d := depth - (len(l.next.children) - len(l.tree.children)); d >= 0 && d < len(l.tree.children) { // the root may have been split
		old = l.tree.children[d]
	}
	for _, c := range below {
		if n := l.met[depth]; n < len(old) && old[n] == c {
			l.met[depth]++
		} else if err := l.walk(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// take lists one page.
func (l *sealer) take(id uint64) ([]byte, error) {
	if len(l.list) == sealRoom(l.size) {
		return nil, errNotListed
	}
	page, err := l.read(id)
	if err == nil {
		l.list = append(l.list, l.seal(id, page))
	}
	return page, err
}
