package policy

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/keyward/keyward/broker"
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
const maxSteps = 10_000

// goal is something that must hold: an expression true or not, or else a
// constraint on the value of that key.
type goal struct {
	e    *expr
	want bool

	key  string
	base domain
	c    constraint
}

// choice are goals of which one row must hold. Without rows nothing can hold;
// an empty row always does.
type choice [][]goal

// clash is why a branch ends, and at which token.
type clash struct {
	at  int
	msg string
}

// solver looks for a request in one situation.
type solver struct {
	*statement

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
func (c *checker) checkNever(s *statement) []problem {
	// A forbid that cannot be evaluated denies, so it may.
	if !s.located || s.ast.Effect == ast.EffectForbid && s.any(mayFail) {
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
		v := solver{statement: s, sch: c.resolved, env: e}
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
func (s *statement) any(f func(*expr) bool) bool {
	found := false
	for _, c := range s.conditions {
		c.walk(func(e *expr) { found = found || f(e) })
	}
	return found
}

// mayFail: what overflows is an error.
func mayFail(e *expr) bool {
	switch n := e.node.(type) {
	case ast.NodeTypeAdd, ast.NodeTypeSub, ast.NodeTypeMult, ast.NodeTypeNegate:
		return true
	case ast.NodeTypeExtensionCall:
		return n.Name == "offset" || n.Name == "durationSince" || n.Name == "toDate"
	}
	return false
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

// asks is the choice of one constraint.
func asks(g goal, key string, base domain, c constraint) choice {
	return choice{{goal{e: g.e, want: g.want, key: key, base: base, c: c}}}
}

// opaque is the choice where nothing is known but that it is true or false.
func opaque(g goal, key string) choice { return asks(g, "?"+key, truths{}, truth(g.want)) }

// both and either are the choices of "&&" and "||".
func both(want bool, es ...*expr) choice {
	if !want {
		return either(true, false, es...)
	}
	var row []goal
	for _, e := range es {
		row = append(row, goal{e: e, want: true})
	}
	return choice{row}
}

func either(want, each bool, es ...*expr) choice {
	var rows choice
	var row []goal
	for _, e := range es {
		rows = append(rows, []goal{{e: e, want: each}})
		row = append(row, goal{e: e, want: !each})
	}
	if want {
		return rows
	}
	return choice{row}
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

// members is the choice of one of a set that is written out.
func (v *solver) members(g goal, set *expr, each func(*expr) *expr) choice {
	var es []*expr
	for _, of := range set.args {
		es = append(es, each(of))
	}
	return either(g.want, true, es...)
}

// typeOf returns the type of an entity.
func (v *solver) typeOf(e *expr) (cedar.EntityType, bool) {
	if n, ok := e.node.(ast.NodeTypeVariable); ok {
		t := map[cedar.String]cedar.EntityType{"principal": v.env.principal, "resource": v.env.resource, "action": v.env.action.Type}[n.Name]
		return t, t != ""
	}
	uid, ok := uidOf(e.node)
	return uid.Type, ok
}

// value returns the value of a literal, or nil.
func value(e *expr) cedar.Value {
	switch n := e.node.(type) {
	case ast.NodeValue:
		return n.Value
	case ast.NodeTypeExtensionCall:
		c, ok := constructors[string(n.Name)]
		if !ok || len(e.args) != 1 {
			return nil
		}
		if s, ok := value(e.args[0]).(cedar.String); ok {
			if val, err := c.parse(string(s)); err == nil {
				return val
			}
		}
	}
	return nil
}

func isVariable(e *expr, name cedar.String) bool {
	n, ok := e.node.(ast.NodeTypeVariable)
	return ok && n.Name == name
}

// equal is "==", or if not same, "!=".
func (v *solver) equal(g goal, same bool) choice {
	a, b := g.e.args[0], g.e.args[1]
	left, right := value(a), value(b)
	if left != nil && right != nil {
		return v.is(g, left.Equal(right) == (same == g.want), "the two are not the same")
	}
	if left != nil {
		a, right = b, left
	}
	switch x := right.(type) {
	case cedar.Boolean:
		return choice{{goal{e: a, want: same == bool(x)}}}
	case cedar.String:
		return asks(g, key(a.node), v.strings(a), equals{string(x), !same})
	case cedar.EntityUID:
		return v.entity(g, a, x, same)
	case cedar.IPAddr:
		if isPeer(a) {
			return v.peer(g, x, same)
		}
	case cedar.Long, cedar.Datetime, cedar.Duration:
		n, _ := number(x)
		if !same {
			return asks(g, key(a.node), v.numbers(a), differs{n})
		}
		return asks(g, key(a.node), v.numbers(a), between{n, n})
	}
	if t, ok := v.typeOf(a); ok {
		if of, ok := v.typeOf(b); ok && t != of {
			return v.is(g, same != g.want, fmt.Sprintf("%s is never %s", article(t), article(of)))
		}
	}
	x, y := key(a.node), key(b.node)
	if x == y {
		return v.is(g, same == g.want, "")
	}
	g2 := g
	g2.want = same
	rows := opaque(g2, min(x, y)+"=="+max(x, y))
	rows[0][0].want = g.want
	return rows
}

// entity is whether e is that one.
func (v *solver) entity(g goal, e *expr, uid cedar.EntityUID, same bool) choice {
	t, ok := v.typeOf(e)
	if ok && t != uid.Type {
		why := "it is " + article(t)
		if isVariable(e, "principal") && uid.Type == typeGroup {
			why = fmt.Sprintf("a principal is a Workload, never the Group itself; write principal in %s", uid)
		} else if isVariable(e, "resource") && uid.Type == typeVault {
			why = fmt.Sprintf("the resource is a %s; write resource in %s", t, uid)
		}
		return v.is(g, same != g.want, why)
	}
	switch {
	case isVariable(e, "principal"):
		return asks(g, "principal", strs{}, equals{string(uid.ID), !same})
	case isVariable(e, "action"):
		return v.is(g, (uid == v.env.action) == (same == g.want), fmt.Sprintf("the action is %s", v.env.action.ID))
	case isVariable(e, "resource"):
		return v.object(g, uid, same)
	}
	g2 := g
	g2.want = same
	rows := opaque(g2, key(e.node)+"=="+uid.String())
	rows[0][0].want = g.want
	return rows
}

// object is whether the resource is the one of that name. What is known of a
// resource is its vault and its name.
func (v *solver) object(g goal, uid cedar.EntityUID, same bool) choice {
	const vault, name = `resource."vault"`, `resource."name"`
	if uid.Type == typeVault {
		return asks(g, vault, vaultNames, equals{string(uid.ID), !same})
	}
	n, err := nameOf(uid)
	if err != nil {
		return choice{{}} // told of elsewhere
	}
	inVault := asks(g, vault, vaultNames, equals{n.VaultAlias(), !same})
	named := asks(g, name, objectNames, equals{n.ObjectName(), !same})
	if same {
		return choice{append(inVault[0], named[0]...)}
	}
	return append(inVault, named...)
}

func nameOf(uid cedar.EntityUID) (broker.Name, error) {
	return broker.ParseName(kindOf[uid.Type], string(uid.ID))
}

func (v *solver) in(g goal) choice {
	a, of := g.e.args[0], g.e.args[1]
	if set, ok := of.node.(ast.NodeTypeSet); ok && len(set.Elements) > 0 {
		return v.members(g, of, func(of *expr) *expr {
			b := ast.BinaryNode{Left: a.node, Right: of.node}
			return &expr{node: ast.NodeTypeIn{BinaryNode: b}, from: of.from, to: of.to, op: of.op, args: []*expr{a, of}}
		})
	}
	uid, ok := uidOf(of.node)
	t, typed := v.typeOf(a)
	switch {
	case !ok || !typed:
	case !typeIn(v.sch, t, uid.Type):
		return v.is(g, false, fmt.Sprintf("%s is in no %s", article(t), uid.Type))
	case isVariable(a, "action"):
		return v.is(g, actionIn(v.sch, v.env.action, uid), fmt.Sprintf("the action is %s", v.env.action.ID))
	case isVariable(a, "resource") && uid.Type == typeVault, t == uid.Type && t != typeGroup && t != typeAction:
		return v.entityIn(g, a, uid)
	}
	return opaque(g, key(a.node)+" in "+key(of.node))
}

// entityIn is of what is in itself and, if it is an object, in its vault.
func (v *solver) entityIn(g goal, a *expr, uid cedar.EntityUID) choice {
	if isVariable(a, "resource") && uid.Type == typeVault {
		return v.object(g, uid, g.want)
	}
	return v.entity(g, a, uid, g.want)
}

func (v *solver) has(g goal, n ast.NodeTypeHas) choice {
	of, ok := g.e.args[0].node.(ast.NodeTypeVariable)
	if ok {
		var shape resolved.RecordType
		what := "the context"
		if of.Name == "context" {
			shape = v.env.context
		} else {
			t, _ := v.typeOf(g.e.args[0])
			shape, what = v.sch.Entities[t].Shape, article(t)
		}
		a, has := shape[n.Value]
		switch {
		case !has:
			return v.is(g, false, fmt.Sprintf("%s has no %s", what, n.Value))
		case !a.Optional:
			return v.is(g, true, fmt.Sprintf("%s always has a %s", what, n.Value))
		}
	}
	return opaque(g, key(n))
}

// strings returns what is known of a string.
func (v *solver) strings(e *expr) domain {
	n, _ := e.node.(ast.NodeTypeAccess)
	of, ok := n.Arg.(ast.NodeTypeVariable)
	if !ok {
		return strs{}
	}
	switch string(of.Name) + "." + string(n.Value) {
	case "resource.name":
		return objectNames
	case "resource.vault":
		return vaultNames
	case "context.transport":
		return oneOf(broker.TransportGRPC, broker.TransportREST)
	case "context.reason":
		return notEmpty
	}
	if of.Name == "principal" {
		return notEmpty
	}
	return strs{}
}

func (v *solver) like(g goal, n ast.NodeTypeLike) choice {
	pattern, ok := runes(n.Value)
	if !ok {
		return opaque(g, key(n))
	}
	if s, ok := value(g.e.args[0]).(cedar.String); ok {
		return v.is(g, n.Value.Match(s), "")
	}
	return asks(g, key(n.Arg), v.strings(g.e.args[0]), like{pattern, !g.want})
}

// number returns a number, or a time or a duration in milliseconds.
func number(v cedar.Value) (int64, bool) {
	switch v := v.(type) {
	case cedar.Long:
		return int64(v), true
	case cedar.Datetime:
		return v.Milliseconds(), true
	case cedar.Duration:
		return v.ToMilliseconds(), true
	}
	return 0, false
}

const day = 24 * 60 * 60 * 1000

// numbers returns what is known of a number. The time of day before 1970 is
// counted back.
func (v *solver) numbers(e *expr) domain {
	n, ok := e.node.(ast.NodeTypeExtensionCall)
	if !ok {
		return anyNumber
	}
	if n.Name == "toTime" {
		return nums{low: -day + 1, high: day - 1, why: `the time of a day is less than duration("24h")`}
	}
	inner, ok := n.Args[0].(ast.NodeTypeExtensionCall)
	unit := map[string]int64{"toHours": 60 * 60 * 1000, "toMinutes": 60 * 1000, "toSeconds": 1000, "toMilliseconds": 1}[string(n.Name)]
	if !ok || inner.Name != "toTime" || unit == 0 {
		return anyNumber
	}
	most := (day - 1) / unit
	return nums{low: -most, high: most, why: fmt.Sprintf("in the time of a day it is at most %d", most)}
}

// compare is "<", or "<=" with equality, or if not want, the contrary.
func (v *solver) compare(g goal, orEqual, want bool) choice {
	a, b := g.e.args[0], g.e.args[1]
	x, left := number(value(a))
	y, right := number(value(b))
	switch {
	case left && right:
		return v.is(g, (x < y || orEqual && x == y) == (want == g.want), "")
	case right: // a < y
		if want {
			return v.upTo(g, a, y, orEqual)
		}
		return v.from(g, a, y, !orEqual)
	case left: // x < b
		if want {
			return v.from(g, b, x, orEqual)
		}
		return v.upTo(g, b, x, !orEqual)
	}
	return opaque(g, key(g.e.node))
}

func (v *solver) upTo(g goal, e *expr, most int64, itself bool) choice {
	if !itself {
		if most == math.MinInt64 {
			v.never(g, "")
			return nil
		}
		most--
	}
	return asks(g, key(e.node), v.numbers(e), between{math.MinInt64, most})
}

func (v *solver) from(g goal, e *expr, least int64, itself bool) choice {
	if !itself {
		if least == math.MaxInt64 {
			v.never(g, "")
			return nil
		}
		least++
	}
	return asks(g, key(e.node), v.numbers(e), between{least, math.MaxInt64})
}

const peerKey = `context."peer"`

func isPeer(e *expr) bool { return key(e.node) == peerKey }

// peer is whether the peer is that address.
func (v *solver) peer(g goal, ip cedar.IPAddr, same bool) choice {
	prefix := ip.Prefix()
	if prefix.Bits() < prefix.Addr().BitLen() {
		return v.is(g, same != g.want, fmt.Sprintf(`the peer is one address; write context.peer.isInRange(ip("%s"))`, prefix))
	}
	return asks(g, peerKey, addrs{}, within{prefix, !same})
}

// address is of what is asked of the peer's address.
func (v *solver) address(g goal, n ast.NodeTypeExtensionCall) (choice, bool) {
	if len(g.e.args) == 0 || !isPeer(g.e.args[0]) {
		return nil, false
	}
	var in []netip.Prefix
	switch n.Name {
	case "isIpv4":
		in = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	case "isIpv6":
		in = []netip.Prefix{netip.MustParsePrefix("::/0")}
	case "isLoopback":
		in = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	case "isMulticast":
		in = []netip.Prefix{netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("ff00::/8")}
	case "isInRange":
		ip, ok := value(g.e.args[1]).(cedar.IPAddr)
		if !ok {
			return nil, false
		}
		in = []netip.Prefix{ip.Prefix().Masked()}
	default:
		return nil, false
	}
	var rows choice
	var row []goal
	for _, p := range in {
		one := asks(g, peerKey, addrs{}, within{p, !g.want})
		rows, row = append(rows, one...), append(row, one[0]...)
	}
	if g.want {
		return rows, true
	}
	return choice{row}, true
}
