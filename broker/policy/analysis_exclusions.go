package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// exclusion is who of a line is not permitted after all: uid, or all of the line
// where it is anything, under the condition, or always where it is "".
type exclusion struct {
	uid       cedar.EntityUID
	condition string
	by        rule
}

// split returns what a permit demands, and whom it leaves out by name: "unless
// { principal == … }" and the like.
func (s *side) split(r residual, p rule) (condition string, except []exclusion) {
	if r.node == nil {
		return "", nil
	}
	var demands []ast.IsNode
	for _, c := range conjuncts(r.node) {
		switch n := c.(type) {
		case ast.NodeTypeNot:
			if s.names(n.Arg) {
				except = append(except, s.exclusions(n.Arg, p)...)
				continue
			}
		case ast.NodeTypeNotEquals:
			if uids := s.named(ast.NodeTypeEquals(n)); uids != nil {
				except = append(except, exclusion{uid: uids[0], by: p})
				continue
			}
		}
		if s.namesUnderNot(c) {
			except = append(except, exclusion{condition: textOf(ast.NodeTypeNot{UnaryNode: ast.UnaryNode{Arg: c}}), by: p})
			continue
		}
		demands = append(demands, c)
	}
	return textOf(demands...), except
}

// exclusions returns who is left out where n holds or fails.
func (s *side) exclusions(n ast.IsNode, by rule) []exclusion {
	var all []exclusion
	for _, alt := range alternatives(n) {
		parts := conjuncts(alt)
		at := slices.IndexFunc(parts, func(c ast.IsNode) bool { return s.named(c) != nil })
		if at < 0 || mayFail(alt) {
			all = append(all, exclusion{condition: textOf(parts...), by: by})
			continue
		}
		rest := slices.Delete(slices.Clone(parts), at, at+1)
		for _, uid := range s.named(parts[at]) {
			all = append(all, exclusion{uid: uid, condition: textOf(rest...), by: by})
		}
	}
	return all
}

// named returns the individuals or classes of which n says that the variable is
// one of them or in one of them, and nothing else; or nil.
func (s *side) named(n ast.IsNode) []cedar.EntityUID {
	v := &s.base
	switch n := n.(type) {
	case ast.NodeTypeEquals:
		for _, pair := range [][2]ast.IsNode{{n.Left, n.Right}, {n.Right, n.Left}} {
			if uid, ok := literal(pair[1]); ok && v.isVariable(pair[0]) {
				return []cedar.EntityUID{uid}
			}
		}
	case ast.NodeTypeIn:
		if uids, ok := literals(n.Right); ok && v.isVariable(n.Left) {
			return uids
		}
	case ast.NodeTypeIsIn:
		if uids, ok := literals(n.Entity); ok && v.isVariable(n.Left) && n.EntityType == v.of {
			return uids
		}
	case ast.NodeTypeOr:
		left, right := s.named(n.Left), s.named(n.Right)
		if left != nil && right != nil {
			return append(left, right...)
		}
	}
	return nil
}

// names reports whether n asks for an individual or a class by name.
func (s *side) names(n ast.IsNode) bool {
	found := false
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		found = found || s.named(n) != nil
		return !found
	})
	return found
}

// namesUnderNot reports whether n names somebody who could be left out by it.
func (s *side) namesUnderNot(n ast.IsNode) bool {
	found := false
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		switch n := n.(type) {
		case ast.NodeTypeNot:
			found = found || s.names(n.Arg)
		case ast.NodeTypeNotEquals:
			found = found || s.named(ast.NodeTypeEquals(n)) != nil
		}
		return !found
	})
	return found
}

// compactExclusions takes out what is there twice, and what a wider one says.
func compactExclusions(all []exclusion) []exclusion {
	var out []exclusion
	for _, x := range all {
		if !slices.ContainsFunc(out, func(o exclusion) bool {
			return o.uid == x.uid && (o.condition == x.condition || o.condition == "")
		}) {
			out = append(out, x)
		}
	}
	slices.SortStableFunc(out, func(a, b exclusion) int { return compareUIDs(a.uid, b.uid) })
	return out
}
