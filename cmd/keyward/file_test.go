package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	check := func(want string, mode os.FileMode) {
		t.Helper()
		info, err := os.Lstat(file)
		if err != nil || info.Mode().Perm() != mode || read(t, file) != want {
			t.Errorf("%v, %v, %q; want %v, %q", info.Mode(), err, read(t, file), mode, want)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 2 {
			t.Errorf("left %v, %v", left, err)
		}
	}
	if err := replaceFile(file, []byte("\x00\xff"), 0o640); err != nil {
		t.Fatal(err)
	}
	check("\x00\xff", 0o640)
	// Who has the old one open reads that to its end.
	old, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := writeFile(file, []byte("new")); err != nil {
		t.Fatal(err)
	}
	check("new", 0o600)
	b := make([]byte, 8)
	if n, _ := old.Read(b); string(b[:n]) != "\x00\xff" {
		t.Errorf("the old file became %q", b[:n])
	}

	link := filepath.Join(dir, "link")
	if err := os.Symlink("f", link); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(link, []byte("by the link")); err != nil {
		t.Fatal(err)
	}
	check("by the link", 0o600)
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link became %v, %v", info.Mode(), err)
	}
}

func TestReplaceFileKeepsTheOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gives files away")
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, 1234, 4321); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(file, []byte("x")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != 1234 || s.Gid != 4321 {
		t.Errorf("the owner became %d:%d", s.Uid, s.Gid)
	}
}

func TestReplaceFileRefuses(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"a folder": dir, "a pipe": pipe, "a device": "/dev/null", "a folder that is not there": filepath.Join(dir, "no", "f"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := writeFile(path, []byte("x")); err == nil || !strings.Contains(err.Error(), path[:4]) {
				t.Errorf("got %v", err)
			}
		})
	}
}
