package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// brokenList describes the broken builds, and how they are written down.
const brokenList = "testdata/broken.txt"

// breakage is an edit of one file, and the test that notices it.
type breakage struct {
	name string
	file string // from the module's root
	// old stands in file exactly once, and new in its place is the break.
	old, new string
	// pkg has the test red, whose output has says when it fails.
	pkg, red, says string
}

// TestBrokenBuilds builds each break of the list, and demands that the test
// named there fails, for the reason named there, and that it passes without.
//
// A break is a text put in place of another while the compiler reads the file
// (go test -overlay). So there is no switch in the code by which what is released
// could be broken. A text that is not found exactly once fails this test: the
// list cannot fall behind the code unseen.
//
// KEYWARD_BROKEN runs the breaks whose names have it in them, and "all" runs all;
// make broken does, as does make check. Otherwise only the list is checked:
// each break is a compilation of its own.
func TestBrokenBuilds(t *testing.T) {
	breaks, err := readBreaks(brokenList)
	if err != nil {
		t.Fatal(err)
	}
	const docs = "docs/reliability.md"
	told, err := os.ReadFile(inModule(docs))
	if err != nil {
		t.Fatal(err)
	}
	which := os.Getenv("KEYWARD_BROKEN")
	unbroken := map[string][]string{} // tests, by package
	for _, b := range breaks {
		broken := b.apply(t)
		if row := fmt.Sprintf("| %s | `%s.%s` |\n", b.name, strings.TrimPrefix(b.pkg, "./"), b.red); !strings.Contains(string(told), row) {
			t.Errorf("%s lacks the row\n%s", docs, row)
		}
		switch {
		case which == "":
			continue
		case which != "all" && !strings.Contains(b.name, which):
			continue
		}
		if !slices.Contains(unbroken[b.pkg], b.red) {
			unbroken[b.pkg] = append(unbroken[b.pkg], b.red)
		}
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			out, err := goTest(t.Context(), b.pkg, []string{b.red}, "-overlay", overlay(t, b.file, broken))
			exit, ended := errors.AsType[*exec.ExitError](err)
			switch {
			case err == nil:
				t.Errorf("%s passes\n%s", b.red, out)
			case !ended || exit.ExitCode() != 1 || !strings.Contains(out, "--- FAIL: "+b.red+" "):
				t.Errorf("%s did not run to its end: %v\n%s", b.red, err, out)
			case !strings.Contains(out, b.says):
				t.Errorf("%s fails for another reason than %q\n%s", b.red, b.says, out)
			}
		})
	}
	for pkg, tests := range unbroken {
		t.Run("unbroken "+pkg, func(t *testing.T) {
			t.Parallel()
			out, err := goTest(t.Context(), pkg, tests)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, name := range tests {
				if !strings.Contains(out, "--- PASS: "+name+" ") {
					t.Errorf("%s did not pass\n%s", name, out)
				}
			}
		})
	}
	if which == "" {
		t.Skipf("%d breaks are as listed, and none was built; make broken builds them", len(breaks))
	}
	if len(unbroken) == 0 {
		t.Errorf("no break is named like %q", which)
	}
}

// apply returns the file, broken.
func (b breakage) apply(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(inModule(b.file))
	if err != nil {
		t.Fatalf("%s: %v", b.name, err)
	}
	if n := strings.Count(string(text), b.old); n != 1 {
		t.Fatalf("%s: the text to break stands in %s %d times, want once; mend %s:\n%s", b.name, b.file, n, brokenList, b.old)
	}
	return strings.Replace(string(text), b.old, b.new, 1)
}

// overlay returns the argument of go's -overlay that puts text in file's place.
func overlay(t *testing.T, file, text string) string {
	t.Helper()
	dir := t.TempDir()
	broken, list := filepath.Join(dir, filepath.Base(file)), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(broken, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	replaced, err := filepath.Abs(inModule(file))
	if err != nil {
		t.Fatal(err)
	}
	text2, err := json.Marshal(map[string]any{"Replace": map[string]string{replaced: broken}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list, text2, 0o600); err != nil {
		t.Fatal(err)
	}
	return list
}

// goTest runs tests of a package.
func goTest(ctx context.Context, pkg string, tests []string, args ...string) (string, error) {
	args = append([]string{"test", "-vet=off", "-v", "-timeout=2m", "-run", "^(" + strings.Join(tests, "|") + ")$"}, args...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = inModule(".")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func inModule(file string) string { return filepath.Join("..", "..", filepath.FromSlash(file)) }

// readBreaks reads a list of breaks.
func readBreaks(path string) ([]breakage, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var breaks []breakage
	var b *breakage
	for i, line := range strings.Split(string(text), "\n") {
		name, begins := strings.CutPrefix(line, "## ")
		key, rest, _ := strings.Cut(line, " ")
		switch {
		case begins:
			breaks = append(breaks, breakage{name: name})
			b = &breaks[len(breaks)-1]
		case line == "" || b == nil: // or what stands above the first
		case key == "in":
			b.file = rest
		case key == "red":
			b.pkg, b.red, _ = strings.Cut(rest, " ")
		case key == "says":
			b.says = rest
		case line[0] == '-':
			b.old += line[1:] + "\n"
		case line[0] == '+':
			b.new += line[1:] + "\n"
		case line[0] == ' ':
			b.old += line[1:] + "\n"
			b.new += line[1:] + "\n"
		default:
			return nil, fmt.Errorf("%s:%d: what is %q?", path, i+1, line)
		}
	}
	for _, b := range breaks {
		if b.file == "" || b.pkg == "" || b.red == "" || b.says == "" || b.old == "" || b.old == b.new {
			return nil, fmt.Errorf("%s: %q lacks in, red, says or a change", path, b.name)
		}
	}
	return breaks, nil
}
