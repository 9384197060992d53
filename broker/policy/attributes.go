package policy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// owner wants something that has attributes.
func (t *typer) owner(e *expr, g guards, name cedar.String) *typ {
	is, _ := t.expr(e.args[0], g)
	if is == nil || is.kind == kindEntity || is.kind == kindRecord {
		return is
	}
	if m, ok := methods[string(name)]; ok && m.on == is.kind {
		return t.say(e.op, "%s has no attributes; write .%s(…)", is, name)
	}
	return t.say(e.op, "%s has no attributes", is)
}

func (t *typer) access(e *expr, n ast.NodeTypeAccess, g guards) *typ {
	of := t.owner(e, g, n.Value)
	if of == nil {
		return nil
	}
	a, ok := t.attributes(of)[n.Value]
	if !ok {
		return t.say(e.op, "%s", t.noAttribute(of, string(n.Value)))
	}
	if !a.required && !g[guard(n.Arg, n.Value)] {
		on := t.text(e.args[0])
		t.say(e.op, "%s may have no %s; write %s has %s && %s", on, n.Value, on, n.Value, t.text(e))
	}
	return a.typ
}

// noAttribute says that of has no such attribute, and what has.
func (t *typer) noAttribute(of *typ, name string) string {
	names := slices.Collect(func(yield func(string) bool) {
		for k := range t.attributes(of) {
			if !yield(string(k)) {
				return
			}
		}
	})
	what := of.String()
	if of.context {
		what = "the context"
	}
	msg := fmt.Sprintf("%s has no attribute %q", what, name)
	// On the wrong variable, or of a resource that is not always one with it.
	var having []string
	for _, et := range slices.Sorted(maps.Keys(t.sch.Entities)) {
		if _, ok := t.sch.Entities[et].Shape[cedar.String(name)]; ok {
			having = append(having, string(et))
		}
	}
	var other []string
	for _, e := range t.situations {
		if of.name == t.env.resource && slices.Contains(having, string(e.resource)) {
			other = append(other, string(e.resource))
		}
	}
	_, inContext := t.env.context[cedar.String(name)]
	switch {
	case len(other) > 0:
		return fmt.Sprintf("%s, and %s is asked of one; write resource is %s in the scope", msg, t.env.action.ID, other[0])
	case slices.Contains(having, string(t.env.principal)):
		return fmt.Sprintf("%s; did you mean principal.%s?", msg, name)
	case len(having) > 0:
		return fmt.Sprintf("%s; did you mean resource.%s?", msg, name)
	case inContext:
		return fmt.Sprintf("%s; did you mean context.%s?", msg, name)
	case len(names) == 0:
		return msg + ", nor any other"
	}
	return msg + didYouMean(name, names)
}
