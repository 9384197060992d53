package main

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/keyward/keyward/broker/policy"
)

// restOfConfig completes an example that shows only some of the sections.
var restOfConfig = map[string]string{
	"tls":      `{certificate: server.pem, key: server-key.pem, clientCa: ca.pem}`,
	"identity": `{mtls: {trustDomain: example.org}}`,
	"policy":   `{path: policy/}`,
	"audit":    `{path: audit.jsonl}`,
	"vaults":   `{dev: {local: {path: vault.db, keyFile: vault.key}}}`,
}

// block is one of a document's code blocks; line is that of its fence.
type block struct {
	line int
	text string
}

// blocksOf returns the code blocks of a language in a document.
func blocksOf(t *testing.T, file, language string) []block {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	var blocks []block
	for _, at := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatchIndex(doc, -1) {
		blocks = append(blocks, block{line: 1 + strings.Count(doc[:at[0]], "\n"), text: doc[at[2]:at[3]]})
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no %s", file, language)
	}
	return blocks
}

// What the documents tell people to write is what keyward serve accepts, all of
// it: no warning either.
func TestDocumentedConfigurations(t *testing.T) {
	for file, least := range map[string]int{"README.md": 1, "docs/azure.md": 5, "docs/identity.md": 4, "docs/audit.md": 2} {
		checked := 0
		for _, b := range blocksOf(t, filepath.Join("../..", file), "yaml") {
			var sections map[string]any
			if err := yaml.Unmarshal([]byte(b.text), &sections); err != nil {
				t.Errorf("%s:%d: %v", file, b.line, err)
				continue
			}
			if sections["kind"] != nil { // a manifest for Kubernetes
				continue
			}
			text := b.text
			for _, name := range slices.Sorted(maps.Keys(restOfConfig)) {
				if _, ok := sections[name]; !ok {
					text += name + ": " + restOfConfig[name] + "\n"
				}
			}
			_, warnings, err := parseConfig("keyward.yaml", []byte(text))
			if err != nil || len(warnings) > 0 {
				t.Errorf("%s:%d: the example is not accepted: %v %q\n%s", file, b.line, err, warnings, text)
			}
			checked++
		}
		if checked < least {
			t.Errorf("%s: %d configurations, want %d or more", file, checked, least)
		}
	}
}

// And the policies are ones that keyward serve would load.
func TestDocumentedPolicies(t *testing.T) {
	for _, file := range []string{"docs/azure.md", "docs/identity.md"} {
		for _, b := range blocksOf(t, filepath.Join("../..", file), "cedar") {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "example.cedar"), []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := policy.Load(dir); err != nil {
				t.Errorf("%s:%d: %v", file, b.line, err)
			}
		}
	}
}

// Links between the files of the repository lead somewhere, and so do those to
// a section of the same document.
func TestDocumentedLinks(t *testing.T) {
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(docs, "../../README.md", "../../CONTRIBUTING.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sections := map[string]bool{}
		for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
			name := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(h[1]), "")
			sections["#"+strings.ReplaceAll(name, " ", "-")] = true
		}
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(string(text), -1) {
			switch link, _, _ := strings.Cut(m[1], "#"); {
			case strings.Contains(link, "://"):
			case link == "" && !sections[m[1]]:
				t.Errorf("%s: there is no section %s", file, m[1])
			case link != "":
				if _, err := os.Stat(filepath.Join(filepath.Dir(file), link)); err != nil {
					t.Errorf("%s: %v", file, err)
				}
			}
		}
	}
}

// A defence is shown by tests that there are.
func TestSecurityNamesTests(t *testing.T) {
	text, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for _, top := range []string{"broker", "service", "cmd", "deploy"} {
		err := filepath.WalkDir(filepath.Join("../..", top), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, m := range declared.FindAllSubmatch(source, -1) {
				tests[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 30 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, m := range named {
		if !tests[m[1]] {
			t.Errorf("SECURITY.md names %s, which there is not", m[1])
		}
	}
}
