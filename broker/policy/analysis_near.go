package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/keyward/keyward/broker"
)

// Near is a permit that permits something like what was asked.
type Near struct {
	Policy broker.PolicyRef
	// Scope is what it says of principal, action and resource, in this order.
	Scope [3]ScopePart
	// Condition is the first that does not hold, where the scope takes the
	// request. Where it takes it and there is none, the policy permits, and was
	// overruled.
	Condition *Condition

	rank int
}

// ScopePart is a part of a policy's scope.
type ScopePart struct {
	// Variable is "principal", "action" or "resource".
	Variable string
	// Matches: it takes the request's.
	Matches bool
	// Text is what it demands, in Cedar, or "" where anything will do.
	Text string
}

// variables of a scope, and what a match of each is worth: a policy for the same
// caller is nearer than one for another, and a wrong name is the likeliest slip.
var variables = []struct {
	name  string
	worth int
}{{"principal", 4}, {"action", 3}, {"resource", 2}}

// Near returns the permits that come near to r, the nearest first: those whose
// scope takes it all, then those that take two of principal, action and resource,
// and name at least one of the two. The resource is an object or a vault.
func (a *Analysis) Near(r broker.Request) ([]Near, error) {
	q, err := a.newQuery(r)
	if err != nil {
		return nil, err
	}
	if q.collection {
		return nil, fmt.Errorf("policy: %s is decided on each of %s: name one", r.Action, r.Resource)
	}
	env := eval.Env{
		Entities:  q,
		Principal: q.request.Principal,
		Action:    q.request.Action,
		Resource:  q.request.Resource,
		Context:   q.request.Context,
	}
	var all []Near
	for _, p := range a.objects.policies {
		if p.policy.effect() != cedar.Permit {
			continue
		}
		if n, ok := a.near(p, q, env); ok {
			all = append(all, n)
		}
	}
	slices.SortStableFunc(all, func(a, b Near) int { return b.rank - a.rank })
	return all, nil
}

func (a *Analysis) near(p namedPolicy, q *query, env eval.Env) (Near, bool) {
	body := p.policy.ast
	n := Near{Policy: refOf(p)}
	matched, named := 0, 0
	for i, v := range variables {
		part := ScopePart{Variable: v.name, Matches: true}
		if node := scopeNode(body, v.name); node != nil {
			value, err := eval.Eval(node, env)
			part.Text, part.Matches = textOf(node), err == nil && value == cedar.True
		}
		n.Scope[i] = part
		if !part.Matches {
			continue
		}
		matched++
		n.rank += 2 * v.worth
		if part.Text != "" {
			named++
			n.rank += v.worth
		}
	}
	if matched < 2 || named == 0 {
		return n, false
	}
	if matched == len(variables) {
		n.rank += 100
		for i, c := range body.Conditions {
			value, err := eval.Eval(c.Body, env)
			if err == nil && value == cedar.Boolean(c.Condition == ast.ConditionWhen) {
				continue
			}
			failed := a.condition(p, i)
			if err != nil {
				failed.Failure = err.Error()
			}
			n.Condition = &failed
			return n, true
		}
		n.rank += 100
	}
	if named := scoped(body.Resource); vaultOf(named) == q.vault || named == q.vault {
		n.rank++
	}
	return n, true
}

// Overruled reports whether the policy permits, and a forbid won.
func (n Near) Overruled() bool {
	return n.Condition == nil && !slices.ContainsFunc(n.Scope[:], func(p ScopePart) bool { return !p.Matches })
}

// String tells why it did not permit, in words.
func (n Near) String() string {
	switch {
	case n.Overruled():
		return "it permits this, but a forbid wins"
	case n.Condition != nil && n.Condition.BreakGlass:
		return "right principal, action and resource, but it permits only who gives a reason"
	case n.Condition != nil && n.Condition.Failure != "":
		return fmt.Sprintf("right principal, action and resource, but the condition at %s could not be evaluated: %s: %s",
			n.Condition.Position, n.Condition.Text, n.Condition.Failure)
	case n.Condition != nil:
		return fmt.Sprintf("right principal, action and resource, but the condition at %s does not hold: %s", n.Condition.Position, n.Condition.Text)
	}
	var right []string
	wrong := ""
	for _, p := range n.Scope {
		if p.Matches {
			right = append(right, p.Variable)
		} else {
			wrong = fmt.Sprintf("wrong %s: it wants %s", p.Variable, p.Text)
		}
	}
	return fmt.Sprintf("right %s, %s", strings.Join(right, " and "), wrong)
}
