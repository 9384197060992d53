package policy_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"

	"github.com/keyward/keyward/broker/policy"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file, or writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// folders returns the folders in a folder of testdata.
func folders(t *testing.T, dir string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join("testdata", dir, "*", ""))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no cases in testdata/%s: %v", dir, err)
	}
	return dirs
}

// write makes a folder of files, given as name and text.
func write(tb testing.TB, files ...string) string {
	tb.Helper()
	dir := tb.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

func load(tb testing.TB, files ...string) *policy.Engine {
	tb.Helper()
	e, err := policy.Load(write(tb, files...))
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// TestLoadErrors loads what is wrong, and compares all that is said of it.
func TestLoadErrors(t *testing.T) {
	for _, dir := range folders(t, "errors") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			_, err := policy.Load(dir)
			if err == nil {
				t.Fatal("loaded")
			}
			golden(t, filepath.Join(dir, "want.golden"), filepath.ToSlash(err.Error())+"\n")
		})
	}
}

func TestLoadMissingFolder(t *testing.T) {
	_, err := policy.Load(filepath.Join(t.TempDir(), "policy"))
	if err == nil || !strings.Contains(err.Error(), "make it") {
		t.Errorf("got %v", err)
	}
}

func TestLoadLeavesOtherFilesAlone(t *testing.T) {
	dir := write(
		t,
		"a.cedar", `permit (principal, action, resource);`,
		".#a.cedar", `an editor's`,
		"README.md", `permit (principal, action, resource);`,
		"a.cedar.orig", `permit (principal, action, resource);`,
	)
	if err := os.Mkdir(filepath.Join(dir, "old.cedar"), 0o700); err != nil {
		t.Fatal(err)
	}
	e, err := policy.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if e.Len() != 1 {
		t.Errorf("loaded %d policies, want 1", e.Len())
	}
}

func TestLoadHugePolicy(t *testing.T) {
	text := `permit (principal, action, resource) when { ` + strings.Repeat("(", 1_000_000) + ` };`
	_, err := policy.Load(write(t, "a.cedar", text))
	if err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("got %v", err)
	}
	// As deep as is allowed.
	text = `permit (principal, action, resource) when { ` + strings.Repeat("(", 49_000) + `true` + strings.Repeat(")", 49_000) + ` };`
	load(t, "a.cedar", text)
	text = `permit (principal, action, resource) when { ` + strings.Repeat("!", 98_000) + `true };`
	load(t, "a.cedar", text)
}

func TestHash(t *testing.T) {
	const (
		one = `permit (principal, action, resource);`
		two = `forbid (principal, action, resource);`
	)
	base := load(t, "a.cedar", one, "b.cedar", two).Hash()
	if again := load(t, "b.cedar", two, "a.cedar", one, "notes.txt", "x").Hash(); again != base {
		t.Errorf("the same files, another hash: %s, %s", base, again)
	}
	for name, files := range map[string][]string{
		"a comment":   {"a.cedar", one + "//", "b.cedar", two},
		"a name":      {"a.cedar", one, "c.cedar", two},
		"names apart": {"a.cedar", two, "b.cedar", one},
		"one file":    {"a.cedar", one + two},
		"entities":    {"a.cedar", one, "b.cedar", two, "entities.json", "[]"},
	} {
		if h := load(t, files...).Hash(); h == base {
			t.Errorf("%s: the hash did not change", name)
		}
	}
}

// FuzzLoad loads any text. Whatever it is, nothing panics, and what is loaded
// is what Cedar's own parser finds in the whole of the file, and decides. What
// is not loaded has a place.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*/*.cedar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "[]")
	}
	files, err = filepath.Glob("testdata/messages/*.golden")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "#") {
				f.Add(line, messagesEntities)
			}
		}
	}
	// Cedar gives no position for what is wrong at the very beginning.
	f.Add("\x00", "\x00")
	f.Add("\xff", "")
	f.Add(`permit (principal, action, resource);`, `[{"uid": {"type": "Group", "id": "a"}, "parents": [], "attrs": {}}]`)
	f.Add("/*/ ; */permit(principal,action,resource)when{\"\\\";\"==\"\"};//;", `[1,`)
	place := regexp.MustCompile(`^(a\.cedar|entities\.json):[1-9]\d*:[1-9]\d*: .`)
	f.Fuzz(func(t *testing.T, text, entities string) {
		dir := write(t, "a.cedar", text, "entities.json", entities)
		e, err := policy.Load(dir)
		if err != nil && !strings.Contains(err.Error(), "has no policy") {
			for line := range strings.Lines(strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")) {
				if !place.MatchString(line) {
					t.Fatalf("no place: %s", line)
				}
			}
		}
		for _, ask := range []string{
			"dev/w getSecret vaults/pay/secrets/db group=dev/g peer=10.1.2.3",
			"spiffe://example.org/pay restoreSecret vaults/pay transport=rest",
			"dev/w listSecrets vaults/pay/secrets",
		} {
			if err == nil {
				_, _ = e.Authorize(t.Context(), request(t, ask)) // an error is a denial
			}
		}
		whole, parseErr := cedar.NewPolicyListFromBytes("a.cedar", []byte(text))
		if parseErr != nil && err == nil {
			t.Fatalf("loaded what Cedar refuses: %v", parseErr)
		}
		if err == nil && e.Len() != len(whole) {
			t.Fatalf("loaded %d policies of %d", e.Len(), len(whole))
		}
	})
}
