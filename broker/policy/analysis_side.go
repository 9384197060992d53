package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/keyward/keyward/broker"
)

// one is who or what a line is about: an individual, a class of them, or any of
// them, whose uid is anything.
type one struct {
	uid        cedar.EntityUID
	individual bool
	// within are the classes that it is surely in; a class is in itself.
	within []cedar.EntityUID
	// may says into which others credentials could put it; nil stands for any.
	may func(cedar.EntityUID) bool
}

// side is the variable of a request that a question leaves open: the principal,
// when it is who can, and the resource, when it is what can. Individuals are
// workloads or objects, classes are groups or vaults.
type side struct {
	base        view
	individuals []one
	classes     []one
	// exclusive: what is not surely in a class is not in it. An object is in one
	// vault, but credentials may put a workload into any group.
	exclusive bool
	// known makes the variable an individual wholly known.
	known bool
}

// look is the view of o, where a question about another individual is answered
// by other, and one about another class by outside.
func (s *side) look(o one, other, outside answer) *view {
	v := s.base
	isSelf := func(uid cedar.EntityUID) bool { return o.individual && uid == o.uid }
	v.is = func(uid cedar.EntityUID) answer {
		switch {
		case uid.Type != v.of:
			return no
		case o.individual:
			return answerOf(isSelf(uid))
		case s.exclusive && len(o.within) > 0 && !slices.Contains(o.within, vaultOf(uid)):
			return no
		}
		return other
	}
	v.in = func(uid cedar.EntityUID) answer {
		switch {
		case uid.Type == v.of:
			return v.is(uid)
		case slices.Contains(o.within, uid):
			return yes
		case uid.Type != typeGroup && uid.Type != typeVault,
			s.exclusive && (o.individual || len(o.within) > 0),
			o.may != nil && !o.may(uid):
			return no
		}
		return outside
	}
	if s.known && o.individual {
		v.env.Resource = o.uid
		v.open = []string{"context"}
	}
	return &v
}

// exact is what is known of o.
func (s *side) exact(o one) *view { return s.look(o, unknown, unknown) }

// typical is o as far as nothing else is said of it by name: an individual that
// no policy names, and where o is any, one that is in no class that a policy
// names.
func (s *side) typical(o one) *view {
	if o.uid == anything {
		return s.look(o, no, no)
	}
	return s.look(o, no, unknown)
}

// without is whoever is not o.
func (s *side) without(o one) *view {
	v := s.look(one{uid: o.uid, within: withinOf(s, o)}, no, unknown)
	if !s.exclusive && o.individual {
		v = s.look(one{uid: o.uid, may: s.mayBe(o)}, no, unknown)
	}
	if s.known && o.individual {
		v.env.Resource = o.uid
		v.open = []string{"context"}
	}
	if !o.individual {
		in := v.in
		v.in = func(uid cedar.EntityUID) answer {
			if slices.Contains(o.within, uid) {
				return no
			}
			return in(uid)
		}
	}
	return v
}

// withinOf is what is known of the classes of one that is not o: what is known
// of an object's vault is in its name.
func withinOf(s *side, o one) []cedar.EntityUID {
	if s.exclusive && o.individual {
		return o.within
	}
	return nil
}

// outside is v, but in no class c.
func outside(v *view, c cedar.EntityUID) *view {
	out := *v
	out.in = func(uid cedar.EntityUID) answer {
		if uid == c {
			return no
		}
		return v.in(uid)
	}
	return &out
}

// mayBe says into which classes credentials could put o, and those in which it
// is anyway.
func (s *side) mayBe(o one) func(cedar.EntityUID) bool {
	return func(c cedar.EntityUID) bool { return o.may == nil || o.may(c) || slices.Contains(o.within, c) }
}

// vaultOf returns the vault that an object's id names.
func vaultOf(uid cedar.EntityUID) cedar.EntityUID {
	kind, ok := kindOf[uid.Type]
	if !ok {
		return anything
	}
	n, err := broker.ParseName(kind, string(uid.ID))
	if err != nil {
		return anything
	}
	return vaultUID(n)
}

// rule is what is left of a policy for a question.
type rule struct {
	namedPolicy

	node ast.IsNode
	// names are the entities that node names.
	names map[cedar.EntityUID]bool
}

func newRule(p namedPolicy, n ast.IsNode) rule {
	r := rule{namedPolicy: p, node: n, names: map[cedar.EntityUID]bool{}}
	for _, uid := range mentioned(r) {
		r.names[uid] = true
	}
	return r
}

// mentions reports whether r names o or a class that it is in.
func (r rule) mentions(o one) bool {
	return r.names[o.uid] || slices.ContainsFunc(o.within, func(c cedar.EntityUID) bool { return r.names[c] })
}

// rules reduces all policies to what concerns the question.
func (s *side) rules(policies policySet) (permits, forbids []rule) {
	v := s.exact(one{})
	for _, p := range policies {
		n := eval.PolicyToNode(p.policy.ast).AsIsNode()
		r := v.reduce(n)
		switch permit := p.policy.effect() == cedar.Permit; {
		case r.value == no, permit && r.fails:
		case permit:
			permits = append(permits, newRule(p, r.rest(n)))
		default:
			forbids = append(forbids, newRule(p, r.rest(n)))
		}
	}
	return permits, forbids
}

// mentioned returns the entities that rules name, sorted.
func mentioned(rules ...rule) []cedar.EntityUID {
	var all []cedar.EntityUID
	for _, r := range rules {
		ast.Inspect(ast.NewNode(r.node), func(n ast.IsNode) bool {
			if uids, ok := literals(n); ok {
				all = append(all, uids...)
			}
			// resource.vault == "pay" names a vault, too.
			if eq, ok := n.(ast.NodeTypeEquals); ok {
				all = append(all, comparedVault(eq.Left, eq.Right)...)
			}
			if ne, ok := n.(ast.NodeTypeNotEquals); ok {
				all = append(all, comparedVault(ne.Left, ne.Right)...)
			}
			return true
		})
	}
	slices.SortFunc(all, compareUIDs)
	return slices.Compact(all)
}

func comparedVault(a, b ast.IsNode) []cedar.EntityUID {
	for _, pair := range [][2]ast.IsNode{{a, b}, {b, a}} {
		access, ok := pair[0].(ast.NodeTypeAccess)
		if !ok || access.Value != "vault" {
			continue
		}
		if v, ok := pair[1].(ast.NodeValue); ok {
			if alias, ok := v.Value.(cedar.String); ok {
				return []cedar.EntityUID{cedar.NewEntityUID(typeVault, alias)}
			}
		}
	}
	return nil
}
