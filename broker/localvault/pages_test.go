package localvault

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// A flipped bit in the structure of the file, beside its records, must neither
// end the process nor make the vault answer anything wrong. It may well cost
// more than one secret.
func TestDamagedPages(t *testing.T) {
	v := openFilled(t)
	rows := sorted(records(t, v))
	before := snapshot(t, v, rows)
	path, pageSize := v.db.Path(), v.db.Info().PageSize
	if err := v.db.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	// The first two pages name the last commit and have a checksum of bbolt's.
	for page := 2 * pageSize; page < len(file); page += pageSize {
		// The page's header and its first elements.
		for at := page; at < page+64; at++ {
			damaged := bytes.Clone(file)
			damaged[at] ^= 1 << (at % 8)
			c := Config{
				Path:    filepath.Join(t.TempDir(), fmt.Sprint(at)),
				KeyFile: filepath.Join(filepath.Dir(path), "vault.key"),
			}
			if err := os.WriteFile(c.Path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			v, err := Open(c)
			if err != nil {
				refused++
				continue
			}
			after := snapshot(t, v, rows)
			for question, got := range after {
				if got != "" && got != before[question] {
					t.Errorf("byte %d of page %d: %s is answered with something else", at-page, page/pageSize, question)
				}
			}
			if len(after) != len(before) {
				refused++
			}
			_ = v.Close()
		}
	}
	if refused == 0 {
		t.Error("no damage was noticed: the test misses the pages in use")
	}
}

// A vault is not opened if any page is damaged that something leads to, also one that
// Open itself makes no use of.
func TestDamagedPagesAreNotOpened(t *testing.T) {
	v := openFilled(t)
	for i := range 40 {
		set(t, v, fmt.Sprint("large", i), strings.Repeat("x", 1000))
	}
	var reached map[uint64]bool
	err := v.db.View(func(tx *bbolt.Tx) error {
		file, err := os.Open(v.db.Path())
		if err != nil {
			return err
		}
		defer file.Close()
		size := v.db.Info().PageSize
		p := pages{file: file, size: size, limit: uint64(tx.Size()) / uint64(size), seen: map[uint64]bool{}}
		reached = p.seen
		return p.walk(uint64(tx.Cursor().Bucket().Root()))
	})
	if err != nil {
		t.Fatal(err)
	}
	path, keyFile, pageSize := v.db.Path(), keyFileOf(v), v.db.Info().PageSize
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(reached) < 4 {
		t.Fatalf("%d pages are in use: the test proves little", len(reached))
	}
	for id := range reached {
		if binary.NativeEndian.Uint64(file[int(id)*pageSize:]) != id {
			continue // the rest of the one before
		}
		damaged := bytes.Clone(file)
		damaged[int(id)*pageSize+8] ^= 8 // it is of another kind
		c := Config{Path: filepath.Join(t.TempDir(), "vault.db"), KeyFile: keyFile}
		if err := os.WriteFile(c.Path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := Open(c)
		if err == nil {
			_ = v.Close()
		}
		if !errors.Is(err, errPage) || strings.Contains(err.Error(), "goroutine") {
			t.Errorf("page %d is damaged: got %v", id, err)
		}
	}
}
