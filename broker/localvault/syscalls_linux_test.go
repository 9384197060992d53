package localvault_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call is a system call of this process that changes a file, makes it durable, or
// asks the kernel to forget what it has cached of it.
type call struct {
	nr     uintptr
	path   string
	fdPath string // leads to the file, whatever its name is by now
	offset int64  // of a write, or the size of a truncated file
	data   []byte
}

func (c call) isSync() bool { return c.nr == unix.SYS_FSYNC || c.nr == unix.SYS_FDATASYNC }

func (c call) isForget() bool { return c.nr == unix.SYS_FADVISE64 }

func (c call) String() string {
	what := map[uintptr]string{unix.SYS_PWRITE64: "write", unix.SYS_FTRUNCATE: "truncate", unix.SYS_FSYNC: "sync", unix.SYS_FDATASYNC: "sync", unix.SYS_FADVISE64: "forget"}[c.nr]
	return fmt.Sprintf("%s %s at %d, %d bytes", what, filepath.Base(c.path), c.offset, len(c.data))
}

// verdict is what becomes of a call.
type verdict struct {
	errno   unix.Errno // it fails, and nothing is done
	pretend bool       // it succeeds, and nothing is done
}

// interceptCalls lets judge decide on each call that writes, truncates, syncs or
// forgets a file in dir, from now on until the process ends. The kernel holds the call until
// then (seccomp's user notification), which needs no privileges. judge must make no
// such call in dir itself.
func interceptCalls(t *testing.T, dir string, judge func(call) verdict) {
	t.Helper()
	listener, err := listen(unix.SYS_PWRITE64, unix.SYS_FTRUNCATE, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FADVISE64)
	if err != nil {
		t.Skipf("SKIPPED: the kernel lets this process not stand before its own calls (seccomp user notification, Linux 5.19): %v", err)
	}
	go serve(listener, func(c call) verdict {
		if !strings.HasPrefix(c.path, dir+"/") {
			return verdict{}
		}
		return judge(c)
	})
}

// What golang.org/x/sys/unix lacks of linux/seccomp.h.
const (
	seccompSetModeFilter = 1
	filterTsync          = 1 << 0
	filterNewListener    = 1 << 3
	filterTsyncEsrch     = 1 << 4
	filterWaitKillable   = 1 << 5 // Go's own signals do not call off what we have seen
	returnAllow          = 0x7fff0000
	returnUserNotif      = 0x7fc00000
	notifRecv            = 0xc0502100
	notifSend            = 0xc0182101
	notifContinue        = 1
)

type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type response struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

func listen(calls ...uint32) (fd int, err error) {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // the call's number
	for i, nr := range calls {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jt: uint8(len(calls) - i)})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: returnAllow},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: returnUserNotif})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	r, _, errno := unix.Syscall(unix.SYS_SECCOMP, seccompSetModeFilter,
		filterTsync|filterNewListener|filterTsyncEsrch|filterWaitKillable, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

func serve(listener int, judge func(call) verdict) {
	for {
		var n notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifRecv, uintptr(unsafe.Pointer(&n))); errno != 0 {
			if errno == unix.EINTR || errno == unix.ENOENT {
				continue
			}
			panic(errno)
		}
		go n.answer(listener, judge)
	}
}

func (n *notification) answer(listener int, judge func(call) verdict) {
	c, err := n.call()
	if err != nil {
		panic(err)
	}
	resp := response{id: n.id, flags: notifContinue}
	switch v := judge(c); {
	case v.errno != 0:
		resp.err, resp.flags = -int32(v.errno), 0
	case v.pretend:
		resp.val, resp.flags = int64(len(c.data)), 0
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifSend, uintptr(unsafe.Pointer(&resp))); errno != 0 {
		panic(errno)
	}
}

// call reads what the call is about. Its thread waits meanwhile.
func (n *notification) call() (call, error) {
	fdPath := fmt.Sprint("/proc/self/fd/", n.args[0])
	path, err := os.Readlink(fdPath)
	if err != nil {
		return call{}, err
	}
	c := call{nr: uintptr(n.nr), path: path, fdPath: fdPath}
	switch c.nr {
	case unix.SYS_FTRUNCATE:
		c.offset = int64(n.args[1])
	case unix.SYS_PWRITE64:
		c.offset, c.data = int64(n.args[3]), make([]byte, n.args[2])
		got, err := unix.ProcessVMReadv(os.Getpid(),
			[]unix.Iovec{{Base: &c.data[0], Len: uint64(len(c.data))}},
			[]unix.RemoteIovec{{Base: uintptr(n.args[1]), Len: len(c.data)}}, 0)
		if err != nil || got != len(c.data) {
			return call{}, errors.Join(err, fmt.Errorf("%d of %d bytes", got, len(c.data)))
		}
	}
	return c, nil
}
