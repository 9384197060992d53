package audit

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
)

var errDisk = errors.New("the disk fails")

// faults are what a disk may do to all files of a log.
type faults struct {
	mu sync.Mutex
	// part is how much of each write reaches the file; -1 is all of it.
	part                int
	truncating, syncing error
	// hold is what a write, or with holdSync a sync, waits for, if it is not nil.
	hold     chan struct{}
	holdSync bool
	// held tells of one that waits.
	held  chan struct{}
	syncs atomic.Int32
}

func (f *faults) set(change func(*faults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *faults) wait(sync bool) {
	f.mu.Lock()
	hold := f.hold
	if sync != f.holdSync {
		hold = nil
	}
	f.mu.Unlock()
	if hold != nil {
		f.held <- struct{}{}
		<-hold
	}
}

// faultyFile is a real file that fails on demand.
type faultyFile struct {
	*os.File
	*faults
}

func (f faultyFile) Write(b []byte) (int, error) {
	f.wait(false)
	f.mu.Lock()
	part := f.part
	f.mu.Unlock()
	if part < 0 {
		return f.File.Write(b)
	}
	n, err := f.File.Write(b[:min(part, len(b))])
	return n, errors.Join(err, errDisk)
}

func (f faultyFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.truncating != nil {
		return f.truncating
	}
	return f.File.Truncate(size)
}

func (f faultyFile) Sync() error {
	f.syncs.Add(1)
	f.wait(true)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.syncing != nil {
		return f.syncing
	}
	return f.File.Sync()
}

func openFaulty(t *testing.T, c Config) (*Log, *faults, string) {
	t.Helper()
	f := &faults{part: -1, held: make(chan struct{}, 100)}
	c.Path = filepath.Join(t.TempDir(), "audit.jsonl")
	c.open = func(path string) (file, error) {
		f2, err := openFile(path)
		return faultyFile{f2, f}, err
	}
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, f, c.Path
}

func act(principal string) broker.Event {
	return broker.Event{Time: time.Now(), Caller: broker.Caller{Principal: broker.Principal{ID: principal}}, Action: broker.ActionGetSecret}
}

// principals returns who is recorded in the files of a log, and checks that the
// chain is whole. What the log says of itself is in brackets.
func principals(t *testing.T, paths ...string) string {
	t.Helper()
	var out []string
	for r, err := range Read(paths...) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Action == ActionCheckpoint || r.Action == ActionResume {
			out = append(out, "["+string(r.Action)+"]")
		} else {
			out = append(out, r.Principal)
		}
	}
	return strings.Join(out, " ")
}

// allFiles are those of a log, in order.
func allFiles(t *testing.T, path string) []string {
	t.Helper()
	names, err := filepath.Glob(strings.TrimSuffix(path, ".jsonl") + "*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if slices.Sort(names); !slices.Contains(names, path) || names[len(names)-1] != path {
		t.Fatalf("the files sort as %q", names)
	}
	return names
}

func TestShortWrites(t *testing.T) {
	l, f, path := openFaulty(t, Config{Sync: SyncNone})
	try := func(who string, ok bool) {
		t.Helper()
		if err := l.Record(t.Context(), act(who)); (err == nil) != ok || !ok && !errors.Is(err, errDisk) {
			t.Fatalf("%s: %v", who, err)
		}
		if (l.Err() == nil) != ok {
			t.Fatalf("Err is %v", l.Err())
		}
	}
	try("a", true)
	for _, part := range []int{0, 1, 50} {
		f.set(func(f *faults) { f.part = part })
		try("lost", false)
		if got := principals(t, path); got != "a" {
			t.Fatalf("%d bytes written: the file has %q", part, got)
		}
	}
	// What was written cannot be taken back: nothing is recorded behind it.
	f.set(func(f *faults) { f.truncating = errDisk })
	try("lost", false)
	f.set(func(f *faults) { f.part = -1 })
	try("lost", false)
	f.set(func(f *faults) { f.truncating = nil })
	try("b", true)
	if got := principals(t, path); got != "a [resumeAudit] b" {
		t.Errorf("the file has %q", got)
	}
}

// TestHealsAlone: a log that nobody can write to is written to again without
// anybody who tries, or else a broker that is not ready would never be.
func TestHealsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f, path := openFaulty(t, Config{Sync: SyncNone})
		f.set(func(f *faults) { f.part = 10 })
		if err := l.Record(t.Context(), act("lost")); !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		time.Sleep(10 * pulse)
		if err := l.Err(); !errors.Is(err, errDisk) {
			t.Fatalf("Err is %v", err)
		}
		f.set(func(f *faults) { f.part = -1 })
		time.Sleep(2 * pulse)
		synctest.Wait()
		if err := l.Err(); err != nil {
			t.Fatalf("Err is %v of a disk that was mended", err)
		}
		if got := principals(t, path); got != "[resumeAudit]" {
			t.Errorf("the file has %q", got)
		}
		_ = l.Close()
	})
}

