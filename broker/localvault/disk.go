package localvault

import (
	"errors"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// makeFile makes a file without a header. It has its name once it is whole and on
// the disk: bbolt would refuse one of which a power cut left a part.
func makeFile(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	db, err := bbolt.Open(f.Name(), 0o600, nil)
	if err == nil {
		err = db.Close()
	}
	if err == nil {
		err = os.Link(f.Name(), path)
	}
	if errors.Is(err, os.ErrExist) {
		err = nil // another process was faster
	}
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// openFromDisk opens a file so that it reads as the disk has it. After a sync that
// failed, the kernel keeps what it could not write as if it had, and commits to come
// would build on that.
func openFromDisk(path string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Sync(), forget(f)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// syncName makes the name of a file survive a crash of the machine, wherever links
// lead there.
func syncName(path string) error {
	file, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
