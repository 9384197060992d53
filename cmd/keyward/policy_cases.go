package main

import (
	"errors"
	"fmt"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

type policyTestCmd struct {
	policyOutput

	Dir   string   `arg:"" optional:"" complete:"files" help:"The folder with the *.cedar files and entities.json. Default: .keyward/policy, if it is there."`
	Files []string `arg:"" optional:"" complete:"files" help:"Files with cases. Default: all *.yaml and *.yml in DIR and in DIR/tests."`
}

// Help shows what a case looks like.
func (*policyTestCmd) Help() string {
	return `Decides each case as the broker would, and compares. A file of cases:

  cases:
    - name: billing reads its password        # what follows the first three is optional
      principal: spiffe://example.org/billing
      action: getSecret
      resource: vaults/pay/secrets/db-password
      expected: allow                         # or deny
      policies: [billing-reads]               # exactly these decide; [] when nothing permits
      groups: [kubernetes/team-pay]
      attributes: {namespace: pay}
      context: {time: 2026-05-01T12:00:00Z, peer: 10.0.0.1, transport: rest, reason: INC-1}

Without a time it is now: a case of a grant that ends fails when it has ended. The last lines name the policies by which no case was
decided; they are no failure.

  keyward policy test policy/
  keyward policy test policy/ cases/billing.yaml -o json

Exit codes: 0 all passed; 1 a case failed, there is none, or a file is refused; 2 wrong usage.`
}

// testJSON is the output for programs.
type testJSON struct {
	Passed int             `json:"passed"`
	Failed int             `json:"failed"`
	Cases  []caseJSON      `json:"cases"`
	Idle   []policyRefJSON `json:"idle"`
}

type caseJSON struct {
	Name     string          `json:"name"`
	Position string          `json:"position"`
	Passed   bool            `json:"passed"`
	Decision string          `json:"decision"`
	Policies []policyRefJSON `json:"policies"`
	Wrong    []string        `json:"wrong"`
}

// Run runs the cases.
func (c *policyTestCmd) Run(a *app) error {
	dir, err := policyDir(c.Dir, "keyward policy test DIR")
	if err != nil {
		return err
	}
	policies, err := policy.Inspect(dir)
	if err != nil {
		return err
	}
	files, err := caseFiles(dir, c.Files)
	if err != nil {
		return err
	}
	var placed []placedCase
	var refused []error
	for _, file := range files {
		found, err := readCases(policies, file)
		if err != nil {
			refused = append(refused, err)
		}
		placed = append(placed, found...)
	}
	if len(refused) > 0 {
		return errors.Join(refused...)
	}
	if len(placed) == 0 {
		return advise("there is no case to test in "+dir, "write some into "+dir+"/tests/cases.yaml: see keyward policy test --help")
	}
	cases := make([]policy.Case, 0, len(placed))
	for _, p := range placed {
		cases = append(cases, p.Case)
	}
	results, idle := policies.Test(a.ctx, cases)
	out := testJSON{Cases: []caseJSON{}, Idle: refsJSON(idle)}
	for i, r := range results {
		passed := len(r.Wrong) == 0
		if passed {
			out.Passed++
		} else {
			out.Failed++
		}
		out.Cases = append(out.Cases, caseJSON{
			Name: r.Name, Position: placed[i].position, Passed: passed,
			Decision: decisionWord(r.Explanation.Allowed), Policies: refsJSON(r.Explanation.Refs), Wrong: orEmpty(r.Wrong),
		})
	}
	if c.Output == outputJSON {
		err = printIndented(a.out, out)
	} else {
		err = printResults(a, policies, placed, results, out)
	}
	if err == nil && out.Failed > 0 {
		err = codedError{code: exitError}
	}
	return err
}

func printResults(a *app, policies *policy.Analysis, placed []placedCase, results []policy.CaseResult, sum testJSON) error {
	for i, r := range results {
		if len(r.Wrong) == 0 {
			fmt.Fprintf(a.out, "PASS  %s\n", printable(r.Name))
			continue
		}
		fmt.Fprintf(a.out, "FAIL  %s\n      %s\n", printable(r.Name), placed[i].position)
		for _, w := range r.Wrong {
			fmt.Fprintf(a.out, "      %s\n", printable(w))
		}
		fmt.Fprintf(a.out, "      %s\n", whyText(r.Explanation))
		if r.Explanation.Allowed {
			continue
		}
		near, err := policies.Near(r.Request)
		if err != nil {
			return err
		}
		printNear(a.out, "      ", near)
	}
	fmt.Fprintf(a.out, "\n%d passed, %d failed; %d of %s decided a case\n",
		sum.Passed, sum.Failed, policies.Len()-len(sum.Idle), count(policies.Len(), "policy", "policies"))
	for _, p := range sum.Idle {
		fmt.Fprintf(a.out, "no case is decided by %s\n", refText(broker.PolicyRef(p)))
	}
	return nil
}

// whyText says which policies decided.
func whyText(x broker.Explanation) string {
	switch {
	case len(x.Refs) == 0:
		return "no policy permits it"
	case x.Allowed:
		return "permitted by " + refsText(x.Refs)
	}
	return "forbidden by " + refsText(x.Refs)
}
