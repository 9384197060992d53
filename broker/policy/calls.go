package policy

import (
	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

func (t *typer) construct(e *expr, g guards, name string) *typ {
	c := constructors[name]
	is := &typ{kind: c.kind}
	for _, a := range e.args {
		found, _ := t.expr(a, g)
		if _, literal := a.node.(ast.NodeValue); !literal {
			t.say(a.from, "%s takes text in quotes, nothing that is worked out; write %s", name, c.like)
		} else if len(e.args) == 1 {
			t.check(a, found, kindString)
		}
	}
	if len(e.args) != 1 {
		t.say(e.op, "%s takes one argument, found %d; write %s", name, len(e.args), c.like)
		return is
	}
	if v, ok := e.args[0].node.(ast.NodeValue); ok {
		if s, ok := v.Value.(cedar.String); ok {
			if _, err := c.parse(string(s)); err != nil {
				t.say(e.args[0].from, "%q is not %s; write %s", s, called[c.kind], c.like)
			}
		}
	}
	return is
}

// call is of a method, of Cedar's own or of an extension.
func (t *typer) call(e *expr, g guards, name string, n int) *typ {
	boolean := &typ{kind: kindBool}
	switch name {
	case "hasTag": // see silent
		t.wants(e.args[0], g, kindEntity)
		t.wants(e.args[1], g, kindString)
		return constant(false)
	case "getTag":
		return t.say(e.op, noTags)
	case "isEmpty":
		t.wants(e.args[0], g, kindSet)
		return boolean
	case "contains":
		set, _ := t.wants(e.args[0], g, kindSet)
		is, _ := t.expr(e.args[1], g)
		if set == nil || is == nil {
			return boolean
		}
		if _, ok := common(set.elem, is, true); !ok {
			t.say(e.args[1].from, "found %s, want %s, as in the set", is, set.elem)
		}
		return boolean
	case "containsAll", "containsAny":
		left, _ := t.wants(e.args[0], g, kindSet)
		right, _ := t.wants(e.args[1], g, kindSet)
		if left == nil || right == nil {
			return boolean
		}
		if _, ok := common(left, right, false); !ok {
			t.say(e.args[1].from, "found %s, want %s", right, left)
		}
		return boolean
	}
	m := methods[name]
	returns := &typ{kind: m.returns}
	want := 1
	if m.takes == takesNothing {
		want = 0
	}
	if n-1 != want {
		for _, a := range e.args {
			t.expr(a, g)
		}
		t.say(e.op, "%s takes %s, found %d", name, []string{"no argument", "one argument"}[want], n-1)
		return returns
	}
	t.wants(e.args[0], g, m.on)
	if want == 1 {
		t.wants(e.args[1], g, m.takes)
	}
	return returns
}
