package policy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/keyward/keyward/broker"
)

// draw makes random policies, entities and requests over few enough names that
// they meet.
type draw struct{ *rand.Rand }

func pick[T any](d draw, of ...T) T { return of[d.IntN(len(of))] }

func (d draw) workload() string { return fmt.Sprintf("w/%d", d.IntN(6)) }
func (d draw) group() string    { return fmt.Sprintf("g/%d", d.IntN(6)) }
func (d draw) vault() string    { return pick(d, "pay", "web", "ops") }
func (d draw) object() string   { return pick(d, "db", "api-key", "db-password", "tls", "x") }

func (d draw) secretUID() string {
	return fmt.Sprintf("Secret::%q", "vaults/"+d.vault()+"/secrets/"+d.object())
}

func (d draw) principalScope() string {
	switch d.IntN(7) {
	case 0:
		return "principal"
	case 1:
		return "principal is Workload"
	case 2:
		return fmt.Sprintf("principal is Workload in Group::%q", d.group())
	case 3, 4:
		return fmt.Sprintf("principal in Group::%q", d.group())
	case 5:
		return fmt.Sprintf("principal in Workload::%q", d.workload())
	}
	return fmt.Sprintf("principal == Workload::%q", d.workload())
}

func (d draw) actionScope() string {
	switch d.IntN(6) {
	case 0:
		return "action"
	case 1, 2:
		return fmt.Sprintf("action in Action::%q", pick(d, "readSecrets", "writeSecrets", "manageSecrets"))
	case 3:
		return fmt.Sprintf("action in [Action::%q, Action::%q]", pick(d, "getSecret", "readSecrets"), pick(d, "setSecret", "manageSecrets"))
	}
	return fmt.Sprintf("action == Action::%q", pick(d, "getSecret", "listSecrets", "setSecret", "restoreSecret"))
}

func (d draw) resourceScope() string {
	switch d.IntN(7) {
	case 0:
		return "resource"
	case 1:
		return "resource is Secret"
	case 2:
		return fmt.Sprintf("resource is Secret in Vault::%q", d.vault())
	case 3:
		return fmt.Sprintf("resource in Vault::%q", d.vault())
	case 4:
		return "resource in " + d.secretUID()
	case 5:
		return fmt.Sprintf("resource == Vault::%q", d.vault())
	}
	return "resource == " + d.secretUID()
}

// condition may fail to be evaluated, and not only when it decides.
func (d draw) condition() string {
	return pick(d, "", "", "", "", "",
		`when { resource has name && resource.name like "db*" }`,
		`unless { resource has name && resource.name like "*-*" }`,
		`when { context.peer.isLoopback() }`,
		`when { principal.namespace == "pay" }`,
		`when { principal has namespace && principal.namespace == "pay" }`,
		`when { context.time < datetime("2026-06-01") }`,
		`when { context has reason }`,
		`unless { 9223372036854775807 + 1 > 0 }`,
		fmt.Sprintf(`when { principal in Group::%q }`, d.group()),
		fmt.Sprintf(`when { resource in Vault::%q }`, d.vault()),
	)
}

func (d draw) policies(t *testing.T, n int) policySet {
	var all policySet
	for i := range n {
		effect := "permit"
		if d.IntN(4) == 0 {
			effect = "forbid"
		}
		if effect == "permit" && d.IntN(8) == 0 {
			effect = `@breakglass("drawn") permit`
		}
		text := fmt.Sprintf("%s (%s, %s, %s) %s;", effect, d.principalScope(), d.actionScope(), d.resourceScope(), d.condition())
		var p cedar.Policy
		if err := p.UnmarshalCedar([]byte(text)); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		all = append(all, namedPolicy{id: cedar.PolicyID(fmt.Sprintf("p%d", i)), policy: &lazyPolicy{ast: (*ast.Policy)(p.AST())}})
	}
	return all
}

func (d draw) engine(t *testing.T) *Engine {
	e, err := load("drawn", []source{newSource("drawn.cedar", "permit (principal, action, resource);")})
	if err != nil {
		t.Fatal(err)
	}
	group := func() cedar.EntityUID { return cedar.NewEntityUID(typeGroup, cedar.String(d.group())) }
	for range d.IntN(8) {
		uid := group()
		if d.IntN(2) == 0 {
			uid = cedar.NewEntityUID(typeWorkload, cedar.String(d.workload()))
		}
		e.entities[uid] = cedar.Entity{UID: uid, Parents: cedar.NewEntityUIDSet(group(), group())} // in circles, too
	}
	e.enforce(d.policies(t, d.IntN(40)+1))
	return e
}

