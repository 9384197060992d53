package localvault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Snapshot writes a copy of the vault's file to w, as it was at one moment. It asks
// the process that has the vault open; where there is none, it reads the file
// itself, and no process can open the vault meanwhile. With the same key file the
// copy is the same vault.
func Snapshot(ctx context.Context, path string, w io.Writer) error {
	return reach(path,
		func() error { return askOwner(ctx, path, w) },
		func(db *bbolt.DB, _ *os.File) error {
			return guard(func() error {
				return db.View(func(tx *bbolt.Tx) error {
					_, err := tx.WriteTo(w)
					return err
				})
			})
		})
}

// reach calls owned, which asks the process that has the vault open, or alone where
// owned finds none.
func reach(path string, owned func() error, alone func(*bbolt.DB, *os.File) error) error {
	if err := checkPrivate(path); err != nil {
		return fmt.Errorf("local vault: %w", err)
	}
	err := owned()
	if errors.Is(err, errNoOwner) {
		var db *bbolt.DB
		var file *os.File
		db, file, err = openToRead(path, os.OpenFile)
		switch {
		case err == nil:
			err = errors.Join(alone(db, file), db.Close())
		case errors.Is(err, bolterrors.ErrTimeout):
			// An owner locks the file before it listens.
			if err = owned(); errors.Is(err, errNoOwner) {
				err = fmt.Errorf("%s is in use by a process that does not answer here; stop that one, then try again", path)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("local vault: %w", err)
	}
	return nil
}

// openToRead opens a vault's file and changes nothing of it. The file ends with the
// database.
func openToRead(path string, open func(string, int, os.FileMode) (*os.File, error)) (db *bbolt.DB, file *os.File, err error) {
	err = guard(func() error {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			ReadOnly: true, Timeout: lockTimeout,
			OpenFile: func(path string, flag int, mode os.FileMode) (_ *os.File, err error) {
				file, err = open(path, flag, mode)
				return file, err
			},
			// A damaged list of free pages is found here, where it can be.
			PreLoadFreelist: true,
		})
		return err
	})
	switch {
	case err == nil, errors.Is(err, bolterrors.ErrTimeout):
		return db, file, err
	case errors.Is(err, errPage):
		err = errPage // without the stack
	}
	return nil, nil, fmt.Errorf("%s cannot be opened: %w", path, err)
}

// openSnapshot opens what the owner hands out, without leaving a file.
func openSnapshot(ctx context.Context, path string) (*bbolt.DB, *os.File, error) {
	f, err := spool(filepath.Dir(path), func(w io.Writer) error { return askOwner(ctx, path, w) })
	if err != nil {
		return nil, nil, err
	}
	db, _, err := openToRead(path, func(string, int, os.FileMode) (*os.File, error) { return f, nil })
	if err != nil {
		_ = f.Close() // if bbolt did not
	}
	return db, f, err
}
