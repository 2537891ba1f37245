package store

import (
	"syscall"
	"unsafe"
)

// aheadStep is how many bytes are asked for at once: about two pages of events.
const aheadStep = 512 << 10

// readAhead tells the kernel what a scan of the memory map reads next. bbolt asks it not to guess, because most reads are lookups;
// a scan of what is not in memory would wait for the disk once for each page of the file.
type readAhead struct {
	from, to uintptr // asked for
	asked    int64   // how often
}

// at is told what the scan has come to.
func (a *readAhead) at(v []byte) {
	p := unsafe.Pointer(unsafe.SliceData(v))
	at := uintptr(p)
	switch {
	case at >= a.from && at+aheadStep/2 < a.to:
		return
	case at < a.from || at > a.to:
		a.from = at &^ uintptr(syscall.Getpagesize()-1)
		a.to = a.from
	}
	// An error means that nothing was read ahead: then the scan waits, as it would without.
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, a.to, aheadStep, syscall.MADV_WILLNEED)
	a.to += aheadStep
	a.asked++
}
