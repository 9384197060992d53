package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a tmpfs of 64 KiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		skipAloud(t, "a disk cannot be mounted", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestCanaryDisk: a real disk that is full, or read-only, and then mended.
func TestCanaryDisk(t *testing.T) {
	for name, c := range map[string]struct {
		// broken makes the disk so, with all that it takes.
		broken func(*testing.T, *reader, string)
		mended func(dir string) error
		why    error
	}{
		"full": {
			func(t *testing.T, r *reader, dir string) {
				t.Helper()
				// All of it: the log itself takes what is left of its last block.
				err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 128<<10), 0o600)
				if !errors.Is(err, unix.ENOSPC) {
					t.Fatal(err)
				}
				for range 100 {
					if !r.read() {
						return
					}
				}
				t.Fatal("the disk does not get full")
			},
			func(dir string) error { return os.Remove(filepath.Join(dir, "filler")) },
			unix.ENOSPC,
		},
		"read-only": {
			func(t *testing.T, _ *reader, dir string) {
				t.Helper()
				// What is open for writing stays so, and the log in it; what is read-only is
				// found by who begins a new file.
				if err := errors.Join(
					os.Rename(filepath.Join(dir, "audit.jsonl"), filepath.Join(dir, "audit-000000000001.jsonl")),
					unix.Mount(dir, dir, "", unix.MS_BIND, ""),
					unix.Mount("none", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""),
				); err != nil {
					t.Fatal(err)
				}
				if _, err := Open(Config{Path: filepath.Join(dir, "another.jsonl")}); !errors.Is(err, unix.EROFS) {
					t.Errorf("opened: %v", err)
				}
			},
			func(dir string) error { return unix.Unmount(dir, unix.MNT_DETACH) },
			unix.EROFS,
		},
	} {
		for _, mode := range []Sync{SyncAlways, SyncInterval} {
			t.Run(name+"/"+mode.String(), func(t *testing.T) {
				dir := smallDisk(t)
				path := filepath.Join(dir, "audit.jsonl")
				l, err := Open(Config{Path: path, Sync: mode})
				if err != nil {
					t.Fatal(err)
				}
				r := newReader(t, l, path)
				r.want(true)
				c.broken(t, r, dir)
				for range 3 {
					r.want(false)
				}
				if err := l.Err(); !errors.Is(err, c.why) {
					t.Errorf("Err is %v", err)
				}
				if err := c.mended(dir); err != nil {
					t.Fatal(err)
				}
				r.resumes()
				r.want(true)
				r.check(allFiles(t, path)...)
			})
		}
	}
}

// TestCanaryOwner: the folder becomes another's, and is given back. Root may
// write everywhere, so the log is somebody's else here.
func TestCanaryOwner(t *testing.T) {
	const child, nobody = "KEYWARD_AUDIT_OWNER", 65534
	if path := os.Getenv(child); path != "" {
		readAsNobody(t, path, nobody)
		return
	}
	if os.Getuid() != 0 {
		skipAloud(t, "only root gives a folder away", fs.ErrPermission)
	}
	dir := filepath.Join(t.TempDir(), "logs")
	own := func(uid int) error { return os.Chown(dir, uid, uid) }
	if err := errors.Join(os.Mkdir(dir, 0o700), own(nobody)); err != nil {
		t.Fatal(err)
	}
	for _, up := range []string{filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} { // t.TempDir's
		if err := os.Chmod(up, 0o711); err != nil { // for nobody to come through
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCanaryOwner$", "-test.v")
	cmd.Env = append(os.Environ(), child+"="+filepath.Join(dir, "audit.jsonl"))
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		var err error
		switch lines.Text() {
		case "take it":
			err = own(0)
		case "give it back":
			err = own(nobody)
		default:
			continue
		}
		if _, werr := io.WriteString(in, "done\n"); errors.Join(err, werr) != nil {
			t.Fatal(err, werr)
		}
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(said.String(), "refused") {
		t.Fatalf("%v\n%s", err, &said)
	}
}

func readAsNobody(t *testing.T, path string, uid int) {
	t.Helper()
	if err := errors.Join(syscall.Setgid(uid), syscall.Setuid(uid)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(os.Stdin)
	ask := func(what string) {
		t.Helper()
		fmt.Fprintln(os.Stdout, what)
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Open(Config{Path: path, Sync: SyncAlways})
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t, l, path)
	r.want(true)
	ask("take it")
	r.want(false)
	r.want(false)
	if _, err := Open(Config{Path: path}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("opened: %v", err)
	}
	ask("give it back")
	r.resumes()
	r.want(true)
	r.check(path)
}
