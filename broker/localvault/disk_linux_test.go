package localvault_test

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// sector is what a disk writes as a whole.
const sector = 512

// disk keeps what a power cut would leave of a folder. It holds its files to what
// the system promises, not to what a file system happens to do: what was not synced
// may be there in part and in any order, a name is there for sure once its folder was
// synced, and what a sync could not write is gone, whatever later syncs say.
type disk struct {
	dir string

	mu    sync.Mutex
	files map[uint64]*content // by inode
	names map[string]uint64   // that are durable
	calls int
	// fail decides about the n-th call, from 1; nil lets all pass.
	fail func(n int, c call) unix.Errno
}

type content struct {
	durable []byte
	pending []call
	// lost: a sync failed, and the kernel still shows what the disk does not have.
	lost bool
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	return &disk{dir: scratch(t), files: make(map[uint64]*content), names: make(map[string]uint64)}
}

// scratch returns a folder, in memory where the system has such: what is tested is
// not how the disk below it keeps what it was given.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "keyward-torture-*") //nolint:usetesting // a folder of another kind than the tests have
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// judge is what interceptCalls asks.
func (d *disk) judge(c call) verdict {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.isForget() {
		d.forget(c)
		return verdict{}
	}
	d.calls++
	var errno unix.Errno
	if d.fail != nil {
		errno = d.fail(d.calls, c)
	}
	d.note(c, errno)
	return verdict{errno: errno, pretend: errno == 0 && c.isSync()}
}

// forget makes the file read as the disk has it, where the two differ.
func (d *disk) forget(c call) {
	info, err := os.Stat(c.fdPath)
	if err != nil {
		panic(err)
	}
	f := d.files[inode(info)]
	if f == nil || !f.lost {
		return
	}
	if len(f.pending) > 0 {
		panic("forgotten before it was synced")
	}
	if err := os.WriteFile(c.path, f.durable, 0o600); err != nil {
		panic(err)
	}
	f.lost = false
}

// mend lets all calls pass from now on.
func (d *disk) mend() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = nil
}

// during runs run, and has meanwhile while called whenever a call is held that when
// picks: nothing else happens to the disk then.
func (d *disk) during(run func(), when func(n int) bool, while func()) {
	holds, over := make(chan chan struct{}), make(chan struct{})
	d.mu.Lock()
	d.fail = func(n int, _ call) unix.Errno {
		if when(n) {
			done := make(chan struct{})
			d.mu.Unlock()
			holds <- done
			<-done
			d.mu.Lock()
		}
		return 0
	}
	d.mu.Unlock()
	go func() {
		defer close(over)
		run()
	}()
	for {
		select {
		case done := <-holds:
			while()
			close(done)
		case <-over:
			return
		}
	}
}

func (d *disk) note(c call, errno unix.Errno) {
	if c.path == d.dir {
		if errno == 0 {
			d.names = d.there()
		}
		return
	}
	info, err := os.Stat(c.fdPath)
	if err != nil {
		panic(err)
	}
	f := d.files[inode(info)]
	if f == nil {
		f = &content{}
		d.files[inode(info)] = f
	}
	switch {
	case !c.isSync():
		if errno == 0 {
			f.pending = append(f.pending, c)
		}
	case errno != 0:
		f.pending, f.lost = nil, true
	case len(f.pending) == 0 && f.durable == nil: // written by other calls
		if f.durable, err = os.ReadFile(c.fdPath); err != nil {
			panic(err)
		}
	default:
		for _, p := range f.pending {
			f.durable = p.on(f.durable, nil)
		}
		f.pending = nil
	}
}

// there are the names that are in the folder now.
func (d *disk) there() map[string]uint64 {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		panic(err)
	}
	names := make(map[string]uint64)
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() {
			names[e.Name()] = inode(info)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			panic(err)
		}
	}
	return names
}

func inode(info os.FileInfo) uint64 {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		panic("no inode")
	}
	return s.Ino
}

// on returns b with the call made on it: all of it, or the sectors that chance
// picks.
func (c call) on(b []byte, chance *rand.Rand) []byte {
	picked := func() bool { return chance == nil || chance.IntN(2) == 0 }
	if c.nr == unix.SYS_FTRUNCATE {
		if !picked() {
			return b
		}
		return sized(b, int(c.offset))
	}
	whole := chance != nil && chance.IntN(2) == 0 && picked()
	for from := 0; from < len(c.data); from += sector {
		if !whole && !picked() {
			continue
		}
		part := c.data[from:min(from+sector, len(c.data))]
		at := int(c.offset) + from
		b = sized(b, max(len(b), at+len(part)))
		copy(b[at:], part)
	}
	return b
}

func sized(b []byte, n int) []byte {
	if n <= len(b) {
		return b[:n:n]
	}
	return append(slices.Clip(b), make([]byte, n-len(b))...)
}

// cut makes the folder that a power cut would leave now. Without chance nothing is
// left but what is durable.
func (d *disk) cut(t *testing.T, chance *rand.Rand) (dir string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	names := maps.Clone(d.names)
	if chance != nil {
		for name, ino := range d.there() {
			if _, ok := names[name]; !ok && chance.IntN(2) == 0 {
				names[name] = ino
			}
		}
	}
	dir = scratch(t)
	for name, ino := range names {
		f := d.files[ino]
		if f == nil {
			f = &content{} // nobody wrote to it
		}
		b := slices.Clone(f.durable)
		if chance != nil {
			for _, p := range f.pending {
				b = p.on(b, chance)
			}
		}
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	return dir
}
