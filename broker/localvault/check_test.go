package localvault

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

func keyFileOf(v *Vault) string { return filepath.Join(filepath.Dir(v.db.Path()), "vault.key") }

// closed returns a vault's files, closed, and its records.
func closed(t *testing.T, v *Vault) (path, keyFile string, rows []record) {
	t.Helper()
	rows = sorted(records(t, v))
	path, keyFile = v.db.Path(), keyFileOf(v)
	if err := v.db.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	return path, keyFile, rows
}

func checked(t *testing.T, path, keyFile string) Report {
	t.Helper()
	r, err := Check(t.Context(), path, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkOpen checks a vault that is open, while nobody writes.
func checkOpen(t *testing.T, v *Vault) (Report, error) {
	t.Helper()
	f, err := os.Open(v.db.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	return check(t.Context(), v.db, f, v.db.Path(), keyFileOf(v))
}

func TestCheckOfAWholeVault(t *testing.T) {
	path, keyFile, _ := closed(t, openWithCertificates(t))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := checked(t, path, keyFile)
	if len(r.Findings) > 0 || r.Secrets != 3 || r.Keys != 3 || r.Certificates != 2 || r.Versions != 11 {
		t.Errorf("got %+v", r)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the check changed the file (%v)", err)
	}
}

// Whatever record is changed, gone or moved is told of by the name of its object,
// and nothing that is whole is blamed.
func TestCheckNamesWhatIsDamaged(t *testing.T) {
	for _, damage := range []struct {
		what string
		do   func(stored []byte) []byte
	}{
		{"a bit of it", func(stored []byte) []byte {
			b := bytes.Clone(stored)
			b[len(b)/2] ^= 1
			return b
		}},
		{"its end", func(stored []byte) []byte { return bytes.Clone(stored[:len(stored)-1]) }},
		{"all of it", func([]byte) []byte { return nil }},
	} {
		t.Run(damage.what, func(t *testing.T) {
			v := openWithCertificates(t)
			if _, err := v.Certificates().SetCertificateContacts(t.Context(), name(t, "a").Vault(), []broker.CertificateContact{{Email: "a@b"}}); err != nil {
				t.Fatal(err)
			}
			whole := records(t, v)
			for _, r := range sorted(whole) {
				write(t, v, map[record][]byte{r: damage.do(whole[r])})
				report, err := checkOpen(t, v)
				if err != nil {
					t.Fatalf("%v: %v", r, err)
				}
				if len(report.Findings) == 0 {
					t.Errorf("%v is damaged, and nothing is found", r)
				}
				for _, f := range report.Findings {
					if f.Name != r.belongsTo() || f.Problem == "" || f.Advice == "" {
						t.Errorf("%v is damaged, and found is %+v", r, f)
					}
				}
				write(t, v, map[record][]byte{r: whole[r]})
			}
		})
	}
}

// A key, secret or certificate that opens and does not go with the others of its
// name is found.
func TestCheckOfPairs(t *testing.T) {
	for _, c := range []struct {
		shelf   *shelf
		change  func(*head)
		problem string
	}{
		{keyShelf, func(h *head) { h.state.Managed = false }, errUnmanaged.Error()},
		{secretShelf, func(h *head) { h.state.Managed = false }, errUnmanaged.Error()},
		{secretShelf, func(h *head) { h.state.Deleted, h.state.Purges = 1, 1<<40 }, "either it or its secret is deleted"},
		{certificateShelf, func(h *head) { h.state.Deleted, h.state.Purges = 1, 1<<40 }, "either it or its key is deleted"},
	} {
		v := openWithCertificates(t)
		r := record{string(c.shelf.heads), "b"}
		h, err := v.openHead(c.shelf, "b", records(t, v)[r])
		if err != nil {
			t.Fatal(err)
		}
		c.change(h)
		stored, err := h.stored()
		if err != nil {
			t.Fatal(err)
		}
		write(t, v, map[record][]byte{r: stored})
		report, err := checkOpen(t, v)
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Findings) == 0 || report.Findings[0].Kind != "certificate" || report.Findings[0].Name != "b" || report.Findings[0].Problem != c.problem {
			t.Errorf("%s: got %+v", c.problem, report.Findings)
		}
	}
}

// A key that is another certificate's opens where it was sealed anew.
func TestCheckOfAForeignKey(t *testing.T) {
	v := openWithCertificates(t)
	all := records(t, v)
	rows := make(map[record][]byte)
	heads := make(map[string]*head)
	for _, object := range []string{"a", "b"} {
		h, err := v.openHead(keyShelf, object, all[record{string(keyShelf.heads), object}])
		if err != nil {
			t.Fatal(err)
		}
		heads[object] = h
	}
	a, b := heads["a"], heads["b"]
	private, err := a.openValue(a.state.Latest, all[record{string(keyShelf.values), string(a.row(a.state.Latest))}])
	if err != nil {
		t.Fatal(err)
	}
	rows[record{string(keyShelf.values), string(b.row(b.state.Latest))}] = b.key.seal(keyShelf.place(purposeValue, "b", b.state.Latest), private)
	write(t, v, rows)
	report, err := checkOpen(t, v)
	if err != nil {
		t.Fatal(err)
	}
	want := []Finding{{"certificate", "b", b.state.Latest.String(), "it is not of its key", advisePair}}
	if !slices.Equal(report.Findings, want) {
		t.Errorf("got %+v", report.Findings)
	}
}

// A flipped bit in the structure of the file ends no check: it is told of, or it is
// where nothing lies.
func TestCheckOfDamagedPages(t *testing.T) {
	v := openFilled(t)
	pageSize := v.db.Info().PageSize
	path, keyFile, _ := closed(t, v)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	damaged := filepath.Join(t.TempDir(), "damaged.db")
	for page := 2 * pageSize; page < len(file); page += pageSize {
		for at := page; at < page+64; at++ {
			bits := bytes.Clone(file)
			bits[at] ^= 1 << (at % 8)
			if err := os.WriteFile(damaged, bits, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := Check(t.Context(), damaged, keyFile)
			if err != nil && strings.Contains(err.Error(), "goroutine") {
				t.Errorf("byte %d of page %d: a stack is told: %v", at-page, page/pageSize, err)
			}
			if err != nil || len(r.Findings) > 0 {
				found++
			}
		}
	}
	if found < 64 {
		t.Errorf("damage was noticed %d times: the test misses the pages in use", found)
	}
}

func TestCheckWithoutItsKey(t *testing.T) {
	path, keyFile, _ := closed(t, openFilled(t))
	other, otherKey, _ := closed(t, openFilled(t))
	empty := filepath.Join(t.TempDir(), "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, keyFile, want string }{
		{path, otherKey, "use the key that was made with this vault"},
		{path, keyFile + "x", "no such file"},
		{other + "x", otherKey, "no such file"},
		{empty, keyFile, "cannot be opened"},
		{keyFile, keyFile, "cannot be opened"},
	} {
		if _, err := Check(t.Context(), c.path, c.keyFile); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
