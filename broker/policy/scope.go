package policy

import (
	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/keyward/keyward/broker"
)

// Whether any object of a collection could be permitted is asked of a second
// set of policies, derived from the first, with an entity that stands for the
// collection: it has the type and the vault of its objects, and nothing else
// of theirs.
//
//   - A permit is widened: it keeps what it says of the principal, the action,
//     the context, the vault and the type of the resource, and loses what it
//     says of one object. So it permits the collection if it permits any object.
//   - A forbid is kept only if it says nothing of one object. So if it forbids
//     the collection, it forbids every object.
//
// Together: if the collection is denied, every object of it is.

// forCollections returns what is left of p when the question is a collection,
// or false if that is nothing.
func forCollections(p *lazyPolicy) (*lazyPolicy, bool) {
	// A shallow copy: only fields of the policy itself are replaced.
	c := *p.ast
	permit := c.Effect == ast.EffectPermit

	widened, narrow := widen(c.Resource)
	if narrow && !permit {
		return nil, false
	}
	c.Resource = widened

	c.Conditions = nil
	for _, cond := range p.ast.Conditions {
		switch {
		case !mentionsResource(cond.Body):
			c.Conditions = append(c.Conditions, cond)
		case !permit:
			return nil, false
		}
	}
	return &lazyPolicy{ast: &c}, true
}

// widen returns s with an object replaced by all of its type in its vault, and
// whether there was one.
func widen(s ast.IsResourceScopeNode) (ast.IsResourceScopeNode, bool) {
	switch s := s.(type) {
	case ast.ScopeTypeEq:
		return siblings(s, s.Entity)
	case ast.ScopeTypeIn:
		return siblings(s, s.Entity)
	case ast.ScopeTypeIsIn:
		return siblings(s, s.Entity)
	}
	return s, false
}

func siblings(s ast.IsResourceScopeNode, uid cedar.EntityUID) (ast.IsResourceScopeNode, bool) {
	kind, ok := kindOf[uid.Type]
	if !ok {
		return s, false
	}
	n, err := broker.ParseName(kind, string(uid.ID))
	if err != nil {
		// Not loaded: see checkResource.
		return s, true
	}
	return ast.ScopeTypeIsIn{Type: uid.Type, Entity: vaultUID(n)}, true
}

// mentionsResource reports whether an expression's value could differ between
// the objects of a collection.
func mentionsResource(body ast.IsNode) bool {
	found := false
	ast.Inspect(ast.NewNode(body), func(n ast.IsNode) bool {
		v, ok := n.(ast.NodeTypeVariable)
		found = found || ok && v.Name == "resource"
		return !found
	})
	return found
}
