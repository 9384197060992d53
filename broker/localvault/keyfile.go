package localvault

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	masterKeyLen = 32
	// maxKeyFile bounds what is read of a file that should hold a key.
	maxKeyFile = 16 << 10
)

// readMasterKey returns the key, or an error that is os.ErrNotExist where there
// is no file.
func readMasterKey(path string) ([]byte, error) {
	text, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != masterKeyLen {
		// The decoding error quotes the text.
		return nil, fmt.Errorf("the key file %s does not hold a master key (%d bytes as base64); restore it from a backup", path, masterKeyLen)
	}
	return key, nil
}

func makeMasterKey(path string) ([]byte, error) {
	key := make([]byte, masterKeyLen)
	_, _ = rand.Read(key) // never fails
	if err := writePrivate(path, []byte(base64.StdEncoding.EncodeToString(key)+"\n")); err != nil {
		return nil, err
	}
	return key, nil
}

// checkPrivate refuses a file that others than its owner may use.
func checkPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return private(info, path)
}

func private(info os.FileInfo, path string) error {
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s is open to others (mode %#o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	return nil
}

// readPrivate reads a small file that only its owner may use.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := private(info, path); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%s is too long for a key", path)
	}
	return text, nil
}

// writePrivate makes a file that only its owner may use. It never replaces one
// that is there. The file is whole and on the disk when writePrivate returns, or
// it is not there.
func writePrivate(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Link(f.Name(), path)
	}
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		return err
	}
	return syncName(path)
}
