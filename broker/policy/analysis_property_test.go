package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/keyward/keyward/broker"
)

// drawn is a folder's content as it could be written: it fits the schema.
type drawn struct{ draw }

// issued gives the names of draw an issuer: credentials put nobody into a group of
// another's, and a certificate puts nobody into any.
var issued = strings.NewReplacer(
	"w/0", "k/w0", "w/1", "k/w1", "w/2", "d/w2", "w/3", "spiffe://x/w3", "w/4", "spiffe://x/w4", "w/5", "k/w5",
	"g/0", "k/g0", "g/1", "k/g1", "g/2", "d/g2", "g/3", "k/g3", "g/4", "all/g4", "g/5", "k/g5",
)

func (d drawn) workload() string { return issued.Replace(d.draw.workload()) }
func (d drawn) group() string    { return issued.Replace(d.draw.group()) }

// term asks something of the principal, the resource or the context.
func (d drawn) term() string {
	return pick(
		d.draw,
		fmt.Sprintf(`principal == Workload::%q`, d.workload()),
		fmt.Sprintf(`Workload::%q == principal`, d.workload()),
		fmt.Sprintf(`principal != Workload::%q`, d.workload()),
		fmt.Sprintf(`principal in Group::%q`, d.group()),
		fmt.Sprintf(`principal in Group::%q`, d.group()),
		fmt.Sprintf(`principal in [Group::%q, Group::%q]`, d.group(), d.group()),
		fmt.Sprintf(`principal is Workload in Group::%q`, d.group()),
		fmt.Sprintf(`Workload::%q in Group::%q`, d.workload(), d.group()),
		fmt.Sprintf(`(Workload::%q has namespace && Workload::"w/0" in Group::%q)`, d.workload(), d.group()),
		`principal has namespace`,
		`(principal has namespace && principal.namespace == "pay")`,
		`(principal has namespace && principal.namespace like "w*")`,
		`context.transport == "grpc"`,
		`context.time < datetime("2026-06-01")`,
		`(context has reason && context.reason like "b*")`,
		`(context has peer && context.peer.isLoopback())`,
		`(resource has name && resource.name like "db*")`,
		`(resource has vault && resource.vault == "pay")`,
		`(resource has vault && resource.vault != "web")`,
		`resource is Secret`,
		fmt.Sprintf(`resource in Vault::%q`, d.vault()),
		`resource == `+d.secretUID(),
		`(context.time.toTime() > duration("1h") || 9223372036854775807 + 1 > 0)`,
		`context.time.offset(duration("9223372036854775807ms")) > context.time`,
		`true`,
	)
}

func (d drawn) expression(depth int) string {
	if depth == 0 {
		return d.term()
	}
	switch a, b := d.expression(depth-1), d.expression(depth-1); d.IntN(7) {
	case 0, 1:
		return fmt.Sprintf("(%s && %s)", a, b)
	case 2, 3:
		return fmt.Sprintf("(%s || %s)", a, b)
	case 4:
		return fmt.Sprintf("!(%s)", a)
	case 5:
		return fmt.Sprintf("(if %s then %s else %s)", a, b, d.term())
	}
	return d.term()
}

func (d drawn) condition() string {
	return fmt.Sprintf(" %s { %s }", pick(d.draw, "when", "when", "unless"), d.expression(d.IntN(3)))
}

// text leaves out the policies that are refused: one that can never match would
// else take its whole set with it.
func (d drawn) text() string {
	var all strings.Builder
	for range d.IntN(7) + 1 {
		var text strings.Builder
		effect := pick(d.draw, "permit", "permit", "permit", "forbid", `@breakglass("drawn") permit`)
		fmt.Fprintf(&text, "%s (%s, %s, %s)", effect, d.principalScope(), pick(d.draw, "action", `action == Action::"getSecret"`, `action in Action::"readSecrets"`), pick(d.draw, "resource", d.resourceScope()))
		for range d.IntN(3) {
			text.WriteString(d.condition())
		}
		text.WriteString(";\n")
		one := issued.Replace(text.String())
		if _, err := load("drawn", []source{newSource("drawn.cedar", one)}); err == nil {
			all.WriteString(one)
		}
	}
	return all.String()
}

