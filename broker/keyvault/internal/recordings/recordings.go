// Package recordings reads recorded exchanges with Key Vault, for tests of both
// sides of its contract.
//
// Our own, in ours, are always there: small ones, made up from the facts. A
// folder of others, in the same form, is named by the variable Folder.
package recordings

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Folder names the environment variable with the absolute path of a folder of
// recordings.
const Folder = "KEYWARD_RECORDINGS"

// ErrNone says that no folder of recordings is named, and how to name one.
var ErrNone = errors.New("skipped: set " + Folder + " to the absolute path of a folder with *secrets.scenarios.json to replay what is recorded there")

//go:embed ours
var ours embed.FS

// Set is what one folder has.
type Set struct {
	Scenarios []Scenario
	// Errors are replies without a request.
	Errors []Reported
}

// Scenario is a sequence of exchanges with one vault.
type Scenario struct {
	Name  string `json:"scenario"`
	Steps []Step `json:"steps"`
}

// Step is an exchange.
type Step struct {
	Request  Request  `json:"request"`
	Response Response `json:"response"`
	// Repeated is how often it was recorded in a row; 0 is once.
	Repeated int `json:"repeated"`
}

// Times returns how often the step was recorded.
func (s Step) Times() int { return max(s.Repeated, 1) }

// Request is what was asked. Authorized: with a token.
type Request struct {
	Method     string          `json:"method"`
	URL        string          `json:"url"`
	Authorized bool            `json:"authorized"`
	Body       json.RawMessage `json:"body"`
}

// Response is what the vault said.
type Response struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
}

// Reported is an error that somebody saw.
type Reported struct {
	Case   string          `json:"case"`
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
}

// Ours returns our own.
func Ours() (Set, error) {
	folder, err := fs.Sub(ours, "ours")
	if err != nil {
		return Set{}, err
	}
	return read(folder)
}

// Others returns those of the named folder, or ErrNone.
func Others() (Set, error) {
	name := os.Getenv(Folder)
	if name == "" {
		return Set{}, ErrNone
	}
	return read(os.DirFS(name))
}

// OthersOfKeys is Others, with what was recorded of keys.
func OthersOfKeys() (Set, error) {
	name := os.Getenv(Folder)
	if name == "" {
		return Set{}, ErrNone
	}
	return readThose(os.DirFS(name), "*keys.scenarios.json")
}

// OthersOfCertificates is Others, with what was recorded of certificates.
func OthersOfCertificates() (Set, error) {
	name := os.Getenv(Folder)
	if name == "" {
		return Set{}, ErrNone
	}
	return readThose(os.DirFS(name), "*certificates.scenarios.json")
}

func read(folder fs.FS) (Set, error) { return readThose(folder, "*secrets.scenarios.json") }

func readThose(folder fs.FS, pattern string) (Set, error) {
	var s Set
	files, err := fs.Glob(folder, pattern)
	if err != nil {
		return Set{}, err
	}
	for _, name := range files {
		var f struct {
			Scenarios []Scenario `json:"scenarios"`
		}
		if err := decode(folder, name, &f); err != nil {
			return Set{}, err
		}
		s.Scenarios = append(s.Scenarios, f.Scenarios...)
	}
	var f struct {
		Errors []Reported `json:"errors"`
	}
	if err := decode(folder, "errors.reported.json", &f); err != nil {
		return Set{}, err
	}
	s.Errors = f.Errors
	if len(s.Scenarios) == 0 || len(s.Errors) == 0 {
		// A test of nothing would pass.
		return Set{}, errors.New("recordings: the folder has no scenarios, or no errors")
	}
	return s, nil
}

func decode(folder fs.FS, name string, into any) error {
	text, err := fs.ReadFile(folder, name)
	if err != nil {
		return fmt.Errorf("recordings: %w", err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("recordings: %s: %w", name, err)
	}
	return nil
}
