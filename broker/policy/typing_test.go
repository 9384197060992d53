package policy

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// expression draws one that parses, of any type, with names that are there and
// names that are not.
func (d draw) expression(depth int) string {
	sub := func() string { return d.expression(depth - 1) }
	if depth <= 0 || d.IntN(8) == 0 {
		return pick(d, "principal", "resource", "action", "context", "true", "false", "1", "-7", `"a"`, `"grpc"`,
			`Workload::"dev/w"`, `Group::"dev/g"`, `Vault::"pay"`, `Secret::"vaults/pay/secrets/db"`, `User::"x"`,
			`Action::"getSecret"`, `Action::"readSecrets"`, `Action::"fetch"`,
			`ip("10.0.0.1")`, `ip("10.0.0.0/33")`, `datetime("2026-05-01")`, `duration("1h")`, `decimal("1.5")`, `decimal("x")`,
			"context.time", "context.transport", "resource.name", "principal has namespace", "context has peer")
	}
	switch d.IntN(20) {
	case 0, 1:
		return sub() + " && " + sub()
	case 2:
		return sub() + " || " + sub()
	case 3:
		return "(" + sub() + ")"
	case 4:
		return "!(" + sub() + ")"
	case 5:
		return "(if " + sub() + " then " + sub() + " else " + sub() + ")"
	case 6:
		return "(" + sub() + ") " + pick(d, "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "in") + " (" + sub() + ")"
	case 7:
		return "(" + sub() + ")" + pick(d, ".name", ".vault", ".namespace", ".peer", `["transport"]`, ".nonesuch")
	case 8:
		return "(" + sub() + ") has " + pick(d, "name", "namespace", "peer", `"reason"`, "nonesuch", "a.b.c")
	case 9:
		return "(" + sub() + ") is " + pick(d, "Workload", "Secret", "Vault", `Secret in (`+sub()+")")
	case 10:
		return "(" + sub() + `) like "a*"`
	case 11:
		return "[" + sub() + ", " + sub() + "]" + pick(d, "", ".contains("+sub()+")", ".isEmpty()", ".containsAny(["+sub()+"])", ".containsAll("+sub()+")")
	case 12:
		return "{a: " + sub() + `, "b c": ` + sub() + "}" + pick(d, "", ".a", `["b c"]`, " has a", " == {a: "+sub()+`, "b c": 1}`)
	case 13:
		return "(" + sub() + ")" + pick(d, ".isIpv4()", ".toTime()", ".toDate()", ".isLoopback(1)", ".isInRange("+sub()+")", ".offset("+sub()+")",
			".lessThan("+sub()+")", ".durationSince("+sub()+")", ".toHours()", ".hasTag("+sub()+")", ".getTag("+sub()+")")
	case 14:
		return pick(d, "ip", "datetime", "duration", "decimal") + "(" + pick(d, sub(), `"1h"`, `"1.0"`, "", `"a", "b"`) + ")"
	case 15:
		return "principal has namespace && principal.namespace == (" + sub() + ")"
	case 16:
		return "context has peer && context.peer.isInRange(" + sub() + ")"
	case 17:
		return "resource has name && resource.name == (" + sub() + ")"
	case 18:
		return "action in " + pick(d, `Action::"readSecrets"`, `[Action::"getSecret", Action::"writeSecrets"]`, "["+sub()+"]") + " && " + sub()
	}
	return "-(" + sub() + ")"
}

// located draws a policy around a condition, and finds its parts.
func (d draw) located(t *testing.T, condition string) *located {
	text := fmt.Sprintf("@note(\"when {\") permit (%s, %s, %s) when { %s };", d.principalScope(), d.actionScope(), d.resourceScope(), condition)
	src := newSource("drawn.cedar", text)
	st := statements(tokens(text))[0]
	p, wrong := parse(src, st)
	if wrong != nil {
		t.Fatalf("%s: %s", text, wrong)
	}
	s := locate(src, st, p.ast)
	if !s.found {
		t.Fatalf("%s: its parts were not found", text)
	}
	return s
}

// TestTypesAreThoseOfCedar: what the validator refuses is explained, in other
// words than its own, and nothing else is found wrong.
func TestTypesAreThoseOfCedar(t *testing.T) {
	sch, err := loadSchema()
	if err != nil {
		t.Fatal(err)
	}
	d := draw{rand.New(rand.NewPCG(3, 2026))}
	var refused, accepted int
	for range 1_500 * rounds {
		s := d.located(t, pick(d, d.expression(d.IntN(4)), d.boolean(d.IntN(3)), d.boolean(1)+" && "+d.expression(1)))
		c := newChecker(sch)
		err := c.schema.Policy("", s.ast)
		found := c.checkScope(s)
		for _, e := range c.takenBy(s.ast) {
			ty := typer{located: s, sch: sch, env: e}
			ty.condition(s.conditions[0])
			for _, p := range ty.problems {
				if !strings.Contains(fmt.Sprint(ty.missed), p.String()) {
					found = append(found, p)
				}
			}
		}
		if (err == nil) != (len(found) == 0) {
			t.Fatalf("%s\nCedar: %v\nhere: %v", s.src.text, err, found)
		}
		if err == nil {
			accepted++
			continue
		}
		refused++
		for _, p := range c.checkSchema(s) {
			if p.at.Line != 1 || p.at.Column <= len(`@note("when {")`) || strings.ContainsAny(p.msg, "`") || strings.Contains(p.msg, "__cedar") {
				t.Fatalf("%s\n%s", s.src.text, p)
			}
		}
	}
	t.Logf("%d refused, %d accepted", refused, accepted)
	if refused < 300*rounds || accepted < 300*rounds {
		t.Error("the draw proves little")
	}
}

// TestPartsAreFound: each part of a condition is found at its own word.
func TestPartsAreFound(t *testing.T) {
	d := draw{rand.New(rand.NewPCG(4, 2026))}
	for range 2_000 * rounds {
		s := d.located(t, d.expression(d.IntN(5)))
		for _, cond := range s.conditions {
			cond.walk(func(e *expr) {
				op := s.ts[e.op].text
				want, quoted := op, ""
				switch n := e.node.(type) {
				case ast.NodeTypeVariable:
					want = string(n.Name)
				case ast.NodeTypeAccess:
					want, quoted = string(n.Value), strconv.Quote(string(n.Value))
				case ast.NodeTypeHas:
					want, quoted = string(n.Value), strconv.Quote(string(n.Value))
				case ast.NodeTypeIs:
					want = string(n.EntityType)
				case ast.NodeTypeExtensionCall:
					want = string(n.Name)
				case ast.NodeValue:
					if uid, ok := n.Value.(cedar.EntityUID); ok {
						want = string(uid.Type)
					}
				default:
					if sign, _, ok := binary(e.node); ok && op != "." && sign != "&&" {
						want = tokens(sign)[0].text
					}
				}
				if op != want && op != quoted {
					t.Fatalf("%s: %T at %d: %q, want %q", s.src.text, e.node, s.at(e.op).Column, op, want)
				}
				if e.from > e.op || e.op >= e.to {
					t.Fatalf("%s: %T from %d to %d, at %d", s.src.text, e.node, e.from, e.to, e.op)
				}
			})
		}
	}
}
