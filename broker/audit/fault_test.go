package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
)

var errDisk = errors.New("the disk fails")

// faultyFile is a real file that fails on demand.
type faultyFile struct {
	*os.File
	// part is how much of each write reaches the file; -1 is all of it.
	part       int
	truncating error
	syncFails  atomic.Bool
	syncs      atomic.Int32
}

func (f *faultyFile) Write(b []byte) (int, error) {
	if f.part < 0 {
		return f.File.Write(b)
	}
	n, err := f.File.Write(b[:min(f.part, len(b))])
	return n, errors.Join(err, errDisk)
}

func (f *faultyFile) Truncate(size int64) error {
	if f.truncating != nil {
		return f.truncating
	}
	return f.File.Truncate(size)
}

func (f *faultyFile) Sync() error {
	f.syncs.Add(1)
	if f.syncFails.Load() {
		return errDisk
	}
	return f.File.Sync()
}

func openFaulty(t *testing.T, s Sync) (*Log, *faultyFile, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := Open(Config{Path: path, Sync: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	f := &faultyFile{File: l.file.(*os.File), part: -1}
	l.mu.Lock()
	l.file = f
	l.mu.Unlock()
	return l, f, path
}

func act(principal string) broker.Event {
	return broker.Event{Caller: broker.Caller{Principal: broker.Principal{ID: principal}}, Action: broker.ActionGetSecret}
}

// principals returns who is recorded, and checks that the chain is whole.
func principals(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	prev, seq := "", uint64(0)
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		line := s.Bytes()
		seq++
		if got, ok := parseSeq(line); !ok || got != seq || !bytes.Contains(line, fmt.Appendf(nil, `"prev":"%s"`, prev)) {
			t.Fatalf("line %d does not continue the chain: %s", seq, line)
		}
		_, rest, _ := strings.Cut(string(line), `"principal":"`)
		who, _, _ := strings.Cut(rest, `"`)
		out = append(out, who)
		prev = hash(line)
	}
	return strings.Join(out, " ")
}

func TestShortWrites(t *testing.T) {
	l, f, path := openFaulty(t, SyncNone)
	try := func(who string, ok bool) {
		t.Helper()
		if err := l.Record(t.Context(), act(who)); (err == nil) != ok {
			t.Fatalf("%s: %v", who, err)
		}
	}
	try("a", true)
	for _, part := range []int{0, 1, 50} {
		f.part = part
		try("lost", false)
		if got := principals(t, path); got != "a" {
			t.Fatalf("%d bytes written: the file has %q", part, got)
		}
	}
	// What was written cannot be taken back: nothing is recorded behind it.
	f.truncating = errDisk
	try("lost", false)
	f.part = -1
	try("lost", false)
	f.truncating = nil
	if err := l.Err(); err != nil {
		t.Errorf("Err is %v of a failure that may pass", err)
	}
	try("b", true)
	if got := principals(t, path); got != "a b" {
		t.Errorf("the file has %q", got)
	}
}

func TestSyncAlwaysFails(t *testing.T) {
	l, f, _ := openFaulty(t, SyncAlways)
	if err := l.Record(t.Context(), act("a")); err != nil || f.syncs.Load() != 1 {
		t.Fatalf("%d syncs, %v", f.syncs.Load(), err)
	}
	f.syncFails.Store(true)
	if err := l.Record(t.Context(), act("b")); !errors.Is(err, errDisk) {
		t.Fatalf("got %v", err)
	}
	f.syncFails.Store(false)
	if err := l.Record(t.Context(), act("c")); !errors.Is(err, errDisk) {
		t.Errorf("recorded behind a failed sync: %v", err)
	}
	if err := l.Err(); !errors.Is(err, errDisk) {
		t.Errorf("Err is %v behind a failed sync", err)
	}
}

func TestSyncInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f, _ := openFaulty(t, SyncInterval)
		second := func(syncs int32) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if got := f.syncs.Load(); got != syncs {
				t.Fatalf("%d syncs, want %d", got, syncs)
			}
		}
		second(0)
		for range 3 {
			if err := l.Record(t.Context(), act("a")); err != nil {
				t.Fatal(err)
			}
		}
		second(1)
		second(1)
		if err := l.Record(t.Context(), act("a")); err != nil {
			t.Fatal(err)
		}
		f.syncFails.Store(true)
		second(2)
		f.syncFails.Store(false)
		if err := l.Record(t.Context(), act("b")); !errors.Is(err, errDisk) {
			t.Errorf("recorded behind a failed sync: %v", err)
		}
		_ = l.Close()
	})
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
	if got := principals(t, path); got != strings.TrimSpace(strings.Repeat("a ", 4))+" b" {
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
	tight := syscall.Rlimit{Cur: uint64(l.size) + 20, Max: was.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &tight); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Record(t.Context(), act("lost")); !errors.Is(err, syscall.EFBIG) {
			t.Fatalf("behind the limit: %v", err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() != l.size {
			t.Fatalf("a part of a record is left: %v, %v", info.Size(), err)
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
