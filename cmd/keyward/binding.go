package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// binding says which secret a variable of the environment gets.
type binding struct {
	variable string
	secret   string // as on a command line: short, or in full
}

// UnmarshalText implements encoding.TextUnmarshaler for VARIABLE=SECRET.
func (b *binding) UnmarshalText(text []byte) error {
	variable, secret, ok := strings.Cut(string(text), "=")
	if !ok || secret == "" {
		return fmt.Errorf("%q: want VARIABLE=SECRET, such as PGPASSWORD=db-password", text)
	}
	if !validVariable(variable) {
		return fmt.Errorf("%q: a variable's name is letters, digits and _, and begins with no digit", variable)
	}
	*b = binding{variable: variable, secret: secret}
	return nil
}

// bindingOf names a variable for its secret: db-password is DB_PASSWORD.
func bindingOf(secret string) (binding, error) {
	base, _, _ := strings.Cut(secret, "/versions/")
	variable := strings.ToUpper(strings.ReplaceAll(path.Base(base), "-", "_"))
	if !validVariable(variable) {
		return binding{}, advise(fmt.Sprintf("%q makes no name for a variable", secret), "choose one with --env VARIABLE=SECRET")
	}
	return binding{variable: variable, secret: secret}, nil
}

func validVariable(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// readBindings reads a mapping file: a VARIABLE=SECRET on each line. Space
// around either is dropped; empty lines and those that begin with # are skipped.
func readBindings(r io.Reader) ([]binding, error) {
	var all []binding
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		variable, secret, _ := strings.Cut(line, "=")
		var b binding
		if err := b.UnmarshalText([]byte(strings.TrimSpace(variable) + "=" + strings.TrimSpace(secret))); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		all = append(all, b)
	}
	return all, lines.Err()
}

func readBindingsFile(file string) ([]binding, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := readBindings(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return all, nil
}
