package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// The layout of bbolt's pages (version 2), as far as a seal needs it: a header, then elements of 16 bytes, whose positions
// count from the element itself. Numbers are in the machine's own byte order.
const (
	pageHeader  = 16
	pageElement = 16
	kindBranch  = 0x01
	kindLeaf    = 0x02
	kindMeta    = 0x04
	bucketLeaf  = 1  // flag of a leaf element that holds a bucket
	bucketHead  = 16 // bytes of such an element's value: root page, sequence
)

// errPages: a page does not look as bbolt writes it.
var errPages = errors.New("store: a page of the file makes no sense")

// sealedPage is a page, with those that overflow from it, and the checksum of all its bytes.
type sealedPage struct {
	id    uint64
	pages uint32
	sum   uint32
}

// pageFile reads pages beside bbolt.
type pageFile struct {
	f    *os.File
	size int
	high uint64 // no page has this number or a higher one
	buf  []byte
}

// read returns a page with what overflows from it, valid until the next call.
func (p *pageFile) read(id uint64) ([]byte, error) {
	if id >= p.high {
		return nil, fmt.Errorf("%w: page %d of %d", errPages, id, p.high)
	}
	b, err := p.bytes(id, 1)
	if err != nil {
		return nil, err
	}
	if binary.NativeEndian.Uint64(b) != id {
		return nil, fmt.Errorf("%w: page %d says that it is another", errPages, id)
	}
	if more := binary.NativeEndian.Uint32(b[12:]); more > 0 {
		return p.bytes(id, uint64(more)+1)
	}
	return b, nil
}

// bytes reads n pages in a row.
func (p *pageFile) bytes(id, n uint64) ([]byte, error) {
	if id+n > p.high || id+n < id {
		return nil, fmt.Errorf("%w: pages %d to %d of %d", errPages, id, id+n, p.high)
	}
	size := int(n) * p.size
	if cap(p.buf) < size {
		p.buf = make([]byte, size)
	}
	b := p.buf[:size]
	if _, err := p.f.ReadAt(b, int64(id)*int64(p.size)); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: page %d lies behind the end of the file", errPages, id)
		}
		return nil, err
	}
	return b, nil
}

func (p *pageFile) seal(id uint64, page []byte) sealedPage {
	return sealedPage{id, uint32(len(page) / p.size), crc32.Checksum(page, castagnoli)}
}

// holds reports whether the page still is what was sealed.
func (p *pageFile) holds(s sealedPage) (bool, error) {
	b, err := p.bytes(s.id, uint64(s.pages))
	if errors.Is(err, errPages) {
		return false, nil
	}
	return err == nil && crc32.Checksum(b, castagnoli) == s.sum, err
}

// elements returns the number of elements of a page; they all lie within it.
func elements(page []byte) (int, error) {
	n := int(binary.NativeEndian.Uint16(page[10:]))
	if pageHeader+n*pageElement > len(page) {
		return 0, fmt.Errorf("%w: %d elements", errPages, n)
	}
	return n, nil
}

func pageKind(page []byte) uint16 { return binary.NativeEndian.Uint16(page[8:]) }

// buckets appends the root pages of the top buckets, in the order of their names, and tells at which place that of the log stands. 0: the bucket is so
// small that it is in this page.
func buckets(page []byte, roots []uint64) (_ []uint64, log int, err error) {
	n, err := elements(page)
	if err != nil || pageKind(page) != kindLeaf {
		return nil, 0, fmt.Errorf("%w: the buckets do not fit into one page: %w", errPages, err)
	}
	log = -1
	for i := range n {
		e := page[pageHeader+i*pageElement:]
		at := uint64(binary.NativeEndian.Uint32(e[4:]))
		key := at + uint64(binary.NativeEndian.Uint32(e[8:]))
		if binary.NativeEndian.Uint32(e) != bucketLeaf || key+bucketHead > uint64(len(e)) {
			return nil, 0, fmt.Errorf("%w: no bucket", errPages)
		}
		if string(e[at:key]) == string(bucketLog) {
			log = i
		}
		roots = append(roots, binary.NativeEndian.Uint64(e[key:]))
	}
	if log < 0 {
		return nil, 0, fmt.Errorf("%w: there is no log", errPages)
	}
	return roots, log, nil
}

// children appends the pages below a branch page; none for a leaf.
func children(page []byte, ids []uint64) ([]uint64, error) {
	n, err := elements(page)
	switch {
	case err != nil:
		return nil, err
	case pageKind(page) == kindLeaf:
		return ids, nil
	case pageKind(page) != kindBranch:
		return nil, fmt.Errorf("%w: neither branch nor leaf", errPages)
	}
	for i := range n {
		ids = append(ids, binary.NativeEndian.Uint64(page[pageHeader+i*pageElement+8:]))
	}
	return ids, nil
}
