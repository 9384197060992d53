package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// typer finds the types of expressions in one situation, and what does not fit.
type typer struct {
	*located

	sch      *resolved.Schema
	env      env
	problems []problem
	// missed are those of the problems that the validator takes for none.
	missed []problem
	// situations are all that the policy is evaluated in.
	situations []env
}

// guards are the attributes that "has" has shown to be there.
type guards map[string]bool

func (g guards) and(more guards) guards {
	if len(more) == 0 {
		return g
	}
	all := maps.Clone(more)
	maps.Copy(all, g)
	return all
}

func (g guards) or(other guards) guards {
	both := guards{}
	for k := range g {
		if other[k] {
			both[k] = true
		}
	}
	return both
}

func guard(on ast.IsNode, attr cedar.String) string { return key(on) + " has " + string(attr) }

// key is the same for expressions that are the same.
func key(n ast.IsNode) string {
	switch n := n.(type) {
	case ast.NodeTypeVariable:
		return string(n.Name)
	case ast.NodeTypeAccess:
		return key(n.Arg) + "." + strconv.Quote(string(n.Value))
	}
	return fmt.Sprintf("%#v", n)
}

func (t *typer) say(at int, format string, args ...any) *typ {
	t.problems = append(t.problems, t.problem(at, fmt.Sprintf(format, args...)))
	return nil
}

func (t *typer) condition(e *expr) {
	t.wants(e, guards{}, kindBool)
}

// wants returns e's type, and nil if it is none of kinds.
func (t *typer) wants(e *expr, g guards, kinds ...kind) (*typ, guards) {
	is, more := t.expr(e, g)
	return t.check(e, is, kinds...), more
}

func (t *typer) check(e *expr, is *typ, kinds ...kind) *typ {
	if is == nil || slices.Contains(kinds, is.kind) || is.isBool() && slices.Contains(kinds, kindBool) {
		return is
	}
	var names []string
	for _, k := range kinds {
		names = append(names, called[k])
	}
	want := names[len(names)-1]
	if others := names[:len(names)-1]; len(others) > 0 {
		want = strings.Join(others, ", ") + " or " + want
	}
	return t.say(e.from, "found %s, want %s", is, want)
}

