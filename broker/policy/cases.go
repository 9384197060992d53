package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/keyward/keyward/broker"
)

// Case is a request with the decision that is expected.
type Case struct {
	Name    string
	Request broker.Request
	// Allowed is the decision that is expected.
	Allowed bool
	// Policies are the ids of exactly those that should decide. Nil stands for
	// any, and an empty list for none: a denial because nothing permits.
	Policies []string
}

// CaseResult is what came of a Case.
type CaseResult struct {
	Case

	Explanation broker.Explanation
	// Err is that of the decision, if it could not be made.
	Err error
	// Wrong is what is not as expected, a sentence each. A case without passed.
	Wrong []string
}

// Test decides the cases. It returns the result of each, and the policies that
// decided in none.
func (a *Analysis) Test(ctx context.Context, cases []Case) (results []CaseResult, idle []broker.PolicyRef) {
	decided := map[string]bool{}
	for _, c := range cases {
		r := CaseResult{Case: c}
		r.Explanation, r.Err = a.Explain(ctx, c.Request)
		for _, id := range r.Explanation.Policies {
			decided[id] = true
		}
		if got := r.Explanation.Allowed; got != c.Allowed {
			r.Wrong = append(r.Wrong, fmt.Sprintf("want %s, got %s", decisionText(c.Allowed), decisionText(got)))
		}
		if r.Err != nil {
			r.Wrong = append(r.Wrong, r.Err.Error())
		}
		r.Wrong = append(r.Wrong, a.wrongPolicies(c.Policies, r.Explanation.Policies)...)
		results = append(results, r)
	}
	for _, p := range a.Policies() {
		if !decided[p.ID] {
			idle = append(idle, p)
		}
	}
	return results, idle
}

func (a *Analysis) wrongPolicies(want, got []string) []string {
	if want == nil {
		return nil
	}
	for _, id := range want {
		if a.Text(id) == "" {
			return []string{fmt.Sprintf("there is no policy %q", id)}
		}
	}
	want = slices.Compact(slices.Sorted(slices.Values(want)))
	if slices.Equal(want, got) {
		return nil
	}
	return []string{fmt.Sprintf("want it decided by %s, it was by %s", idsText(want), idsText(got))}
}

func idsText(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	return strings.Join(ids, ", ")
}

func decisionText(allowed bool) string {
	if allowed {
		return "allow"
	}
	return "deny"
}
