package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// line is an answer to who can or what can: one that could be permitted, by
// whom, when, and with which exceptions.
type line struct {
	one

	// via is the class through which an individual, or a class in another, has
	// it; anything if it has it by itself.
	via     cedar.EntityUID
	permits []rule
	// conditions are alternatives, each of the permit at its place. There are
	// none if one permits without any.
	conditions []string
	except     []exclusion
}

// exclusion is who of a line is not permitted after all: uid, or all of the line
// where it is anything, under the condition, or always where it is "".
type exclusion struct {
	uid       cedar.EntityUID
	condition string
	by        rule
}

// lines answers for all that stand for the variable, so that whatever is
// permitted is permitted by a line: one of its permits and conditions applies,
// and no exception. This is how none is missed:
//
//   - An individual that a rule names or that entities.json knows is looked at
//     with all that is known of it. It has a line of its own unless no permit
//     says of it by name what it does not say of others, and no forbid spares it.
//     Then it is one of those that the other lines are about.
//   - A class has a line for each permit whose answer depends on being in it, and
//     for all of them if a forbid spares those who are in it.
//   - Whoever is permitted, and not by these, is so independently of every name,
//     and the line for any is about just those.
//
// In each, what is not known stays in the conditions.
func (s *side) lines(permits, forbids []rule) []line {
	var all []line
	need := s.needed(forbids)
	for _, x := range s.individuals {
		all = append(all, s.linesOf(x, permits, forbids)...)
	}
	for _, c := range s.classes {
		if need[c.uid] == anything {
			all = append(all, s.linesOf(c, permits, forbids)...)
		}
	}
	return append(all, s.linesOf(one{}, permits, forbids)...)
}

// linesOf returns the lines about o.
func (s *side) linesOf(o one, permits, forbids []rule) []line {
	exact, typical, without := s.exact(o), s.typical(o), s.without(o)
	if o.individual {
		typical = exact
	}
	spared := false
	var forbidden []exclusion
	for _, f := range forbids {
		r := typical.reduce(f.node)
		if r.fails || r.value == yes {
			return nil
		}
		if o.uid != anything && f.mentions(o) {
			if w := without.reduce(f.node); w.value != no && w.text() != r.text() {
				spared = true
			}
		}
		if r = exact.reduce(f.node); r.value != no {
			forbidden = append(forbidden, s.exclusions(r.rest(f.node), f)...)
		}
	}
	var all []line
	for _, p := range permits {
		if o.uid != anything && !spared && !p.mentions(o) {
			continue // it says of o what it says of others
		}
		r := typical.reduce(p.node)
		if r.fails || r.value == no || o.uid != anything && !spared && r.text() == without.reduce(p.node).text() {
			continue
		}
		r = exact.reduce(p.node)
		if o.individual && !s.exclusive && s.shared(o, p, forbids) {
			continue
		}
		condition, except := s.split(r, p)
		l := line{one: o, via: s.via(o, p, r), permits: []rule{p}, conditions: []string{condition}, except: except}
		all = s.join(all, l)
	}
	all = withoutNeedless(all)
	for i := range all {
		all[i].except = compactExclusions(append(forbidden[:len(forbidden):len(forbidden)], all[i].except...))
		if slices.Contains(all[i].conditions, "") {
			all[i].conditions = nil
		}
	}
	return all
}

// shared reports whether o has p as one of a class that it must be in by its
// credentials, because a forbid spares only those who are: that class's line
// tells of it, if nothing depends on o's name.
func (s *side) shared(o one, p rule, forbids []rule) bool {
	anonymous, self := s.without(o), s.exact(one{uid: o.uid, individual: true, may: s.mayBe(o)})
	byName := func(r rule) bool { return self.reduce(r.node).text() != anonymous.reduce(r.node).text() }
	if byName(p) || slices.ContainsFunc(forbids, func(f rule) bool {
		return byName(f) && anonymous.reduce(f.node).value != no
	}) {
		return false
	}
	return slices.ContainsFunc(s.classes, func(c one) bool { return s.needs(s.exact(o), o, c.uid, forbids) })
}

// needs reports whether a forbid applies to o, which v is the view of, unless it
// is in c.
func (s *side) needs(v *view, o one, c cedar.EntityUID, forbids []rule) bool {
	if slices.Contains(o.within, c) {
		return false
	}
	v = outside(v, c)
	return slices.ContainsFunc(forbids, func(f rule) bool {
		r := v.reduce(f.node)
		return r.fails || r.value == yes
	})
}

// withoutNeedless takes out what is had through a class where the same is had
// without, always.
func withoutNeedless(all []line) []line {
	if !slices.ContainsFunc(all, func(l line) bool {
		return l.via == anything && len(l.except) == 0 && slices.Contains(l.conditions, "")
	}) {
		return all
	}
	return slices.DeleteFunc(all, func(l line) bool { return l.via != anything })
}

// join adds l to the line that differs in its permits and conditions only.
func (s *side) join(all []line, l line) []line {
	for i, other := range all {
		if other.via == l.via && slices.EqualFunc(other.except, l.except, func(a, b exclusion) bool {
			return a.uid == b.uid && a.condition == b.condition
		}) {
			all[i].permits = append(all[i].permits, l.permits...)
			all[i].conditions = append(all[i].conditions, l.conditions...)
			return all
		}
	}
	return append(all, l)
}

// needed returns, for each class, another that whoever is permitted must be in as
// well, because a forbid spares only those; the line of the other tells of them.
// In a circle of such, one is left.
func (s *side) needed(forbids []rule) map[cedar.EntityUID]cedar.EntityUID {
	needs := map[cedar.EntityUID]cedar.EntityUID{}
	if s.exclusive || len(forbids) == 0 {
		return needs
	}
	for _, c := range s.classes {
		for _, other := range s.classes {
			if !leadsTo(needs, other.uid, c.uid) && s.needs(s.typical(c), c, other.uid, forbids) {
				needs[c.uid] = other.uid
				break
			}
		}
	}
	return needs
}

func leadsTo(needs map[cedar.EntityUID]cedar.EntityUID, from, to cedar.EntityUID) bool {
	for from != anything && from != to {
		from = needs[from]
	}
	return from == to
}

// via returns the class without which r would not be what is left of p for o.
func (s *side) via(o one, p rule, r residual) cedar.EntityUID {
	if s.exclusive || o.uid == anything {
		return anything
	}
	by := func(classes ...cedar.EntityUID) string {
		if !o.individual {
			classes = append(classes, o.uid)
		}
		return s.exact(one{uid: o.uid, individual: o.individual, within: classes, may: o.may}).reduce(p.node).text()
	}
	if by() == r.text() {
		return anything
	}
	for _, c := range o.within {
		if c != o.uid && by(c) == r.text() {
			return c
		}
	}
	return anything
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

// positionText is where a policy stands: the file's base name, line and column.
func positionText(p *cedar.Policy) string {
	at := p.Position()
	return fmt.Sprintf("%s:%d:%d", at.Filename[strings.LastIndexAny(at.Filename, `/\`)+1:], at.Line, at.Column)
}