func (d draw) request(t *testing.T) broker.Request {
	r := broker.Request{
		Principal: broker.Principal{ID: d.workload()},
		Action:    pick(d, broker.ActionGetSecret, broker.ActionListSecrets, broker.ActionSetSecret, broker.ActionDeleteSecret),
		Time:      time.Date(2026, time.Month(d.IntN(12)+1), 1, 0, 0, 0, 0, time.UTC),
		Transport: broker.TransportGRPC,
		Reason:    pick(d, "", "because"),
	}
	for range d.IntN(3) {
		r.Principal.Groups = append(r.Principal.Groups, d.group())
	}
	if d.IntN(2) == 0 {
		r.Principal.Attributes = map[string]string{"namespace": pick(d, "pay", "web"), "unheard-of": "x"}
	}
	if d.IntN(2) == 0 {
		r.Peer = netip.MustParseAddr(pick(d, "127.0.0.1", "10.0.0.1"))
	}
	vault, err := broker.VaultName(d.vault())
	if err == nil {
		switch d.IntN(6) {
		case 0:
			r.Resource = vault.Collection(broker.KindSecrets)
		case 1:
			r.Resource, r.Action = vault, broker.ActionRestoreSecret
		default:
			r.Resource, err = vault.Object(broker.KindSecrets, d.object())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestTheIndexDecidesAsAllPoliciesWould: for every request, what is handed out
// gives the decision, the reasons and the errors of the whole set.
func TestTheIndexDecidesAsAllPoliciesWould(t *testing.T) {
	const sets, requests = 50 * rounds, 220
	d := draw{rand.New(rand.NewPCG(5, 2026))}
	var permitted, forbidden, undecided, broken, left, all, known int
	for range sets {
		e := d.engine(t)
		for range requests {
			r := d.request(t)
			q, err := e.newQuery(r)
			if err != nil {
				t.Fatal(err)
			}
			x := e.objects
			if q.collection {
				x = *e.collections()
			}
			every := selection{policies: x.policies}
			for i := range x.policies {
				every.at = append(every.at, i)
			}
			found := selection{x.policies, inOrder(x.find(nil, q.principals, q.resources()))}
			all, left = all+len(every.at), left+len(every.at)-len(found.at)

			wantAllowed, want := cedar.Authorize(every, q, q.request)
			allowed, diag := cedar.Authorize(found, q, q.request)
			if allowed != wantAllowed || !reflect.DeepEqual(diag, want) {
				t.Fatalf("%+v:\nby the index %v %+v\nby all       %v %+v", r, allowed, diag, wantAllowed, want)
			}
			wantDecision, wantErr := e.decide(q, every)
			for range 2 { // the second may be remembered
				decision, err := e.Authorize(t.Context(), r)
				if !reflect.DeepEqual(decision, wantDecision) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
					t.Fatalf("%+v: Authorize %+v, %v; by all %+v, %v", r, decision, err, wantDecision, wantErr)
				}
			}
			if _, ok := e.memo.decision(r, e.objects.alike(r.Resource)); ok {
				known++
			}
			switch {
			case len(want.Errors) > 0:
				broken++
				fallthrough
			default:
				switch {
				case wantAllowed == cedar.Allow:
					permitted++
				case len(want.Reasons) > 0:
					forbidden++
				default:
					undecided++
				}
			}
		}
	}
	t.Logf("%d requests: %d permitted, %d forbidden, %d by default; %d with errors; the index left out %d of %d policies",
		sets*requests, permitted, forbidden, undecided, broken, left, all)
	for what, n := range map[string]int{"permitted": permitted, "forbidden": forbidden, "denied by default": undecided, "with errors": broken, "remembered": known} {
		if n < sets*requests/50 {
			t.Errorf("only %d requests %s: the draw proves little", n, what)
		}
	}
	if left < all/3 {
		t.Errorf("the index left out %d of %d policies", left, all)
	}
}

// TestManyAreDecidedAsOneByOne: AuthorizeAll is Authorize, name by name.
func TestManyAreDecidedAsOneByOne(t *testing.T) {
	d := draw{rand.New(rand.NewPCG(7, 2026))}
	for range 400 {
		e := d.engine(t)
		r := d.request(t)
		if r.Action == broker.ActionRestoreSecret {
			continue
		}
		var names []broker.Name
		var want []broker.Decision
		var wantErrs []string
		for range 25 {
			one := d.request(t)
			if one.Resource.ObjectName() == "" {
				continue
			}
			names = append(names, one.Resource)
			q := r
			q.Resource = one.Resource
			decision, err := e.Authorize(t.Context(), q)
			want = append(want, decision)
			if err != nil {
				wantErrs = append(wantErrs, err.Error())
			}
		}
		got, err := e.AuthorizeAll(t.Context(), r, names)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v on %v:\nat once    %+v\none by one %+v", r, names, got, want)
		}
		if text := strings.Join(wantErrs, "\n"); (err == nil) != (text == "") || err != nil && err.Error() != text {
			t.Fatalf("at once %v\none by one %s", err, text)
		}
	}
}

func TestAuthorizeAllDeniesWhatItCannotDecide(t *testing.T) {
	e, err := load("x", []source{newSource("a.cedar", "permit (principal, action, resource);")})
	if err != nil {
		t.Fatal(err)
	}
	r := broker.Request{Principal: broker.Principal{ID: "w/1"}, Action: broker.ActionListSecrets, Time: time.Now()}
	good, err1 := broker.ParseName(broker.KindSecrets, "vaults/pay/secrets/db")
	bad, err2 := broker.ParseName(broker.KindCertificates, "vaults/pay/certificates/db")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	got, err := e.AuthorizeAll(t.Context(), r, []broker.Name{good, bad, {}, good})
	if err == nil {
		t.Error("no error for what the schema does not know")
	}
	allowed := []bool{got[0].Allowed, got[1].Allowed, got[2].Allowed, got[3].Allowed}
	if !slices.Equal(allowed, []bool{true, false, false, true}) {
		t.Errorf("allowed: %v", allowed)
	}
	over, stop := context.WithCancel(t.Context())
	stop()
	if got, err := e.AuthorizeAll(over, r, []broker.Name{good, good}); !errors.Is(err, context.Canceled) || len(got) != 2 || got[0].Allowed || got[1].Allowed {
		t.Errorf("for nobody any more: %+v, %v", got, err)
	}
}

// many makes n policies of as many teams, of which one is the asker's.
func many(b *testing.B, n int) *Engine {
	var text strings.Builder
	for i := range n {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&text, "permit (principal == Workload::\"spiffe://example.org/w%d\", action == Action::\"getSecret\", resource == Secret::\"vaults/pay/secrets/s%d\");\n", i, i)
		case 1:
			fmt.Fprintf(&text, "permit (principal in Group::\"k8s/team-%d\", action in Action::\"readSecrets\", resource is Secret in Vault::\"pay\") when { resource.name like \"team-%d-*\" };\n", i, i)
		case 2:
			fmt.Fprintf(&text, "forbid (principal == Workload::\"spiffe://example.org/w%d\", action == Action::\"deleteSecret\", resource);\n", i)
		}
	}
	e, err := load("many", []source{newSource("many.cedar", text.String())})
	if err != nil {
		b.Fatal(err)
	}
	return e
}

