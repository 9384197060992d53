package policy

import (
	"maps"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
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
