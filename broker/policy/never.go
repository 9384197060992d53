package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// A rule that no request can match is a mistake: a permit that grants nothing,
// or worse, a forbid that protects nothing. It is found by trying to make the
// scope and all conditions true together, branch by branch. What is not
// understood could be either, and what takes too long is let pass, so a rule
// that could match is never refused.
//
// A rule whose time is past is not one of these: it could match when it was
// loaded first, and a restart must not fail for it.

// maxSteps bounds the search, for each situation.
const maxSteps = 2_000

// goal is something that must hold: an expression true or not, or else a
// constraint on the value of that key.
type goal struct {
	e    *expr
	want bool

	key  string
	base domain
	c    constraint
}

// clash is why a branch ends, and at which token.
type clash struct {
	at  int
	msg string
}

// solver looks for a request in one situation.
type solver struct {
	*located

	sch     *resolved.Schema
	env     env
	steps   int
	clashes []clash
}

// entry is what is left of a value, and what was asked of it.
type entry struct {
	left  domain
	asked []goal
}

// checkNever finds out that s can never match.
func (c *checker) checkNever(s *located) []problem {
	// A forbid that cannot be evaluated denies, so it may.
	if !s.found || s.ast.Effect == ast.EffectForbid && slices.ContainsFunc(s.ast.Conditions, func(c ast.ConditionType) bool { return mayFail(c.Body) }) {
		return nil
	}
	situations := c.takenBy(s.ast)
	if !s.any(func(e *expr) bool { v, ok := e.node.(ast.NodeTypeVariable); return ok && v.Name == "action" }) {
		seen := map[cedar.EntityType]bool{}
		situations = slices.DeleteFunc(situations, func(e env) bool {
			dup := seen[e.resource]
			seen[e.resource] = true
			return dup
		})
	}
	// Of several situations, that which got furthest tells most.
	var best []clash
	for _, e := range situations {
		v := solver{located: s, sch: c.resolved, env: e}
		if v.possible(v.goals(), map[string]entry{}) {
			return nil
		}
		if best == nil || furthest(v.clashes) > furthest(best) {
			best = v.clashes
		}
	}
	var problems []problem
	at := map[int]bool{}
	for _, c := range best {
		if !at[c.at] {
			at[c.at] = true
			problems = append(problems, s.problem(c.at, c.msg))
		}
	}
	return problems
}

func furthest(cs []clash) int {
	at := -1
	for _, c := range cs {
		at = max(at, c.at)
	}
	return at
}

// any reports whether f holds of any expression in the conditions.
func (s *located) any(f func(*expr) bool) bool {
	found := false
	for _, c := range s.conditions {
		c.walk(func(e *expr) { found = found || f(e) })
	}
	return found
}

// goals are what s asks, the last first.
func (v *solver) goals() []goal {
	var goals []goal
	for _, e := range []*expr{v.principal, v.action, v.resource} {
		if e != nil {
			goals = append(goals, goal{e: e, want: true})
		}
	}
	for _, a := range v.ast.Annotations {
		if a.Key == breakGlass {
			context := &expr{node: ast.NodeTypeVariable{Name: "context"}}
			has := &expr{node: ast.NodeTypeHas{StrOpNode: ast.StrOpNode{Arg: context.node, Value: "reason"}}, args: []*expr{context}, said: "@breakglass, which asks for a reason"}
			goals = append(goals, goal{e: has, want: true})
		}
	}
	for i, c := range v.ast.Conditions {
		goals = append(goals, goal{e: v.conditions[i], want: c.Condition == ast.ConditionWhen})
	}
	slices.Reverse(goals)
	return goals
}

// possible reports whether all goals could hold, the last first, over what is
// known.
func (v *solver) possible(goals []goal, known map[string]entry) bool {
	for len(goals) > 0 {
		if v.steps++; v.steps > maxSteps {
			return true
		}
		g := goals[len(goals)-1]
		goals = goals[:len(goals)-1]
		if g.key != "" {
			if !v.assume(g, known) {
				return false
			}
			continue
		}
		rows := v.expand(g)
		if len(rows) == 1 {
			goals = push(goals, rows[0])
			continue
		}
		v.steps += len(rows) * (1 + len(goals)/16)
		for _, row := range rows {
			if v.possible(push(slices.Clone(goals), row), maps.Clone(known)) {
				return true
			}
		}
		return false
	}
	return true
}

// push puts a row on goals so that its first is the next.
func push(goals, row []goal) []goal {
	for _, g := range slices.Backward(row) {
		goals = append(goals, g)
	}
	return goals
}

