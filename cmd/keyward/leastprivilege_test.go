package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	leastPrivilege    = "../../docs/least-privilege.md"
	leastPrivilegeDir = "../../docs/least-privilege"
)

// runHere runs a command in this process, and returns what it prints.
func runHere(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, func(string) string { return "" }, strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// Each policy of the documentation decides its cases as they say, takes part in
// one, and says nothing in vain.
func TestLeastPrivilegePolicies(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(leastPrivilegeDir, "*"))
	if err != nil || len(dirs) < 10 {
		t.Fatalf("%d policies, want 10 or more: %v", len(dirs), err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			if code, out, errOut := runHere(t, "policy", "check", dir); code != exitOK {
				t.Errorf("check: exit code %d\n%s%s", code, out, errOut)
			}
			code, out, errOut := runHere(t, "policy", "test", dir)
			if code != exitOK || strings.Contains(out, "no case is decided by") {
				t.Errorf("test: exit code %d\n%s%s", code, out, errOut)
			}
		})
	}
}

// The document quotes the files as they are, and all of the policies.
func TestLeastPrivilegeQuotes(t *testing.T) {
	for language, pattern := range map[string]string{"cedar": "*/*.cedar", "json": "*/entities.json", "yaml": "*/cases.yaml"} {
		files, err := filepath.Glob(filepath.Join(leastPrivilegeDir, pattern))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		left := map[string]string{}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			left[string(text)] = file
		}
		for _, b := range blocksOf(t, leastPrivilege, language) {
			if left[b.text] == "" {
				t.Errorf("%s:%d: this %s is no file of %s, or is quoted twice", leastPrivilege, b.line, language, leastPrivilegeDir)
			}
			delete(left, b.text)
		}
		if language == "yaml" {
			continue
		}
		for _, file := range left {
			t.Errorf("%s is not quoted", file)
		}
	}
}

// What the document shows of a command is what it prints.
func TestLeastPrivilegeCommands(t *testing.T) {
	blocks := blocksOf(t, leastPrivilege, "console")
	dir := t.TempDir() // some write files
	if err := os.CopyFS(dir, os.DirFS(leastPrivilegeDir)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	commands := 0
	for _, b := range blocks {
		for part := range strings.SplitSeq("\n"+b.text, "\n$ ") {
			if part = strings.TrimPrefix(part, "\n"); part == "" {
				continue
			}
			line, want, _ := strings.Cut(part, "\n")
			words := strings.Fields(line)
			if words[0] != "keyward" {
				t.Fatalf("%s:%d: %s", leastPrivilege, b.line, line)
			}
			commands++
			code, out, errOut := runHere(t, words[1:]...)
			if code != exitOK || strings.TrimRight(out, "\n") != strings.TrimRight(want, "\n") {
				t.Errorf("%s:%d: %s: exit code %d, printed\n%s%s\nwant\n%s", leastPrivilege, b.line, line, code, out, errOut, want)
			}
		}
	}
	if commands < 12 {
		t.Errorf("%d commands, want 12 or more", commands)
	}
}
