package localvault

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
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
