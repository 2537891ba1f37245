package bench

import (
	"errors"
	"os"
	"time"
)

// probe measures what the disk alone takes, by overwriting pages of a file whose blocks are all allocated.
type probe struct {
	f    *os.File
	page [pageSize]byte
	next int64
}

const (
	pageSize   = 4096
	probePages = 1024
)

func newProbe(path string) (*probe, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	p := &probe{f: f}
	if _, err := f.Write(make([]byte, probePages*pageSize)); err != nil {
		return nil, errors.Join(err, p.close())
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *probe) close() error { return errors.Join(p.f.Close(), os.Remove(p.f.Name())) }

// write overwrites the next pages, but never the first, which stands for the meta page.
func (p *probe) write(pages int) error {
	for range pages {
		p.next = p.next%(probePages-1) + 1
		p.page[0]++
		if _, err := p.f.WriteAt(p.page[:], p.next*pageSize); err != nil {
			return err
		}
	}
	return nil
}

// fdatasync is the least that makes anything durable: one page.
func (p *probe) fdatasync() error {
	if err := p.write(1); err != nil {
		return err
	}
	return datasync(p.f)
}

// commit does what a small commit of bbolt does: four pages (a leaf, its branch, the root, the free list), and when they are on
// disk the meta page that makes them count.
func (p *probe) commit() error {
	if err := p.write(4); err != nil {
		return err
	}
	if err := datasync(p.f); err != nil {
		return err
	}
	if _, err := p.f.WriteAt(p.page[:], 0); err != nil {
		return err
	}
	return datasync(p.f)
}

// turn measures both, one of each in turn, for the duration d.
func (p *probe) turn(d time.Duration, sync, commit *histogram) error {
	for begin := time.Now(); time.Since(begin) < d; {
		if err := timed(p.fdatasync, sync); err != nil {
			return err
		}
		if err := timed(p.commit, commit); err != nil {
			return err
		}
	}
	return nil
}

func timed(fn func() error, h *histogram) error {
	begin := time.Now()
	err := fn()
	h.add(time.Since(begin))
	return err
}

// diskP50 returns the median of n fdatasyncs in a folder.
func diskP50(path string, n int) (time.Duration, error) {
	p, err := newProbe(path)
	if err != nil {
		return 0, err
	}
	var h histogram
	for range n {
		if err = timed(p.fdatasync, &h); err != nil {
			break
		}
	}
	return h.quantile(0.5), errors.Join(err, p.close())
}
