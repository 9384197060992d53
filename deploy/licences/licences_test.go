package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The list in docs is that of what is linked now, and all of it is allowed.
func TestLicences(t *testing.T) {
	modules, err := linked("github.com/keyward/keyward/cmd/keyward")
	if err != nil {
		t.Fatal(err)
	}
	if len(modules) < 20 {
		t.Errorf("only %d modules", len(modules))
	}
	if err := judge(modules); err != nil {
		t.Error(err)
	}
	listed, err := os.ReadFile("../../docs/licences.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(listed) != table(modules) {
		t.Error("docs/licences.md is not current; run: make licences")
	}
}

const gpl = `This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public
License as published by the Free Software Foundation, either version 3 of the License, or (at your option) any later version.`

func TestLicencesThatAreRefused(t *testing.T) {
	mit, err := os.ReadFile(filepath.Join(moduleDir(t, "github.com/alecthomas/kong"), "COPYING"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		files map[string]string
		want  string // in the error; "" for none
	}{
		"allowed":           {map[string]string{"LICENSE": string(mit)}, ""},
		"British":           {map[string]string{"licence.md": string(mit), "main.go": "package main"}, ""},
		"copyleft":          {map[string]string{"LICENSE": gpl}, "example.org/m v1.0.0 is under GPL-3.0-or-later"},
		"copyleft beside":   {map[string]string{"LICENSE": string(mit), "COPYING": gpl}, "GPL-3.0-or-later"},
		"none":              {map[string]string{"README.md": string(mit)}, "no licence was found"},
		"words of our own":  {map[string]string{"LICENSE": strings.Repeat("Ask us before you use this. ", 50)}, "no known licence"},
		"with a condition":  {map[string]string{"LICENSE": string(mit) + strings.Repeat("But for use in production, which takes a contract with us. ", 20)}, "no known licence"},
		"of other branches": {map[string]string{"LICENSE-2.0.txt": gpl}, "GPL"},
	} {
		t.Run(name, func(t *testing.T) {
			m := module{Path: "example.org/m", Version: "v1.0.0", Dir: t.TempDir()}
			for file, text := range tt.files {
				if err := os.WriteFile(filepath.Join(m.Dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := m.read(); err != nil {
				t.Fatal(err)
			}
			err := judge([]module{m})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func moduleDir(t *testing.T, path string) string {
	t.Helper()
	modules, err := linked("github.com/keyward/keyward/cmd/keyward")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(modules, func(m module) bool { return m.Path == path })
	if i < 0 {
		t.Fatalf("%s is not linked", path)
	}
	return modules[i].Dir
}

func TestSBOMGetsLicences(t *testing.T) {
	modules := []module{{Path: "a", licences: []string{"MIT"}}, {Path: "b", licences: []string{"Apache-2.0", "BSD-3-Clause"}}}
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "sbom.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	file := write(`{"bomFormat":"CycloneDX","components":[{"name":"b","version":"v1"},{"name":"a"}]}`)
	if err := fill(file, modules); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		BOMFormat  string
		Components []struct {
			Name, Version string
			Licenses      []struct{ License struct{ ID string } }
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if b := doc.Components[0]; doc.BOMFormat != "CycloneDX" || b.Name != "b" || b.Version != "v1" || len(b.Licenses) != 2 || b.Licenses[1].License.ID != "BSD-3-Clause" {
		t.Errorf("%s", text)
	}
	for _, other := range []string{`{"components":[{"name":"a"}]}`, `{"components":[{"name":"a"},{"name":"c"}]}`, `{`} {
		if err := fill(write(other), modules); err == nil {
			t.Errorf("%s was taken", other)
		}
	}
}
