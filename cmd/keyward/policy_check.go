package main

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/keyward/keyward/broker/policy"
)

type policyCheckCmd struct {
	policyOutput

	Dir string `arg:"" optional:"" complete:"files" help:"The folder with the *.cedar files and entities.json. Default: .keyward/policy, if it is there."`
}

// Help says what is found.
func (*policyCheckCmd) Help() string {
	return `Prints a line for each finding, file:line:column: what and what to do. Found is

  - all that the broker would refuse: the syntax, types, attributes and actions that are not in the schema, names that could never match,
  - policies whose time is over, permits that a forbid always overrules, permits that another makes needless,
  - workloads and groups of entities.json that no policy could use.

  keyward policy check policy/
  keyward policy check policy/ -o json

Exit codes: 0 nothing found, 1 something found, 2 wrong usage.`
}

// checkJSON is the output for programs.
type checkJSON struct {
	Policies int           `json:"policies"`
	Findings []findingJSON `json:"findings"`
}

type findingJSON struct {
	Position string `json:"position"`
	Message  string `json:"message"`
}

// problemLine is a line of an error of policy.Load.
var problemLine = regexp.MustCompile(`(?s)^(.*?:\d+:\d+): (.*)$`)

// Run checks a folder.
func (c *policyCheckCmd) Run(a *app) error {
	dir, err := policyDir(c.Dir, "keyward policy check DIR")
	if err != nil {
		return err
	}
	found := checkJSON{Findings: []findingJSON{}}
	analysis, err := policy.Inspect(dir)
	if err != nil {
		for _, p := range unjoin(err) {
			m := problemLine.FindStringSubmatch(p.Error())
			if m == nil {
				return err // there is nothing to check
			}
			found.Findings = append(found.Findings, findingJSON{m[1], m[2]})
		}
	} else {
		found.Policies = analysis.Len()
		for _, f := range analysis.Findings(time.Now()) {
			found.Findings = append(found.Findings, findingJSON(f))
		}
	}
	if c.Output == outputJSON {
		if err := printIndented(a.out, found); err != nil {
			return err
		}
	} else if len(found.Findings) == 0 {
		fmt.Fprintf(a.out, "ok: %s\n", count(found.Policies, "policy", "policies"))
	} else {
		for _, f := range found.Findings {
			fmt.Fprintf(a.out, "%s: %s\n", f.Position, f.Message)
		}
	}
	if len(found.Findings) > 0 {
		return codedError{code: exitError}
	}
	return nil
}

// unjoin returns the errors that were joined.
func unjoin(err error) []error {
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