// BenchmarkAuthorize shows what a decision costs as policies become many: the
// figure should stay where it is.
func BenchmarkAuthorize(b *testing.B) {
	n, err := broker.ParseName(broker.KindSecrets, "vaults/pay/secrets/s3")
	if err != nil {
		b.Fatal(err)
	}
	r := broker.Request{
		Principal: broker.Principal{ID: "spiffe://example.org/w3", Groups: []string{"k8s/team-4"}},
		Action:    broker.ActionGetSecret, Resource: n, Time: time.Now(), Transport: broker.TransportGRPC,
		Peer: netip.MustParseAddr("10.0.0.1"),
	}
	for _, count := range []int{10, 100, 1_000, 10_000} {
		e := many(b, count)
		b.Run(fmt.Sprintf("policies=%d", count), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d, err := e.Authorize(b.Context(), r); err != nil || !d.Allowed {
					b.Fatal(d, err)
				}
			}
		})
	}
}

// BenchmarkAuthorizeAll decides on 10,000 names of a vault, with 1,000 policies.
func BenchmarkAuthorizeAll(b *testing.B) {
	e := many(b, 1_000)
	vault, err := broker.VaultName("pay")
	if err != nil {
		b.Fatal(err)
	}
	var names []broker.Name
	for i := range 10_000 {
		n, err := vault.Object(broker.KindSecrets, fmt.Sprintf("team-%d-%d", i%1_000, i))
		if err != nil {
			b.Fatal(err)
		}
		names = append(names, n)
	}
	r := broker.Request{
		Principal: broker.Principal{ID: "spiffe://example.org/w3", Groups: []string{"k8s/team-4"}},
		Action:    broker.ActionListSecrets, Time: time.Now(), Transport: broker.TransportGRPC,
	}
	for b.Loop() {
		if _, err := e.AuthorizeAll(b.Context(), r, names); err != nil {
			b.Fatal(err)
		}
	}
}
