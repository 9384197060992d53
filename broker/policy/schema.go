package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// cedar-go's validator says whether a policy fits the schema. What is said of
// one that does not, and where, is found here and in typing.go, since the
// validator knows no positions and names nothing that would fit.

// typeNames, actionNames and attributeNames are what there is to choose from.
func typeNames(sch *resolved.Schema) []string {
	var names []string
	for t := range sch.Entities {
		names = append(names, string(t))
	}
	return names
}

func actionNames(sch *resolved.Schema) []string {
	var names []string
	for uid := range sch.Actions {
		names = append(names, string(uid.ID))
	}
	return names
}

func attributeNames(r resolved.RecordType) []string {
	var names []string
	for name := range r {
		names = append(names, string(name))
	}
	return names
}

// noType and noAction are what is said of names that the schema does not have,
// or "".
func noType(sch *resolved.Schema, t cedar.EntityType) string {
	if _, ok := sch.Entities[t]; ok || t == typeAction {
		return ""
	}
	return fmt.Sprintf("there is no type %q%s", t, didYouMean(string(t), typeNames(sch)))
}

func noAction(sch *resolved.Schema, uid cedar.EntityUID) string {
	if _, ok := sch.Actions[uid]; ok {
		return ""
	}
	if uid.Type != typeAction {
		return fmt.Sprintf(`an action is Action::"…", not %s`, uid)
	}
	return fmt.Sprintf("there is no action %q%s", uid.ID, didYouMean(string(uid.ID), actionNames(sch)))
}

// checkSchema checks s against the schema.
func (c *checker) checkSchema(s *located) []problem {
	problems := c.silent(s)
	err := c.schema.Policy("", s.ast)
	if err == nil && !s.any(compares) {
		return problems
	}
	if err != nil {
		problems = append(problems, c.checkScope(s)...)
	}
	situations := c.takenBy(s.ast)
	told := map[cedar.Position]bool{} // what is wrong in one situation is so in others
	for _, e := range situations {
		t := typer{located: s, sch: c.resolved, env: e, situations: situations}
		for _, cond := range s.conditions {
			t.condition(cond)
		}
		found := t.problems
		if err == nil {
			found = t.missed
		}
		problems = append(problems, slices.DeleteFunc(slices.Clone(found), func(p problem) bool { return told[p.at] })...)
		for _, p := range found {
			told[p.at] = true
		}
	}
	if err != nil && len(problems) == 0 {
		for line := range strings.Lines(err.Error()) {
			problems = append(problems, s.problem(0, strings.TrimSpace(line)))
		}
	}
	return problems
}

// compares: the validator lets a time be less than a number, which then is an
// error whenever it is asked.
func compares(e *expr) bool {
	switch e.node.(type) {
	case ast.NodeTypeLessThan, ast.NodeTypeLessThanOrEqual, ast.NodeTypeGreaterThan, ast.NodeTypeGreaterThanOrEqual:
		return true
	}
	return false
}

// checkScope checks the scope alone.
func (c *checker) checkScope(s *located) []problem {
	var problems []problem
	say := func(t int, msg string) {
		if msg != "" {
			problems = append(problems, s.problem(t, msg))
		}
	}
	for _, e := range []*expr{s.principal, s.resource} {
		if e == nil {
			continue
		}
		switch n := e.node.(type) {
		case ast.NodeTypeIs:
			say(e.op, noType(c.resolved, n.EntityType))
		case ast.NodeTypeIsIn:
			say(e.op, noType(c.resolved, n.EntityType))
		}
		if len(e.args) > 1 {
			uid, _ := uidOf(e.args[1].node)
			say(e.args[1].from, noType(c.resolved, uid.Type))
		}
	}
	if s.action != nil {
		for _, e := range operands(s.action.args[1]) {
			uid, _ := uidOf(e.node)
			say(e.from, noAction(c.resolved, uid))
		}
		if set, ok := s.ast.Action.(ast.ScopeTypeInSet); ok && len(set.Entities) == 0 {
			say(s.action.args[1].from, emptySet)
		}
	}
	if len(problems) == 0 && len(c.takenBy(s.ast)) == 0 {
		say(c.noEnv(s))
	}
	return problems
}

const emptySet = "the list is empty, so nothing is in it: name what may be"

// operands are the members of a set that is written out, or e itself.
func operands(e *expr) []*expr {
	if _, ok := e.node.(ast.NodeTypeSet); ok {
		return e.args
	}
	return []*expr{e}
}

func uidOf(n ast.IsNode) (cedar.EntityUID, bool) {
	if v, ok := n.(ast.NodeValue); ok {
		uid, ok := v.Value.(cedar.EntityUID)
		return uid, ok
	}
	return cedar.EntityUID{}, false
}

