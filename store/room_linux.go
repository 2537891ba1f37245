package store

import (
	"os"
	"syscall"
)

const fallocKeepSize = 1

// allocate reserves blocks for a range of the file without changing its size.
func allocate(f *os.File, off, n int64) error {
	return syscall.Fallocate(int(f.Fd()), fallocKeepSize, off, n)
}
