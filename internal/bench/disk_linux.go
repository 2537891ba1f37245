package bench

import (
	"os"
	"syscall"
)

func datasync(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}

// evict takes the pages of a file that is on disk out of the page cache, so that whoever reads them next pays for them: a
// control group is not charged for pages that another process has brought in.
func evict(f *os.File) error {
	const dontNeed = 4 // POSIX_FADV_DONTNEED
	if _, _, errno := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0); errno != 0 {
		return os.NewSyscallError("fadvise64", errno)
	}
	return nil
}