// noEnv says why no action applies to what the scope takes, all of which the
// schema has, and at which token.
func (c *checker) noEnv(s *located) (at int, msg string) {
	if !slices.ContainsFunc(c.situations, func(e env) bool { return takesType(c.resolved, s.ast.Principal, e.principal) }) {
		return s.principal.op, notAPrincipal(s.principal)
	}
	if !slices.ContainsFunc(c.situations, func(e env) bool { return takesType(c.resolved, s.ast.Resource, e.resource) }) {
		return s.resource.op, fmt.Sprintf("no resource can be that: a resource is a Secret, a Key, a Certificate or a Vault; write resource in %s::%q", typeVault, "…")
	}
	if eq, ok := s.ast.Action.(ast.ScopeTypeEq); ok && c.resolved.Actions[eq.Entity].AppliesTo == nil {
		return s.action.op, fmt.Sprintf("%q is a group of actions: write action in %s", eq.Entity.ID, eq.Entity)
	}
	var asked []string
	for _, e := range c.situations {
		if takesAction(c.resolved, s.ast.Action, e.action) && !slices.Contains(asked, string(e.resource)) {
			asked = append(asked, string(e.resource))
		}
	}
	what := "these actions are"
	if eq, ok := s.ast.Action.(ast.ScopeTypeEq); ok {
		what = string(eq.Entity.ID) + " is"
	}
	of := s.resource.args[len(s.resource.args)-1]
	uid, _ := uidOf(of.node)
	switch scope := s.ast.Resource.(type) {
	case ast.ScopeTypeIs:
		return s.resource.op, fmt.Sprintf("%s asked of a %s, never of a %s; write resource is %s", what, strings.Join(asked, " or a "), scope.Type, asked[0])
	case ast.ScopeTypeIsIn:
		return s.resource.op, fmt.Sprintf("%s asked of a %s, never of a %s; write resource is %s", what, strings.Join(asked, " or a "), scope.Type, asked[0])
	}
	msg = fmt.Sprintf("%s asked of a %s, never of a %s", what, strings.Join(asked, " or a "), uid.Type)
	n, err := objectOf(uid)
	switch {
	case uid.Type == typeVault:
		msg += fmt.Sprintf("; write resource in %s", uid)
	case slices.Contains(asked, string(typeVault)) && err == nil:
		msg += fmt.Sprintf("; write resource == %s", vaultUID(n))
	}
	return of.from, msg
}

func notAPrincipal(e *expr) string {
	if uid, ok := uidOf(e.args[len(e.args)-1].node); ok && uid.Type == typeGroup {
		return fmt.Sprintf("a principal is a Workload, never the Group itself; write principal in %s", uid)
	}
	return `no principal can be that: a principal is a Workload; write principal == Workload::"…" or principal in Group::"…"`
}

// silent finds names that the schema does not have where the validator takes
// them for a condition that is false: behind "has" and "is", and tags.
func (c *checker) silent(s *located) []problem {
	var problems []problem
	for _, cond := range s.conditions {
		cond.walk(func(e *expr) {
			switch n := e.node.(type) {
			case ast.NodeTypeIs:
				if msg := noType(c.resolved, n.EntityType); msg != "" {
					problems = append(problems, s.problem(e.op, msg))
				}
			case ast.NodeTypeIsIn:
				if msg := noType(c.resolved, n.EntityType); msg != "" {
					problems = append(problems, s.problem(e.op, msg))
				}
			case ast.NodeTypeHasTag:
				problems = append(problems, s.problem(e.op, noTags))
			case ast.NodeTypeHas:
				if names, what := c.attributesOf(n.Arg); what != "" && !slices.Contains(names, string(n.Value)) {
					problems = append(problems, s.problem(e.op, fmt.Sprintf("%s has no attribute %q%s", what, n.Value, didYouMean(string(n.Value), names))))
				}
			}
		})
	}
	return problems
}

// attributesOf returns the attributes that a variable or a named entity could
// have, and what to call it; nothing for another expression.
func (c *checker) attributesOf(n ast.IsNode) (names []string, what string) {
	of := func(t cedar.EntityType) { names = append(names, attributeNames(c.resolved.Entities[t].Shape)...) }
	if uid, ok := uidOf(n); ok {
		of(uid.Type)
		return names, article(uid.Type)
	}
	v, ok := n.(ast.NodeTypeVariable)
	if !ok {
		return nil, ""
	}
	for _, a := range c.resolved.Actions {
		if a.AppliesTo == nil {
			continue
		}
		switch v.Name {
		case "principal":
			for _, t := range a.AppliesTo.Principals {
				of(t)
			}
		case "resource":
			for _, t := range a.AppliesTo.Resources {
				of(t)
			}
		case "context":
			names = append(names, attributeNames(a.AppliesTo.Context)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), map[cedar.String]string{
		"principal": "a principal", "resource": "a resource", "context": "the context", "action": "an action",
	}[v.Name]
}

// walk calls f on e and all in it.
func (e *expr) walk(f func(*expr)) {
	f(e)
	for _, a := range e.args {
		a.walk(f)
	}
}
