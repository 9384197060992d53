package policy

import (
	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

func (t *typer) ifThenElse(e *expr, g guards) (*typ, guards) {
	cond, more := t.wants(e.args[0], g, kindBool)
	switch {
	case cond != nil && cond.kind == kindFalse:
		t.uids(e.args[1])
		return t.expr(e.args[2], g)
	case cond != nil && cond.kind == kindTrue:
		t.uids(e.args[2])
		return t.expr(e.args[1], g.and(more))
	case cond == nil:
		more = g
	}
	then, has := t.expr(e.args[1], g.and(more))
	otherwise, hasNot := t.expr(e.args[2], g)
	if then == nil || otherwise == nil {
		return nil, g
	}
	is, ok := common(then, otherwise, true)
	if !ok {
		return t.say(e.args[2].from, `found %s, want %s, as behind "then"`, otherwise, then), g
	}
	return is, has.or(hasNot)
}

func (t *typer) equal(e *expr, g guards, negated bool) *typ {
	left, _ := t.expr(e.args[0], g)
	right, _ := t.expr(e.args[1], g)
	if left == nil || right == nil {
		return &typ{kind: kindBool}
	}
	if a, ok := e.args[0].node.(ast.NodeTypeVariable); ok && e.args[1].node == a {
		return constant(!negated)
	}
	a, aok := e.args[0].node.(ast.NodeValue)
	b, bok := e.args[1].node.(ast.NodeValue)
	if aok && bok {
		return constant(a.Value.Equal(b.Value) != negated)
	}
	if left.kind == kindEntity && right.kind == kindEntity && left.name != right.name {
		return constant(negated)
	}
	if _, ok := common(left, right, false); !ok && left.kind == kindRecord && right.kind == kindRecord {
		t.say(e.args[1].from, "this record never has the keys of the one before it, with values of their types")
	} else if !ok {
		t.say(e.args[1].from, "found %s, want %s: that is what stands before it", right, left)
	}
	return &typ{kind: kindBool}
}

// group wants an entity, or a set of them.
func (t *typer) group(e *expr, g guards) *typ {
	is, _ := t.expr(e, g)
	if is != nil && is.kind == kindSet && (is.elem.kind == kindEntity || is.elem.kind == kindAny) {
		return is.elem
	}
	if is != nil && is.kind != kindEntity {
		return t.say(e.from, "found %s, want an entity or a set of entities", is)
	}
	return is
}

func (t *typer) in(e *expr, g guards) *typ {
	left, _ := t.expr(e.args[0], g)
	if left != nil && left.kind != kindEntity {
		return t.say(e.args[0].from, `found %s, want an entity; of other things, write […].contains(%s)`, left, t.text(e.args[0]))
	}
	right := t.group(e.args[1], g)
	switch {
	case left == nil || right == nil || right.kind == kindAny:
		return &typ{kind: kindBool}
	case left.name == typeAction && t.actionIn(e) != nil:
		return t.actionIn(e)
	case !typeIn(t.sch, left.name, right.name):
		return constant(false)
	}
	return &typ{kind: kindBool}
}

// actionIn is whether an action is in what is written there, nil if that is not
// known before the request is.
func (t *typer) actionIn(e *expr) *typ {
	uid := func(e *expr) (cedar.EntityUID, bool) {
		if v, ok := e.node.(ast.NodeTypeVariable); ok && v.Name == "action" {
			return t.env.action, true
		}
		return uidOf(e.node)
	}
	left, ok := uid(e.args[0])
	found := false
	for _, of := range operands(e.args[1]) {
		right, known := uid(of)
		ok = ok && known
		found = found || actionIn(t.sch, left, right)
	}
	if !ok {
		return nil
	}
	return constant(found)
}