// engine returns nil where the draw is one that is refused.
func (d drawn) engine(t *testing.T) (*Engine, string) {
	text := d.text()
	e, err := load("drawn", []source{newSource("drawn.cedar", text)})
	if err != nil {
		return nil, text
	}
	for range d.IntN(6) {
		uid := cedar.NewEntityUID(typeGroup, cedar.String(d.group()))
		if d.IntN(2) == 0 {
			uid = cedar.NewEntityUID(typeWorkload, cedar.String(d.workload()))
		}
		e.entities[uid] = cedar.Entity{UID: uid, Parents: cedar.NewEntityUIDSet(cedar.NewEntityUID(typeGroup, cedar.String(d.group())))}
		if uid.Type == typeWorkload && d.IntN(2) == 0 {
			entity := e.entities[uid]
			entity.Attributes = cedar.NewRecord(cedar.RecordMap{"namespace": cedar.String("pay")})
			e.entities[uid] = entity
		}
		text += fmt.Sprintln(uid, "in", e.entities[uid].Parents.Slice())
	}
	e.enforce(e.objects.policies)
	return e, text
}

func (d drawn) request(t *testing.T) broker.Request {
	r := broker.Request{
		Principal: broker.Principal{ID: pick(d.draw, d.workload(), d.workload(), "k/unnamed", "d/unnamed")},
		Action:    broker.ActionGetSecret,
		Time:      time.Date(2026, time.Month(d.IntN(12)+1), 1, d.IntN(3), 0, 0, 0, time.UTC),
		Transport: pick(d.draw, broker.TransportGRPC, broker.TransportREST),
		Reason:    pick(d.draw, "", "because"),
	}
	issuer, _, _ := strings.Cut(r.Principal.ID, "/")
	for range d.IntN(4) {
		if g := d.group(); strings.HasPrefix(g, issuer+"/") {
			r.Principal.Groups = append(r.Principal.Groups, g)
		}
	}
	if d.IntN(2) == 0 {
		r.Principal.Attributes = map[string]string{"namespace": pick(d.draw, "pay", "web")}
	}
	if d.IntN(2) == 0 {
		r.Peer = netip.MustParseAddr(pick(d.draw, "127.0.0.1", "10.0.0.1"))
	}
	v, err := broker.VaultName(pick(d.draw, d.vault(), "unnamed"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Resource, err = v.Object(broker.KindSecrets, pick(d.draw, d.object(), "db-unnamed")); err != nil {
		t.Fatal(err)
	}
	return r
}

// holds evaluates a condition that was printed.
func holds(t *testing.T, q *query, condition string) (value, failed bool) {
	if condition == "" {
		return true, false
	}
	text := "permit (principal, action, resource) when { " + condition + " };"
	var p cedar.Policy
	if err := p.UnmarshalCedar([]byte(text)); err != nil {
		t.Fatalf("the condition %s is not Cedar: %v", condition, err)
	}
	allowed, diag := cedar.Authorize(selection{policySet{{id: "x", policy: &lazyPolicy{ast: (*ast.Policy)(p.AST())}}}, []int{0}}, q, q.request)
	return allowed == cedar.Allow, len(diag.Errors) > 0
}

func anyHolds(t *testing.T, q *query, conditions []string) bool {
	return len(conditions) == 0 || slices.ContainsFunc(conditions, func(c string) bool {
		value, _ := holds(t, q, c)
		return value
	})
}

// excluded: a condition that fails leaves nobody in.
func excluded(t *testing.T, q *query, condition string) bool {
	value, failed := holds(t, q, condition)
	return value || failed
}

func (q *query) isSubject(s broker.Subject) bool {
	switch s.Kind {
	case broker.SubjectAnyone:
		return true
	case broker.SubjectWorkload:
		return q.principal.UID == cedar.NewEntityUID(typeWorkload, cedar.String(s.ID))
	}
	return slices.Contains(q.principals, cedar.NewEntityUID(typeGroup, cedar.String(s.ID)))
}

// TestGrantsAreThoseWhoArePermitted: whoever Authorize permits is shown, and
// whoever is shown, meets the conditions and is not excepted is permitted.
func TestGrantsAreThoseWhoArePermitted(t *testing.T) {
	const sets, requests = 50 * rounds, 40
	d := drawn{draw{rand.New(rand.NewPCG(11, 2026))}}
	var loaded, permitted, denied, excepted, conditional, unconditional int
	for range sets {
		e, text := d.engine(t)
		if e == nil {
			continue
		}
		loaded++
		for range requests {
			r := d.request(t)
			q, err := e.newQuery(r)
			if err != nil {
				t.Fatal(err)
			}
			grants, err := e.Grants(t.Context(), r.Action, r.Resource)
			if err != nil {
				t.Fatal(err)
			}
			decision, _ := e.Authorize(t.Context(), r)
			shown := false
			for _, g := range grants {
				if !q.isSubject(g.Subject) {
					continue
				}
				if slices.ContainsFunc(g.Except, func(x broker.Exception) bool {
					return q.isSubject(x.Subject) && excluded(t, q, x.Condition)
				}) {
					excepted++
					continue
				}
				if !anyHolds(t, q, g.Conditions) {
					conditional++
					continue
				}
				if len(g.Conditions) == 0 {
					unconditional++
				}
				shown = true
				if !decision.Allowed {
					t.Fatalf("%+v is denied by %q, and shown:\n%+v\n%s", r, decision.Policies, g, text)
				}
			}
			if decision.Allowed && !shown {
				t.Fatalf("%+v is permitted by %q, and not shown:\n%+v\n%s", r, decision.Policies, grants, text)
			}
			if decision.Allowed {
				permitted++
			} else {
				denied++
			}
		}
	}
	t.Logf("%d of %d sets were valid; %d requests permitted, %d denied; grants: %d without conditions, %d whose conditions did not hold, %d excepted",
		loaded, sets, permitted, denied, unconditional, conditional, excepted)
	for what, n := range map[string]int{"permitted": permitted, "denied": denied, "excepted": excepted, "conditional": conditional, "unconditional": unconditional} {
		if n < 10*rounds {
			t.Errorf("only %d %s: the draw proves little", n, what)
		}
	}
}

// TestAbilitiesAreWhatIsPermitted is the same, seen from the principal.
func TestAbilitiesAreWhatIsPermitted(t *testing.T) {
	const sets, requests = 50 * rounds, 20
	d := drawn{draw{rand.New(rand.NewPCG(12, 2026))}}
	var permitted, denied, excepted, conditional, unconditional int
	for range sets {
		e, text := d.engine(t)
		if e == nil {
			continue
		}
		for range requests {
			r := d.request(t)
			q, err := e.newQuery(r)
			if err != nil {
				t.Fatal(err)
			}
			abilities, err := e.Abilities(t.Context(), r.Principal)
			if err != nil {
				t.Fatal(err)
			}
			decision, _ := e.Authorize(t.Context(), r)
			isOn := func(on Resources) bool {
				return on.Type == "Secret" && (on.Vault == "" || on.Vault == r.Resource.VaultAlias()) && (on.Name == "" || on.Name == r.Resource.String())
			}
			shown := false
			for _, b := range abilities {
				if !slices.Contains(b.Actions, r.Action) || !isOn(b.Resources) {
					continue
				}
				if slices.ContainsFunc(b.Except, func(x AbilityException) bool {
					return isOn(x.Resources) && excluded(t, q, x.Condition)
				}) {
					excepted++
					continue
				}
				if !anyHolds(t, q, b.Conditions) {
					conditional++
					continue
				}
				if len(b.Conditions) == 0 {
					unconditional++
				}
				shown = true
				if !decision.Allowed {
					t.Fatalf("%+v is denied by %q, and shown:\n%+v\n%s", r, decision.Policies, b, text)
				}
			}
			if decision.Allowed && !shown {
				t.Fatalf("%+v is permitted by %q, and not shown:\n%+v\n%s", r, decision.Policies, abilities, text)
			}
			if decision.Allowed {
				permitted++
			} else {
				denied++
			}
		}
	}
	t.Logf("%d permitted, %d denied; abilities: %d without conditions, %d whose conditions did not hold, %d excepted",
		permitted, denied, unconditional, conditional, excepted)
	for what, n := range map[string]int{"permitted": permitted, "denied": denied, "excepted": excepted, "conditional": conditional, "unconditional": unconditional} {
		if n < 10*rounds {
			t.Errorf("only %d %s: the draw proves little", n, what)
		}
	}
}
