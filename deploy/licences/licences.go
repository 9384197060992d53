package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// allowed are the licences, by SPDX's names, under which code may be linked: they
// ask for a notice, and for nothing of who uses the command.
var allowed = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// leastCovered is how much of a file must be the known words of licences, in
// percent. The rest are names, years and headings.
const leastCovered = 75

// standardLibrary is linked too, and is no module to `go list`.
const standardLibrary = "std"

// module is one that is linked, with what its licence files are found to say.
type module struct {
	Path, Version, Dir string

	licences []string
	unknown  []string // what is wrong with it
}

// linked returns the modules of the packages that main is linked from on Linux, as
// it is released, and the standard library; not the main module itself.
func linked(main string) ([]module, error) {
	cmd := exec.Command("go", "list", "-deps", "-f", `{{with .Module}}{{if not .Main}}{"Path":"{{.Path}}","Version":"{{.Version}}","Dir":{{printf "%q" .Dir}}}{{end}}{{end}}`, main) //nolint:gosec,noctx // go, and ends by itself
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, complaint.String())
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output() //nolint:noctx // ends by itself
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	modules := []module{{Path: standardLibrary, Version: runtime.Version(), Dir: strings.TrimSpace(string(goroot))}}
	for dec := json.NewDecoder(&out); ; {
		var m module
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if !slices.ContainsFunc(modules, func(other module) bool { return other.Path == m.Path }) {
			modules = append(modules, m)
		}
	}
	slices.SortFunc(modules, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	for i := range modules {
		if err := modules[i].read(); err != nil {
			return nil, err
		}
	}
	return modules, nil
}

// licenceFile is what a module's licence is called.
var licenceFile = regexp.MustCompile(`(?i)^(un)?(licen[sc]e|copying)([-._].*)?$`)

// read finds the licences of the module's files.
func (m *module) read() error {
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return fmt.Errorf("%s: %w; run: go mod download", m.Path, err)
	}
	for _, e := range entries {
		if e.IsDir() || !licenceFile.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.Dir, e.Name()))
		if err != nil {
			return err
		}
		ids, problem := licencesIn(text)
		if problem != "" {
			m.unknown = append(m.unknown, e.Name()+" "+problem)
		}
		m.licences = append(m.licences, ids...)
	}
	slices.Sort(m.licences)
	m.licences = slices.Compact(m.licences)
	if len(m.licences) == 0 && len(m.unknown) == 0 {
		m.unknown = []string{"no licence was found"}
	}
	return nil
}

// licencesIn returns the licences whose words a text has, and what is wrong with
// the rest of it.
func licencesIn(text []byte) (ids []string, problem string) {
	found := licensecheck.Scan(text)
	for _, match := range found.Match {
		if !match.IsURL {
			ids = append(ids, match.ID)
		}
	}
	if found.Percent < leastCovered {
		problem = fmt.Sprintf("has words of no known licence: only %.0f %% of it is known", found.Percent)
	}
	return ids, problem
}

// judge fails for each module that has a licence which is not allowed, or one that
// is not known.
func judge(modules []module) error {
	var errs []error
	for _, m := range modules {
		for _, id := range m.licences {
			if !slices.Contains(allowed, id) {
				errs = append(errs, fmt.Errorf("%s %s is under %s, which is not among those allowed: %s", m.Path, m.Version, id, strings.Join(allowed, ", ")))
			}
		}
		for _, problem := range m.unknown {
			errs = append(errs, fmt.Errorf("%s %s: %s", m.Path, m.Version, problem))
		}
	}
	return errors.Join(errs...)
}

// table is docs/licences.md. It has no version of Go, which is whose who builds.
func table(modules []module) string {
	var b strings.Builder
	b.WriteString("# Licences\n\n" +
		"Keyward is under the Apache License 2.0: [LICENSE](../LICENSE). The command is linked from these modules, on Linux, as it is\n" +
		"released. Made by `make licences`; a test fails if a module, a version or a licence differs, or a licence is not one of\n" +
		strings.Join(allowed, ", ") + ".\n\n| module | version | licence |\n|---|---|---|\n")
	for _, m := range modules {
		version := m.Version
		if m.Path == standardLibrary {
			version = "Go's"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", m.Path, version, strings.Join(m.licences, ", "))
	}
	return b.String()
}

// fill writes the licences into the components of a CycloneDX document. Each of
// its components must be one of the modules.
func fill(file string, modules []module) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	components, _ := doc["components"].([]any)
	if len(components) != len(modules) {
		return fmt.Errorf("%s: %d components, and %d modules are linked", file, len(components), len(modules))
	}
	for _, c := range components {
		component, _ := c.(map[string]any)
		i := slices.IndexFunc(modules, func(m module) bool { return m.Path == component["name"] })
		if i < 0 {
			return fmt.Errorf("%s: no module %v is linked", file, component["name"])
		}
		var licences []any
		for _, id := range modules[i].licences {
			licences = append(licences, map[string]any{"license": map[string]any{"id": id}})
		}
		component["licenses"] = licences
	}
	out, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(out, '\n'), 0o644) //nolint:gosec // for anybody to read
}
