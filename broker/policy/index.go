package policy

import (
	"iter"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/keyward/keyward/broker"
)

// index finds the policies whose scope may match, so that a decision costs what
// concerns it and not what there is. It looks at the principal and the resource
// of a policy's scope alone, and what it does not understand it hands out always:
// a policy that is not handed out is one whose scope does not match, which says
// nothing, not even an error. That is why a decision over what is handed out is
// the decision over all.
type index struct {
	policies policySet
	buckets  map[bucket][]int
	// named are the last parts of the names of the objects that scopes name.
	named map[string]bool
}

// bucket is where a policy lies: by the principal and the resource of its scope,
// each the zero EntityUID where the scope does not name one.
type bucket struct{ principal, resource cedar.EntityUID }

var anything cedar.EntityUID

func newIndex(policies policySet) index {
	x := index{policies: policies, buckets: make(map[bucket][]int, len(policies)), named: map[string]bool{}}
	for i, p := range policies {
		scope := p.policy.ast
		b := bucket{principal: scoped(scope.Principal), resource: scoped(scope.Resource)}
		x.buckets[b] = append(x.buckets[b], i)
		if b.resource != anything && b.resource.Type != typeVault {
			id := string(b.resource.ID)
			x.named[id[strings.LastIndexByte(id, '/')+1:]] = true
		}
	}
	return x
}

// scoped returns the entity that a scope names, which what it matches is or is
// in; anything, if it names none.
func scoped(scope ast.IsScopeNode) cedar.EntityUID {
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		return s.Entity
	case ast.ScopeTypeIn:
		return s.Entity
	case ast.ScopeTypeIsIn:
		return s.Entity
	}
	return anything
}

// find appends to out the policies that may match what any of principals does
// with any of resources. Both are closed: what an entity is in is there too.
func (x *index) find(out []int, principals, resources []cedar.EntityUID) []int {
	for _, p := range principals {
		for _, r := range resources {
			out = append(out, x.buckets[bucket{p, r}]...)
		}
	}
	return out
}

// alike reports whether n is an object that no policy's scope names, or one of that
// last part, as is so of most of a collection.
func (x *index) alike(n broker.Name) bool { return n.ObjectName() != "" && !x.named[n.ObjectName()] }

// selection is the policies at some places of a set, in its order.
type selection struct {
	policies policySet
	at       []int
}

// All implements cedar.PolicyIterator.
func (s selection) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, i := range s.at {
			if !yield(s.policies[i].id, s.policies[i].policy.compiled()) {
				return
			}
		}
	}
}

// any reports whether what is asked is true of any of the policies.
func (s selection) any(of func(namedPolicy) bool) bool {
	return slices.ContainsFunc(s.at, func(i int) bool { return of(s.policies[i]) })
}

// of returns the policy of that id, which was yielded.
func (s selection) of(id cedar.PolicyID) namedPolicy {
	i := slices.IndexFunc(s.at, func(i int) bool { return s.policies[i].id == id })
	return s.policies[s.at[i]]
}

// inOrder sorts places and takes out what is there twice: a principal may be in
// one group by its credentials and by entities.json.
func inOrder(at []int) []int {
	slices.Sort(at)
	return slices.Compact(at)
}

// ancestors returns, for each entity, what it is in: its parents, theirs, and so
// on.
func ancestors(entities cedar.EntityMap) map[cedar.EntityUID][]cedar.EntityUID {
	all := make(map[cedar.EntityUID][]cedar.EntityUID, len(entities))
	for uid := range entities {
		seen := map[cedar.EntityUID]bool{}
		todo := []cedar.EntityUID{uid}
		for len(todo) > 0 {
			next := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for p := range entities[next].Parents.All() {
				if !seen[p] {
					seen[p] = true
					all[uid] = append(all[uid], p)
					todo = append(todo, p)
				}
			}
		}
	}
	return all
}