// expr returns e's type, and what is there if e is true.
func (t *typer) expr(e *expr, g guards) (*typ, guards) {
	boolean := &typ{kind: kindBool}
	if name, args, ok := method(e.node); ok {
		return t.call(e, g, name, len(args)), g
	}
	switch n := e.node.(type) {
	case ast.NodeValue:
		return t.value(e, n.Value), g
	case ast.NodeTypeVariable:
		return t.variable(n.Name), g
	case ast.NodeTypeAnd:
		left, more := t.wants(e.args[0], g, kindBool)
		if left != nil && left.kind == kindFalse {
			t.uids(e.args[1])
			return left, g
		}
		if left == nil {
			more = g
		}
		right, all := t.wants(e.args[1], g.and(more), kindBool)
		switch {
		case right != nil && right.kind == kindFalse:
			return right, all
		case left != nil && left.kind == kindTrue:
			return right, all
		}
		return boolean, all
	case ast.NodeTypeOr:
		left, more := t.wants(e.args[0], g, kindBool)
		if left != nil && left.kind == kindTrue {
			t.uids(e.args[1])
			return left, more
		}
		right, other := t.wants(e.args[1], g, kindBool)
		switch {
		case left == nil || right == nil:
			return nil, g
		case left.kind == kindFalse || right.kind == kindTrue:
			return right, other
		case right.kind == kindFalse:
			return left, more
		}
		return boolean, more.or(other)
	case ast.NodeTypeNot:
		is, _ := t.wants(e.args[0], g, kindBool)
		if is != nil && is.kind != kindBool {
			return constant(is.kind == kindFalse), g
		}
		return is, g
	case ast.NodeTypeIfThenElse:
		return t.ifThenElse(e, g)
	case ast.NodeTypeEquals:
		return t.equal(e, g, false), g
	case ast.NodeTypeNotEquals:
		return t.equal(e, g, true), g
	case ast.NodeTypeLessThan, ast.NodeTypeLessThanOrEqual, ast.NodeTypeGreaterThan, ast.NodeTypeGreaterThanOrEqual:
		left, _ := t.wants(e.args[0], g, kindLong, kindTime, kindDuration)
		right, _ := t.wants(e.args[1], g, kindLong, kindTime, kindDuration)
		if left != nil && right != nil && left.kind != right.kind {
			t.say(e.args[1].from, "found %s, want %s: that is what stands before it", right, left)
			t.missed = append(t.missed, t.problems[len(t.problems)-1])
		}
		return boolean, g
	case ast.NodeTypeAdd, ast.NodeTypeSub, ast.NodeTypeMult, ast.NodeTypeNegate:
		for _, a := range e.args {
			t.wants(a, g, kindLong)
		}
		return &typ{kind: kindLong}, g
	case ast.NodeTypeIn:
		return t.in(e, g), g
	case ast.NodeTypeLike:
		t.wants(e.args[0], g, kindString)
		return boolean, g
	case ast.NodeTypeIs:
		is, _ := t.wants(e.args[0], g, kindEntity)
		if is == nil {
			return boolean, g
		}
		return constant(is.name == n.EntityType), g
	case ast.NodeTypeIsIn:
		t.wants(e.args[0], g, kindEntity)
		t.group(e.args[1], g)
		return boolean, g
	case ast.NodeTypeHas:
		is := t.owner(e, g, n.Value)
		if is == nil {
			return nil, g
		}
		a, ok := t.attributes(is)[n.Value]
		guarded := guard(n.Arg, n.Value)
		if !ok {
			return constant(false), g.and(guards{guarded: true})
		}
		if is.kind == kindRecord && a.required || g[guarded] {
			return constant(true), g.and(guards{guarded: true})
		}
		return boolean, g.and(guards{guarded: true})
	case ast.NodeTypeAccess:
		return t.access(e, n, g), g
	case ast.NodeTypeSet:
		return t.set(e, g), g
	case ast.NodeTypeRecord:
		attrs := map[cedar.String]attr{}
		whole := true
		for i, el := range n.Elements {
			is, _ := t.expr(e.args[i], g)
			whole = whole && is != nil
			attrs[el.Key] = attr{is, true}
		}
		if !whole {
			return nil, g
		}
		return &typ{kind: kindRecord, attrs: attrs}, g
	case ast.NodeTypeExtensionCall:
		return t.construct(e, g, string(n.Name)), g
	}
	return nil, g
}

func (t *typer) value(e *expr, v cedar.Value) *typ {
	switch v := v.(type) {
	case cedar.Boolean:
		return constant(bool(v))
	case cedar.Long:
		return &typ{kind: kindLong}
	case cedar.String:
		return &typ{kind: kindString}
	case cedar.EntityUID:
		msg := noType(t.sch, v.Type)
		if v.Type == typeAction {
			msg = noAction(t.sch, v)
		}
		if msg != "" {
			return t.say(e.from, "%s", msg)
		}
		return &typ{kind: kindEntity, name: v.Type}
	}
	return nil
}

// uids checks the entities that are named where nothing else is looked at.
func (t *typer) uids(e *expr) {
	e.walk(func(e *expr) {
		if v, ok := e.node.(ast.NodeValue); ok {
			t.value(e, v.Value)
		}
	})
}

func (t *typer) variable(name cedar.String) *typ {
	switch name {
	case "principal":
		return &typ{kind: kindEntity, name: t.env.principal}
	case "action":
		return &typ{kind: kindEntity, name: t.env.action.Type}
	case "resource":
		return &typ{kind: kindEntity, name: t.env.resource}
	}
	c := ofSchema(t.env.context)
	c.context = true
	return c
}

func (t *typer) attributes(of *typ) map[cedar.String]attr {
	if of.kind == kindRecord {
		return of.attrs
	}
	return ofSchema(t.sch.Entities[of.name].Shape).attrs
}

func (t *typer) set(e *expr, g guards) *typ {
	if len(e.args) == 0 {
		return t.say(e.from, "%s", emptySet)
	}
	elem, whole := &typ{}, true
	for _, a := range e.args {
		is, _ := t.expr(a, g)
		if is == nil {
			whole = false
			continue
		}
		both, ok := common(elem, is, true)
		if !ok {
			return t.say(a.from, "found %s, want %s, as what stands before it in the set", is, elem)
		}
		elem = both
	}
	if !whole {
		return nil
	}
	return &typ{kind: kindSet, elem: elem}
}
