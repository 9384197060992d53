package localvault

import (
	"os"

	"golang.org/x/sys/unix"
)

// forget drops what the kernel has cached of a file that was synced.
func forget(f *os.File) error {
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
