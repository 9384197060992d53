package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/keyward/keyward/broker"
)

// Finding is something that a folder of policies says in vain.
type Finding struct {
	// Position is "file:line:column".
	Position string
	// Message says what, and what to do.
	Message string
}

// Findings returns what is loaded and does nothing, in the order of the files: a
// permit or a forbid whose time is over at now, a permit that a forbid always
// overrules or that another permit makes needless, and workloads and groups of
// entities.json that no policy could use.
func (a *Analysis) Findings(now time.Time) []Finding {
	var found []problem
	for i, p := range a.objects.policies {
		at := p.policy.position()
		if end, over := a.over(p, now); over {
			found = append(found, problem{at, fmt.Sprintf("%s ended at %s and does nothing any more: remove it, or give it a new end",
				nameOf(p), end.Time().UTC().Format(time.RFC3339))})
			continue
		}
		if p.policy.effect() == cedar.Forbid {
			continue
		}
		if other, ok := a.coveredBy(i, cedar.Forbid); ok {
			found = append(found, problem{at, fmt.Sprintf("%s permits nothing: the forbid %s overrules all of it; remove it, or narrow the forbid",
				nameOf(p), otherText(other))})
			continue
		}
		if other, ok := a.coveredBy(i, cedar.Permit); ok {
			found = append(found, problem{at, fmt.Sprintf("%s adds nothing: %s permits all of it without conditions; remove one of them",
				nameOf(p), otherText(other))})
		}
	}
	found = append(found, a.unusedEntities()...)
	findings := make([]Finding, 0, len(found))
	for _, p := range sortProblems(found) {
		findings = append(findings, Finding{Position: fmt.Sprintf("%s:%d:%d", p.at.Filename, p.at.Line, p.at.Column), Message: p.msg})
	}
	return findings
}

func sortProblems(ps []problem) []problem {
	slices.SortStableFunc(ps, func(a, b problem) int {
		return cmp.Or(strings.Compare(a.at.Filename, b.at.Filename), a.at.Line-b.at.Line, a.at.Column-b.at.Column)
	})
	return ps
}

// nameOf is what to call a policy whose position is said anyway.
func nameOf(p namedPolicy) string {
	effect := "permit"
	if p.policy.effect() == cedar.Forbid {
		effect = "forbid"
	}
	if id := string(p.id); id != positionText(p.policy) {
		return fmt.Sprintf("the %s %q", effect, id)
	}
	return "this " + effect
}

func otherText(p namedPolicy) string {
	if string(p.id) == positionText(p.policy) {
		return string(p.id)
	}
	return fmt.Sprintf("%q at %s", p.id, positionText(p.policy))
}

// over reports whether p demands a time before one that is past at now, and
// which.
func (a *Analysis) over(p namedPolicy, now time.Time) (end cedar.Datetime, over bool) {
	body := eval.PolicyToNode(p.policy.ast).AsIsNode()
	for _, c := range conjuncts(body) {
		late := ast.IsNode(nil)
		switch n := c.(type) {
		case ast.NodeTypeLessThan:
			late = boundOf(n.Left, n.Right)
		case ast.NodeTypeLessThanOrEqual:
			late = boundOf(n.Left, n.Right)
		case ast.NodeTypeGreaterThan:
			late = boundOf(n.Right, n.Left)
		case ast.NodeTypeGreaterThanOrEqual:
			late = boundOf(n.Right, n.Left)
		}
		if late == nil {
			continue
		}
		value, err := eval.Eval(late, eval.Env{})
		if t, ok := value.(cedar.Datetime); err == nil && ok && t.Time().Before(now) {
			return t, true
		}
	}
	return end, false
}

// boundOf returns what context.time must be before, if it is said without any
// variable.
func boundOf(early, late ast.IsNode) ast.IsNode {
	access, ok := early.(ast.NodeTypeAccess)
	if !ok || access.Value != "time" {
		return nil
	}
	if v, ok := access.Arg.(ast.NodeTypeVariable); !ok || v.Name != "context" {
		return nil
	}
	constant := true
	ast.Inspect(ast.NewNode(late), func(n ast.IsNode) bool {
		if _, ok := n.(ast.NodeTypeVariable); ok {
			constant = false
		}
		return constant
	})
	if !constant {
		return nil
	}
	return late
}

// coveredBy returns an unconditional policy of that effect whose scope takes all
// that the scope of the policy at i takes. Of two alike, the later is covered.
func (a *Analysis) coveredBy(i int, effect cedar.Effect) (namedPolicy, bool) {
	p := a.objects.policies[i]
	scope := p.policy.ast
	principals, resources := a.closure(scoped(scope.Principal)), a.closure(scoped(scope.Resource))
	for _, j := range inOrder(a.objects.find(nil, principals, resources)) {
		other := a.objects.policies[j]
		wide := other.policy.ast
		if j == i || other.policy.effect() != effect || len(wide.Conditions) > 0 ||
			!typeCovers(wide.Principal, scope.Principal) || !typeCovers(wide.Resource, scope.Resource) || !a.actionsCover(wide, scope) {
			continue
		}
		if effect == p.policy.effect() && j > i && len(scope.Conditions) == 0 && a.sameReach(wide, scope) {
			continue
		}
		return other, true
	}
	return namedPolicy{}, false
}

