package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// typ is the type of an expression. nil is that of one with a problem of its
// own, of which no more is said.
type typ struct {
	kind kind
	// name is of an entity, elem of a set, attrs of a record.
	name  cedar.EntityType
	elem  *typ
	attrs map[cedar.String]attr
	// context: it is the context itself.
	context bool
}

type attr struct {
	typ      *typ
	required bool
}

type kind int

const (
	kindAny kind = iota // of the elements of no set
	kindTrue
	kindFalse
	kindBool
	kindLong
	kindString
	kindIP
	kindDecimal
	kindTime
	kindDuration
	kindSet
	kindRecord
	kindEntity
)

// called is what a kind is called in messages.
var called = map[kind]string{
	kindTrue: "true or false", kindFalse: "true or false", kindBool: "true or false", kindLong: "a number", kindString: "a string",
	kindIP: "an address", kindDecimal: "a decimal", kindTime: "a time", kindDuration: "a duration", kindSet: "a set", kindRecord: "a record", kindEntity: "an entity",
}

func (t *typ) String() string {
	switch {
	case t.kind == kindEntity:
		return article(t.name)
	case t.kind == kindSet && t.elem.kind != kindAny:
		return "a set (of " + t.elem.String() + ")"
	}
	return called[t.kind]
}

func article(t cedar.EntityType) string {
	if t == typeAction {
		return "an Action"
	}
	return "a " + string(t)
}

func (t *typ) isBool() bool { return t.kind == kindTrue || t.kind == kindFalse || t.kind == kindBool }

func constant(b bool) *typ {
	if b {
		return &typ{kind: kindTrue}
	}
	return &typ{kind: kindFalse}
}

// common returns the type of what is an a or a b; strictly, entities of two
// types have none.
func common(a, b *typ, strict bool) (*typ, bool) {
	switch {
	case a.kind == kindAny:
		return b, true
	case b.kind == kindAny:
		return a, true
	case a.isBool() && b.isBool():
		if a.kind == b.kind {
			return a, true
		}
		return &typ{kind: kindBool}, true
	case a.kind != b.kind:
		return nil, false
	case a.kind == kindEntity:
		return a, a.name == b.name || !strict
	case a.kind == kindSet:
		elem, ok := common(a.elem, b.elem, false)
		return &typ{kind: kindSet, elem: elem}, ok
	case a.kind == kindRecord:
		if len(a.attrs) != len(b.attrs) {
			return nil, false
		}
		attrs := map[cedar.String]attr{}
		for k, x := range a.attrs {
			y, ok := b.attrs[k]
			if !ok || x.required != y.required {
				return nil, false
			}
			t, ok := common(x.typ, y.typ, false)
			if !ok {
				return nil, false
			}
			attrs[k] = attr{t, x.required}
		}
		return &typ{kind: kindRecord, attrs: attrs}, true
	}
	return a, true
}

// ofSchema is a type of the schema.
func ofSchema(t resolved.IsType) *typ {
	switch t := t.(type) {
	case resolved.BoolType:
		return &typ{kind: kindBool}
	case resolved.LongType:
		return &typ{kind: kindLong}
	case resolved.StringType:
		return &typ{kind: kindString}
	case resolved.SetType:
		return &typ{kind: kindSet, elem: ofSchema(t.Element)}
	case resolved.EntityType:
		return &typ{kind: kindEntity, name: cedar.EntityType(t)}
	case resolved.RecordType:
		attrs := map[cedar.String]attr{}
		for name, a := range t {
			attrs[name] = attr{ofSchema(a.Type), !a.Optional}
		}
		return &typ{kind: kindRecord, attrs: attrs}
	case resolved.ExtensionType:
		return &typ{kind: map[resolved.ExtensionType]kind{
			"ipaddr": kindIP, "decimal": kindDecimal, "datetime": kindTime, "duration": kindDuration,
		}[t]}
	}
	return nil
}

// constructor makes a value of a string.
type constructor struct {
	kind  kind
	parse func(string) (cedar.Value, error)
	// like is how to write one.
	like string
}

func parser[T cedar.Value](parse func(string) (T, error)) func(string) (cedar.Value, error) {
	return func(s string) (cedar.Value, error) { return parse(s) }
}

var constructors = map[string]constructor{
	"ip":       {kindIP, parser(types.ParseIPAddr), `ip("10.1.2.3") or, for a range, ip("10.0.0.0/8")`},
	"decimal":  {kindDecimal, parser(types.ParseDecimal), `decimal("1.5"), with one to four places`},
	"datetime": {kindTime, parser(types.ParseDatetime), `datetime("2026-05-01") or datetime("2026-05-01T12:00:00Z")`},
	"duration": {kindDuration, parser(types.ParseDuration), `duration("1d2h30m")`},
}

// signature is what a method is called on, what it takes and what it returns.
type signature struct {
	on, takes, returns kind
}

// takesNothing is of a method without arguments.
const takesNothing kind = -1

var methods = map[string]signature{
	"lessThan": {kindDecimal, kindDecimal, kindBool}, "lessThanOrEqual": {kindDecimal, kindDecimal, kindBool},
	"greaterThan": {kindDecimal, kindDecimal, kindBool}, "greaterThanOrEqual": {kindDecimal, kindDecimal, kindBool},
	"isIpv4": {kindIP, takesNothing, kindBool}, "isIpv6": {kindIP, takesNothing, kindBool},
	"isLoopback": {kindIP, takesNothing, kindBool}, "isMulticast": {kindIP, takesNothing, kindBool},
	"isInRange": {kindIP, kindIP, kindBool},
	"toDate":    {kindTime, takesNothing, kindTime}, "toTime": {kindTime, takesNothing, kindDuration},
	"offset": {kindTime, kindDuration, kindTime}, "durationSince": {kindTime, kindTime, kindDuration},
	"toDays": {kindDuration, takesNothing, kindLong}, "toHours": {kindDuration, takesNothing, kindLong},
	"toMinutes": {kindDuration, takesNothing, kindLong}, "toSeconds": {kindDuration, takesNothing, kindLong},
	"toMilliseconds": {kindDuration, takesNothing, kindLong},
}

// methodNames are all that may be called on something, in policies.
func methodNames() []string {
	return append(slices.Collect(maps.Keys(methods)), "contains", "containsAll", "containsAny", "isEmpty")
}

const noTags = "nothing here has tags; ask for an attribute, with has"

// typer finds the types of expressions in one situation, and what does not fit.
type typer struct {
	*statement

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
	want := called[kinds[0]]
	for i, k := range kinds[1:] {
		want += []string{", ", " or "}[max(0, i-len(kinds)+3)] + called[k]
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
		return t.say(e.op, "%s", t.noAttribute(e, of, string(n.Value)))
	}
	if !a.required && !g[guard(n.Arg, n.Value)] {
		on := t.text(e.args[0])
		t.say(e.op, "%s may have no %s; write %s has %s && %s", on, n.Value, on, n.Value, t.text(e))
	}
	return a.typ
}

// noAttribute says that of has no such attribute, and what has.
func (t *typer) noAttribute(e *expr, of *typ, name string) string {
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
