package audit

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestRotateBySize: the chain holds across files, each of which but the last
// ends with a checkpoint, and nothing is removed.
func TestRotateBySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "audit.jsonl")
		c := Config{Path: path, RotateSize: 2000, Signer: newSigner(t, "k"), CheckpointEvery: 1000}
		const times, each = 5, 20
		for range times {
			l, err := Open(c)
			if err != nil {
				t.Fatal(err)
			}
			for range each {
				if err := l.Record(t.Context(), act("a")); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		files := allFiles(t, path)
		if len(files) < 10 {
			t.Fatalf("the log is in %q", files)
		}
		name := regexp.MustCompile(`^audit-\d{12}-\d{8}T\d{6}Z\.jsonl$`)
		for _, f := range files[:len(files)-1] {
			info, err := os.Stat(f)
			if err != nil || info.Size() > 4000 || !name.MatchString(filepath.Base(f)) {
				t.Errorf("%s: %v, %v", f, info, err)
			}
			text, err := os.ReadFile(f)
			lines := bytes.Split(bytes.TrimSuffix(text, newline), newline)
			if r, derr := decode(lines[len(lines)-1]); err != nil || derr != nil || r.Action != ActionCheckpoint {
				t.Errorf("%s ends with %+v", f, r)
			}
		}
		if got := strings.Count(principals(t, files...), "a "); got != times*each {
			t.Errorf("%d records, want %d", got, times*each)
		}
		r, err := Verify(VerifyConfig{Keys: keysOf(t, c.Signer)}, files...)
		if err != nil || !r.OK() || len(r.Findings) > 0 {
			t.Errorf("%+v, %v", r, err)
		}
		shuffled := append([]string{files[len(files)-1]}, files[:len(files)-1]...)
		if ordered, err := Order(shuffled); err != nil || strings.Join(ordered, " ") != strings.Join(files, " ") {
			t.Errorf("%q, %v", ordered, err)
		}
		// A file that is not given, from the middle and from the beginning.
		without := append(append([]string{}, files[:3]...), files[4:]...)
		if r, err := Verify(VerifyConfig{}, without...); err != nil || r.OK() || r.Findings[0].Kind != Dropped || r.Findings[0].Position != (Position{files[4], 1}) {
			t.Errorf("%+v, %v", r, err)
		}
		if r, err := Verify(VerifyConfig{}, files[1:]...); err != nil || r.OK() || r.Findings[0].Kind != Begins {
			t.Errorf("%+v, %v", r, err)
		}
		if r, err := Verify(VerifyConfig{Partial: true, Keys: keysOf(t, c.Signer)}, files[1:]...); err != nil || !r.OK() {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestRotateByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		c := Config{Path: path, RotateAge: 24 * time.Hour}
		l, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		files := func(want int) {
			t.Helper()
			synctest.Wait()
			if got := allFiles(t, path); len(got) != want {
				t.Fatalf("the log is in %q, want %d", got, want)
			}
		}
		time.Sleep(72 * time.Hour)
		files(1) // an empty file stays
		if err := l.Record(t.Context(), act("a")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(23 * time.Hour)
		files(1)
		// The age is that of its first record, whoever opened it.
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l, err = Open(c); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		files(2)
		if err := l.Record(t.Context(), act("b")); err != nil {
			t.Fatal(err)
		}
		if got := principals(t, allFiles(t, path)...); got != "a b" {
			t.Errorf("got %q", got)
		}
		_ = l.Close()
	})
}

// TestRotateRefused: a file that cannot be renamed goes on, and nothing that is
// there already is replaced.
func TestRotateRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "audit.jsonl")
		logged := &lockedBuffer{}
		l, err := Open(Config{Path: path, RotateSize: 1, Logger: slog.New(slog.NewTextHandler(logged, nil))})
		if err != nil {
			t.Fatal(err)
		}
		record := func() {
			t.Helper()
			if err := l.Record(t.Context(), act("a")); err != nil {
				t.Fatal(err)
			}
		}
		record()
		there := filepath.Join(dir, "audit-000000000001-"+time.Now().UTC().Format("20060102T150405Z")+".jsonl")
		if err := os.WriteFile(there, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		record()
		record()
		if text, err := os.ReadFile(there); err != nil || string(text) != "old" {
			t.Errorf("it has %q, %v", text, err)
		}
		if err := os.Remove(there); err != nil {
			t.Fatal(err)
		}
		if got := principals(t, path); got != "a a a" || !strings.Contains(logged.String(), "cannot be rotated") {
			t.Errorf("the file has %q, the log %s", got, logged)
		}
		time.Sleep(2 * noRotation)
		synctest.Wait()
		if got := principals(t, allFiles(t, path)...); got != "a a a" || len(allFiles(t, path)) != 2 {
			t.Errorf("the files have %q", got)
		}
		_ = l.Close()
	})
}

// lockedBuffer is read while a log is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