// assume takes g's constraint into what is known.
func (v *solver) assume(g goal, known map[string]entry) bool {
	e, ok := known[g.key]
	if !ok {
		e.left = g.base
	}
	left, _, ok := e.left.add(g.c)
	if ok {
		known[g.key] = entry{left, append(slices.Clone(e.asked), g)}
		return true
	}
	if _, why, ok := g.base.add(g.c); !ok {
		v.never(g, why)
		return false
	}
	for _, other := range e.asked {
		left, _, _ := g.base.add(other.c)
		if _, _, ok := left.add(g.c); !ok {
			msg := fmt.Sprintf("%s can never match beside %s", v.say(g), v.say(other)) + v.where(other)
			if strings.Contains(g.key, "toTime") {
				msg += `; for hours around midnight write "||" between the two`
			}
			v.clash(g, msg)
			return false
		}
	}
	v.clash(g, fmt.Sprintf("%s can never match beside what else is asked of it", v.say(g)))
	return false
}

func (v *solver) clash(g goal, msg string) { v.clashes = append(v.clashes, clash{g.e.from, msg}) }

func (v *solver) never(g goal, why string) {
	msg := v.say(g) + " can never match"
	if why != "" {
		msg += ": " + why
	}
	v.clash(g, msg)
}

func (v *solver) say(g goal) string {
	text := g.e.said
	if text == "" {
		text = v.text(g.e)
	}
	if len(text) > 100 {
		text = strings.ToValidUTF8(text[:100], "") + "…"
	}
	if g.want {
		return text
	}
	return "not (" + text + ")"
}

func (v *solver) where(g goal) string {
	if g.e.said != "" {
		return ""
	}
	at := v.at(g.e.from)
	return fmt.Sprintf(", at %d:%d", at.Line, at.Column)
}

// is is the choice where g is known: one row that asks nothing, or none.
func (v *solver) is(g goal, holds bool, why string) choice {
	if holds == g.want {
		return choice{{}}
	}
	v.never(g, why)
	return nil
}

// expand returns what g takes.
func (v *solver) expand(g goal) choice {
	e := g.e
	switch n := e.node.(type) {
	case ast.NodeValue:
		if b, ok := n.Value.(cedar.Boolean); ok {
			if bool(b) != g.want {
				v.clash(g, fmt.Sprintf("the policy can never match: this is always %t; comment the policy out, or remove it", b))
				return nil
			}
			return choice{{}}
		}
	case ast.NodeTypeNot:
		return choice{{goal{e: e.args[0], want: !g.want}}}
	case ast.NodeTypeAnd:
		return both(g.want, e.args...)
	case ast.NodeTypeOr:
		return either(g.want, true, e.args...)
	case ast.NodeTypeIfThenElse:
		return choice{
			{goal{e: e.args[0], want: true}, goal{e: e.args[1], want: g.want}},
			{goal{e: e.args[0], want: false}, goal{e: e.args[2], want: g.want}},
		}
	case ast.NodeTypeEquals:
		return v.equal(g, g.want)
	case ast.NodeTypeNotEquals:
		return v.equal(g, !g.want)
	case ast.NodeTypeLessThan:
		return v.compare(g, false, g.want)
	case ast.NodeTypeLessThanOrEqual:
		return v.compare(g, true, g.want)
	case ast.NodeTypeGreaterThan:
		return v.compare(g, true, !g.want)
	case ast.NodeTypeGreaterThanOrEqual:
		return v.compare(g, false, !g.want)
	case ast.NodeTypeLike:
		return v.like(g, n)
	case ast.NodeTypeHas:
		return v.has(g, n)
	case ast.NodeTypeIs:
		if t, ok := v.typeOf(e.args[0]); ok {
			return v.is(g, t == n.EntityType, "it is "+article(t))
		}
	case ast.NodeTypeIsIn:
		is := &expr{node: n.NodeTypeIs, from: e.from, to: e.op + 1, op: e.op, args: e.args[:1]}
		in := &expr{node: ast.NodeTypeIn{BinaryNode: ast.BinaryNode{Left: n.Left, Right: n.Entity}}, from: e.from, to: e.to, op: e.op, args: e.args}
		return both(g.want, is, in)
	case ast.NodeTypeIn:
		return v.in(g)
	case ast.NodeTypeContains:
		if set, ok := e.args[0].node.(ast.NodeTypeSet); ok && len(set.Elements) > 0 {
			return v.members(g, e.args[0], func(of *expr) *expr {
				b := ast.BinaryNode{Left: e.args[1].node, Right: of.node}
				return &expr{node: ast.NodeTypeEquals{BinaryNode: b}, from: of.from, to: of.to, op: of.op, args: []*expr{e.args[1], of}}
			})
		}
	case ast.NodeTypeExtensionCall:
		if rows, ok := v.address(g, n); ok {
			return rows
		}
	}
	return opaque(g, key(e.node))
}
