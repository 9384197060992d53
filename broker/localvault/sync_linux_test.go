package localvault_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"unsafe"
)

// TestAcknowledgedIsSynced watches the system calls of a process that sets
// secrets and says so: before each word, all that was written to the vault's file
// has been synced. A kill shows nothing of that, since what the kernel holds
// outlives the process; only a power cut would.
func TestAcknowledgedIsSynced(t *testing.T) {
	const enough = 10
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	file := config(dir).Path
	writes, synced, acknowledged := 0, 0, 0
	atEntry := make(map[int]int) // writes when a sync began, by thread
	err = traceCalls(t, []string{os.Args[0], "-test.run=^TestCrashWriter$"}, append(os.Environ(), crashDir+"="+dir),
		func(c sysCall) bool {
			switch c.number {
			case syscall.SYS_PWRITE64, syscall.SYS_PWRITEV, syscall.SYS_WRITE, syscall.SYS_WRITEV, syscall.SYS_FTRUNCATE:
				switch {
				case c.entry && c.path() == file:
					writes++
				case c.entry && c.fd == 1:
					if acknowledged++; synced != writes {
						t.Errorf("set %d was acknowledged before it was synced", acknowledged)
					}
				}
			case syscall.SYS_FSYNC, syscall.SYS_FDATASYNC:
				switch {
				case c.entry && c.path() == file:
					atEntry[c.thread] = writes
				case !c.entry && c.result == 0:
					synced = max(synced, atEntry[c.thread])
				}
			}
			return acknowledged < enough
		})
	if err != nil {
		t.Skipf("processes cannot be traced here: %v", err)
	}
	if acknowledged < enough || writes < enough {
		t.Errorf("%d sets acknowledged and %d writes seen, want %d at least", acknowledged, writes, enough)
	}
}

// sysCall is a system call of a traced process, as it begins or ends.
type sysCall struct {
	thread int
	entry  bool
	number uint64
	fd     int   // its first argument, at entry
	result int64 // at its end
}

// path is the file that fd is.
func (c sysCall) path() string {
	path, _ := os.Readlink(filepath.Join("/proc", fmt.Sprint(c.thread), "fd", fmt.Sprint(c.fd)))
	return path
}

// traceCalls runs a program and calls see for each begin and end of a system
// call of its threads, until see returns false or the program ends. Then it
// kills it. An error says that it could not be traced.
func traceCalls(t *testing.T, argv, env []string, see func(sysCall) bool) error {
	t.Helper()
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Env: env, Files: []uintptr{null.Fd(), null.Fd(), os.Stderr.Fd()}, Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		return err
	}
	defer func() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		for { // all its threads
			if _, err := syscall.Wait4(-1, nil, syscall.WALL, nil); err != nil && !errors.Is(err, syscall.EINTR) {
				return
			}
		}
	}()
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WALL, nil); err != nil {
		return err
	}
	const exitKill = 0x100000
	if err := syscall.PtraceSetOptions(pid, syscall.PTRACE_O_TRACESYSGOOD|syscall.PTRACE_O_TRACECLONE|exitKill); err != nil {
		return err
	}
	inside := make(map[int]uint64) // the call that a thread is in
	thread, signal := pid, 0
	for {
		// A thread that has just died is none that can go on.
		if err := syscall.PtraceSyscall(thread, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		if thread, err = syscall.Wait4(-1, &status, syscall.WALL, nil); err != nil {
			return err
		}
		signal = 0
		switch {
		case !status.Stopped():
			if thread == pid {
				return nil
			}
			// A thread has ended: wait for another to stop.
			continue
		case status.StopSignal() == syscall.SIGTRAP|0x80:
			c, err := callAt(thread, inside)
			if err != nil {
				return err
			}
			if !see(c) {
				return nil
			}
		case status.StopSignal() != syscall.SIGTRAP && status.StopSignal() != syscall.SIGSTOP:
			signal = int(status.StopSignal()) // the program's own
		}
	}
}

// callAt is the system call that a stopped thread is about to begin or has ended.
// The kernel's description of it is the same on all architectures.
func callAt(thread int, inside map[int]uint64) (sysCall, error) {
	const (
		getSyscallInfo = 0x420e // PTRACE_GET_SYSCALL_INFO
		opEntry        = 1
	)
	var info [88]byte
	if _, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, getSyscallInfo, uintptr(thread), uintptr(len(info)), uintptr(unsafe.Pointer(&info)), 0, 0); errno != 0 {
		return sysCall{}, errno
	}
	c := sysCall{thread: thread, entry: info[0] == opEntry}
	if c.entry {
		c.number = binary.NativeEndian.Uint64(info[24:])
		c.fd = int(binary.NativeEndian.Uint64(info[32:]))
		inside[thread] = c.number
	} else {
		c.number = inside[thread]
		c.result = int64(binary.NativeEndian.Uint64(info[24:]))
	}
	return c, nil
}