// closure is an entity of a scope, what it is in, and anything.
func (a *Analysis) closure(uid cedar.EntityUID) []cedar.EntityUID {
	all := append([]cedar.EntityUID{uid, anything}, a.ancestors[uid]...)
	if v := vaultOf(uid); v != anything {
		all = append(all, v)
	}
	slices.SortFunc(all, compareUIDs)
	return slices.Compact(all)
}

// typeCovers looks at a scope whose entity is or holds that of narrow: what is
// left to ask is "is" and "==".
func typeCovers(wide, narrow ast.IsScopeNode) bool {
	switch w := wide.(type) {
	case ast.ScopeTypeEq:
		// Nothing but itself is in a workload or an object.
		return scoped(narrow) == w.Entity && w.Entity.Type != typeGroup && (w.Entity.Type != typeVault || isEq(narrow))
	case ast.ScopeTypeIs:
		return w.Type == typeWorkload || typeOfScope(narrow) == w.Type
	case ast.ScopeTypeIsIn:
		return w.Type == typeWorkload || typeOfScope(narrow) == w.Type
	}
	return true
}

func isEq(s ast.IsScopeNode) bool {
	_, ok := s.(ast.ScopeTypeEq)
	return ok
}

// typeOfScope returns the only type that a scope takes, or "".
func typeOfScope(s ast.IsScopeNode) cedar.EntityType {
	switch s := s.(type) {
	case ast.ScopeTypeEq:
		return s.Entity.Type
	case ast.ScopeTypeIs:
		return s.Type
	case ast.ScopeTypeIsIn:
		return s.Type
	case ast.ScopeTypeIn:
		if _, object := kindOf[s.Entity.Type]; object {
			return s.Entity.Type
		}
	}
	return ""
}

// actionsOf returns the actions that a scope takes.
func (a *Analysis) actionsOf(p *ast.Policy) map[broker.Action]bool {
	taken := map[broker.Action]bool{}
	for action := range a.resources {
		uid := cedar.NewEntityUID(typeAction, cedar.String(action))
		in := func(group cedar.EntityUID) bool { return group == uid || slices.Contains(a.ancestors[uid], group) }
		switch s := p.Action.(type) {
		case ast.ScopeTypeEq:
			taken[action] = s.Entity == uid
		case ast.ScopeTypeIn:
			taken[action] = in(s.Entity)
		case ast.ScopeTypeInSet:
			taken[action] = slices.ContainsFunc(s.Entities, in)
		default:
			taken[action] = true
		}
	}
	return taken
}

func (a *Analysis) actionsCover(wide, narrow *ast.Policy) bool {
	takes := a.actionsOf(wide)
	for action, taken := range a.actionsOf(narrow) {
		if taken && !takes[action] {
			return false
		}
	}
	return true
}

// sameReach reports whether two policies, of which the first covers the second,
// take the same.
func (a *Analysis) sameReach(wide, narrow *ast.Policy) bool {
	return scoped(wide.Principal) == scoped(narrow.Principal) && scoped(wide.Resource) == scoped(narrow.Resource) &&
		typeCovers(narrow.Principal, wide.Principal) && typeCovers(narrow.Resource, wide.Resource) && a.actionsCover(narrow, wide)
}

// unusedEntities returns the workloads and groups of entities.json of which no
// policy could make use: it names neither them nor a group that they are in, and
// asks for no attribute that they have.
func (a *Analysis) unusedEntities() []problem {
	i := slices.IndexFunc(a.files, func(f source) bool { return filepath.Base(f.path) == entitiesFile })
	if i < 0 {
		return nil
	}
	named := map[cedar.EntityUID]bool{}
	attributes := false
	for _, p := range a.objects.policies {
		body := eval.PolicyToNode(p.policy.ast)
		for _, uid := range mentioned(rule{namedPolicy: p, node: body.AsIsNode()}) {
			named[uid] = true
		}
		ast.Inspect(body, func(n ast.IsNode) bool {
			access, ok := n.(ast.NodeTypeAccess)
			if !ok {
				return true
			}
			v, ok := access.Arg.(ast.NodeTypeVariable)
			attributes = attributes || ok && v.Name == "principal"
			return true
		})
	}
	var found []problem
	for _, d := range entityPlaces(a.files[i]) {
		e := a.entities[d.uid]
		switch {
		case named[d.uid], slices.ContainsFunc(a.ancestors[d.uid], func(g cedar.EntityUID) bool { return named[g] }):
		case attributes && e.Attributes.Len() > 0:
		default:
			found = append(found, problem{d.at, fmt.Sprintf("no policy names %s or a group that it is in: remove it, or name it in a policy", d.uid)})
		}
	}
	return found
}

type entityPlace struct {
	uid cedar.EntityUID
	at  cedar.Position
}

// entityPlaces returns where the entities of a file that was loaded stand.
func entityPlaces(src source) []entityPlace {
	var places []entityPlace
	dec := json.NewDecoder(strings.NewReader(src.text))
	if _, err := dec.Token(); err != nil {
		return nil
	}
	for dec.More() {
		at := src.at(skipSeparators(src.text, int(dec.InputOffset())))
		var e cedar.Entity
		if err := dec.Decode(&e); err != nil {
			return places
		}
		places = append(places, entityPlace{e.UID, at})
	}
	return places
}
