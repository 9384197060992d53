package policy

import (
	"maps"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// env is one of the situations that a policy is evaluated in.
type env struct {
	action    cedar.EntityUID
	principal cedar.EntityType
	resource  cedar.EntityType
	context   resolved.RecordType
}

// commonest are the types of resources, as often as they are meant: what a message
// takes for its example where several would do.
var commonest = []cedar.EntityType{"Secret", "Key", "Certificate", typeVault}

// situations returns all that there are, in a fixed order: of the commonest type of
// resource first.
func situations(sch *resolved.Schema) []env {
	var all []env
	for _, uid := range slices.SortedFunc(maps.Keys(sch.Actions), compareUIDs) {
		a := sch.Actions[uid]
		if a.AppliesTo == nil {
			continue
		}
		for _, principal := range a.AppliesTo.Principals {
			for _, resource := range a.AppliesTo.Resources {
				all = append(all, env{action: uid, principal: principal, resource: resource, context: a.AppliesTo.Context})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b env) int {
		return slices.Index(commonest, a.resource) - slices.Index(commonest, b.resource)
	})
	return all
}

// takenBy returns the situations that the scope of p takes.
func (c *checker) takenBy(p *ast.Policy) []env {
	return slices.DeleteFunc(slices.Clone(c.situations), func(e env) bool {
		return !takesType(c.resolved, p.Principal, e.principal) || !takesType(c.resolved, p.Resource, e.resource) ||
			!takesAction(c.resolved, p.Action, e.action)
	})
}

func takesAction(sch *resolved.Schema, s ast.IsActionScopeNode, action cedar.EntityUID) bool {
	in := func(uid cedar.EntityUID) bool { return actionIn(sch, action, uid) }
	switch s := s.(type) {
	case ast.ScopeTypeEq:
		return s.Entity == action
	case ast.ScopeTypeIn:
		return in(s.Entity)
	case ast.ScopeTypeInSet:
		return slices.ContainsFunc(s.Entities, in)
	}
	return true
}

// actionIn reports whether an action is of a group of actions, or is it. The
// schema's groups have no circles.
func actionIn(sch *resolved.Schema, action, group cedar.EntityUID) bool {
	if action == group {
		return true
	}
	for parent := range sch.Actions[action].Entity.Parents.All() {
		if actionIn(sch, parent, group) {
			return true
		}
	}
	return false
}

// takesType reports whether an entity of type t could be in the scope s.
func takesType(sch *resolved.Schema, s ast.IsScopeNode, t cedar.EntityType) bool {
	switch s := s.(type) {
	case ast.ScopeTypeEq:
		return s.Entity.Type == t
	case ast.ScopeTypeIn:
		return typeIn(sch, t, s.Entity.Type)
	case ast.ScopeTypeIs:
		return s.Type == t
	case ast.ScopeTypeIsIn:
		return s.Type == t && typeIn(sch, t, s.Entity.Type)
	}
	return true
}

// typeIn reports whether an entity of type t could be in one of type of.
func typeIn(sch *resolved.Schema, t, of cedar.EntityType) bool {
	seen := map[cedar.EntityType]bool{}
	var in func(cedar.EntityType) bool
	in = func(t cedar.EntityType) bool {
		if t == of {
			return true
		}
		if seen[t] {
			return false
		}
		seen[t] = true
		return slices.ContainsFunc(sch.Entities[t].ParentTypes, in)
	}
	return in(t)
}