// TestSyncFails: behind a failed sync the log goes on in a new file, once that
// can be synced; the old one is left as it is.
func TestSyncFails(t *testing.T) {
	for _, mode := range []Sync{SyncAlways, SyncInterval} {
		t.Run(mode.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, f, path := openFaulty(t, Config{Sync: mode})
				record := func(who string) error { return l.Record(t.Context(), act(who)) }
				later := func() {
					time.Sleep(3 * time.Second)
					synctest.Wait()
				}
				if err := record("a"); err != nil {
					t.Fatal(err)
				}
				later()
				f.set(func(f *faults) { f.syncing = errDisk })
				want := "a b"
				if err := record("b"); (err != nil) != (mode == SyncAlways) || err != nil && !errors.Is(err, errDisk) {
					t.Fatalf("got %v", err)
				}
				for range 3 {
					later()
					if err := record("lost"); !errors.Is(err, errDisk) {
						t.Fatalf("recorded behind a failed sync: %v", err)
					}
					if err := l.Err(); !errors.Is(err, errDisk) {
						t.Fatalf("Err is %v", err)
					}
				}
				f.set(func(f *faults) { f.syncing = nil })
				later()
				if err := record("c"); err != nil || l.Err() != nil {
					t.Fatal(err, l.Err())
				}
				files := allFiles(t, path)
				if len(files) != 2 {
					t.Fatalf("the log is in %q", files)
				}
				if got := principals(t, files...); got != want+" [resumeAudit] c" {
					t.Errorf("the log has %q", got)
				}
				if got := principals(t, files[0]); got != want {
					t.Errorf("the old file has %q", got)
				}
				_ = l.Close()
			})
		})
	}
}

// TestFileSizeLimit is a disk that is full, and then is not: the kernel cuts a
// write short at the process's limit.
func TestFileSizeLimit(t *testing.T) {
	const child = "KEYWARD_AUDIT_LIMITED"
	if path := os.Getenv(child); path != "" {
		recordUnderLimit(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFileSizeLimit$")
	cmd.Env = append(os.Environ(), child+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := principals(t, path); got != "a a a a [resumeAudit] b" {
		t.Errorf("the file has %q", got)
	}
}

func recordUnderLimit(t *testing.T, path string) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	l, err := Open(Config{Path: path, Sync: SyncAlways})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := l.Record(t.Context(), act("a")); err != nil {
			t.Fatal(err)
		}
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	size := info.Size()
	tight := syscall.Rlimit{Cur: uint64(size) + 20, Max: was.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &tight); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Record(t.Context(), act("lost")); !errors.Is(err, syscall.EFBIG) {
			t.Fatalf("behind the limit: %v", err)
		}
		// The log itself may be trying, too.
		left := func() int64 {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			return info.Size() - size
		}
		for range 1000 {
			if left() == 0 {
				break
			}
			runtime.Gosched()
		}
		if n := left(); n != 0 {
			t.Fatalf("%d bytes of a record are left", n)
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Record(t.Context(), act("b")), l.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestFolderIsSynced: a new file's name is made durable, or the log is not
// opened. Here the folder cannot even be looked at: the file is the last that the
// process may open.
func TestFolderIsSynced(t *testing.T) {
	const child = "KEYWARD_AUDIT_LAST_FILE"
	if path := os.Getenv(child); path != "" {
		openLastFile(t, path)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFolderIsSynced$")
	cmd.Env = append(os.Environ(), child+"="+filepath.Join(t.TempDir(), "audit.jsonl"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func openLastFile(t *testing.T, path string) {
	t.Helper()
	// The runtime's own files for polling are open from here on.
	next, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	tight := syscall.Rlimit{Cur: uint64(next.Fd()) + 1, Max: was.Max}
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &tight); err != nil {
		t.Fatal(err)
	}
	for sync, want := range map[Sync]error{SyncNone: nil, SyncInterval: syscall.EMFILE, SyncAlways: syscall.EMFILE} {
		l, err := Open(Config{Path: path, Sync: sync})
		if !errors.Is(err, want) {
			t.Errorf("sync %v: %v, want %v", sync, err, want)
		}
		if err == nil {
			_ = l.Close()
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
}
