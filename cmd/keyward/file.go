package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// writeFile replaces a file, whole or not at all, and makes it its owner's
// alone.
func writeFile(path string, data []byte) error {
	return replaceFile(path, data, 0o600)
}

// replaceFile does the same, with another mode.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	return fillFile(path, mode, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// fillFile replaces a file by what fill writes, whole or not at all: readers see
// the old one or the new one, and so does whoever looks after a power cut. A file
// that was there keeps its owner, or stays as it is if that cannot be. A symbolic
// link is followed.
func fillFile(path string, mode fs.FileMode, fill func(io.Writer) error) error {
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		target, err = path, nil
	}
	if err != nil {
		return err
	}
	before, err := os.Stat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !before.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file", path)
	}
	dir := filepath.Dir(target)
	f, err := os.CreateTemp(dir, "."+filepath.Base(target)+"-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	err = fill(f)
	if err == nil && before != nil {
		err = keepOwner(f, before)
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), target)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// keepOwner gives f the owner and group of the file that it replaces.
func keepOwner(f *os.File, before fs.FileInfo) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	was, ok := before.Sys().(*syscall.Stat_t)
	is, ok2 := now.Sys().(*syscall.Stat_t)
	if !ok || !ok2 || (was.Uid == is.Uid && was.Gid == is.Gid) {
		return nil
	}
	if err := f.Chown(int(was.Uid), int(was.Gid)); err != nil {
		return fmt.Errorf("it would not keep its owner: %w", err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
