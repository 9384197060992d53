package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"

	"github.com/keyward/keyward/broker"
)

// atom draws a condition about one thing, over so few values that conditions
// often contradict each other, and requests often meet them.
func (d draw) atom() string {
	name := pick(d, "db", "key", "pay-db", "pay-key", "Pay-db", "x_y", "")
	pattern := pick(d, "*", "pay-*", "*-db", "*-key", "p*y", "db", "Pay*", "*_*", "**", "")
	vault := pick(d, "pay", "web", "pay", "Web", "-")
	day := func() string {
		return fmt.Sprintf("datetime(%q)", pick(d, "2026-05-01", "2026-05-02", "2026-05-03T12:00:00Z", "1969-12-31"))
	}
	hour := func() string {
		return fmt.Sprintf("duration(%q)", pick(d, "0h", "6h", "12h", "23h59m", "24h", "-1h"))
	}
	order := func() string { return pick(d, "<", "<=", ">", ">=", "==", "!=") }
	network := pick(d, "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "192.168.0.0/16", "0.0.0.0/0", "::/0", "::1", "::ffff:a00:0/104", "127.0.0.1/30", "10.9.9.9/8")
	namespace := pick(d, "a", "b", "")
	is := pick(d, "==", "!=")
	switch d.IntN(22) {
	case 0:
		return pick(d, "true", "false", "1 == 1", "2 < 1", `"a" like "a*"`)
	case 1, 2:
		return fmt.Sprintf("resource is Secret && resource.name %s %q", is, name)
	case 3, 4:
		return fmt.Sprintf("resource has name && resource.name like %q", pattern)
	case 5:
		return fmt.Sprintf("resource has vault && resource.vault %s %q", is, vault)
	case 6:
		return fmt.Sprintf("resource %s Vault::%q", pick(d, "in", "==", "!="), pick(d, "pay", "web"))
	case 7:
		return fmt.Sprintf("resource %s Secret::\"vaults/%s/secrets/%s\"", pick(d, "in", "==", "!="), pick(d, "pay", "web"), pick(d, "db", "pay-db"))
	case 8:
		return fmt.Sprintf("resource is %s", pick(d, "Secret", "Vault", "Certificate", `Secret in Vault::"pay"`, `Vault in [Vault::"pay", Vault::"web"]`))
	case 9:
		return fmt.Sprintf("principal %s Workload::%q", pick(d, "==", "!=", "in"), pick(d, "dev/a", "dev/b"))
	case 10:
		return fmt.Sprintf("principal in %s", pick(d, `Group::"dev/g"`, `Group::"dev/h"`, `[Group::"dev/g", Group::"dev/h"]`, `[Group::"dev/h"]`))
	case 11:
		return fmt.Sprintf("action %s Action::%q", pick(d, "==", "!=", "in"), pick(d, "getSecret", "setSecret", "readSecrets", "manageSecrets", "restoreSecret"))
	case 12:
		return fmt.Sprintf("principal has namespace && principal.namespace %s %q", is, namespace)
	case 13:
		return fmt.Sprintf("principal has namespace && [%q, \"b\"].contains(principal.namespace)", namespace)
	case 14:
		return pick(d, "principal has namespace", "principal has pod", "context has peer", "context has reason", "context has transport", "resource has name")
	case 15:
		return fmt.Sprintf("context.transport %s %q", is, pick(d, "grpc", "rest", "http"))
	case 16:
		return fmt.Sprintf("context.time %s %s", order(), day())
	case 17:
		return fmt.Sprintf("%s %s context.time", day(), order())
	case 18:
		return fmt.Sprintf("context.time.toTime()%s", pick(d, " "+order()+" "+hour(), ".toHours() "+order()+" "+pick(d, "6", "12", "24", "-24")))
	case 19:
		return fmt.Sprintf("context has peer && context.peer%s", pick(d, fmt.Sprintf(".isInRange(ip(%q))", network), fmt.Sprintf(" %s ip(%q)", is, network),
			".isIpv4()", ".isIpv6()", ".isLoopback()", ".isMulticast()"))
	case 20:
		return pick(d, `context.time.offset(duration("1h")) > `+day(), "9223372036854775807 + 1 > 0", "context.time.toDate() == "+day(), `principal != resource`)
	}
	return fmt.Sprintf("context has reason && context.reason %s", pick(d, `== ""`, `!= ""`, `like ""`, `like "*"`, `like "be*"`, `== "because"`))
}

// boolean draws a condition that fits the schema.
func (d draw) boolean(depth int) string {
	if depth <= 0 {
		return "(" + d.atom() + ")"
	}
	sub := func() string { return d.boolean(depth - 1 - d.IntN(2)) }
	switch d.IntN(8) {
	case 0, 1, 2:
		return "(" + sub() + " && " + sub() + ")"
	case 3, 4:
		return "(" + sub() + " || " + sub() + ")"
	case 5:
		return "!" + sub()
	case 6:
		return "(if " + sub() + " then " + sub() + " else " + sub() + ")"
	}
	return "(" + sub() + " " + pick(d, "==", "!=") + " " + pick(d, "true", "false", sub()) + ")"
}

func (d draw) rule() string {
	var b strings.Builder
	b.WriteString(pick(d, "permit", "permit", "permit", "forbid", `@breakglass("drawn") permit`))
	fmt.Fprintf(
		&b, " (%s, %s, %s)",
		pick(d, "principal", "principal", `principal == Workload::"dev/a"`, `principal in Group::"dev/g"`, `principal is Workload in Group::"dev/h"`),
		pick(d, "action", "action", `action == Action::"getSecret"`, `action in Action::"manageSecrets"`, `action in [Action::"getSecret", Action::"restoreSecret"]`),
		pick(d, "resource", "resource", "resource is Secret", `resource in Vault::"pay"`, `resource is Secret in Vault::"web"`, `resource == Secret::"vaults/pay/secrets/db"`),
	)
	for range d.IntN(4) {
		fmt.Fprintf(&b, " %s { %s }", pick(d, "when", "when", "unless"), d.boolean(d.IntN(3)))
	}
	b.WriteString(";")
	return b.String()
}

func (d draw) asked(t *testing.T, e *Engine) *query {
	r := broker.Request{
		Principal: broker.Principal{ID: pick(d, "dev/a", "dev/b", "dev/c")},
		Transport: pick(d, broker.TransportGRPC, broker.TransportREST),
		Reason:    pick(d, "", "because", "else"),
		Time: time.Date(2026, 5, 1+d.IntN(4), pick(d, 0, 6, 12, 23), pick(d, 0, 59), 0, 0, time.UTC).
			Add(time.Duration(d.IntN(3)-1) * time.Millisecond),
	}
	if d.IntN(20) == 0 {
		r.Time = time.Date(1969, 12, 30+d.IntN(2), 3, 0, 0, 0, time.UTC)
	}
	for _, g := range []string{"dev/g", "dev/h"} {
		if d.IntN(2) == 0 {
			r.Principal.Groups = append(r.Principal.Groups, g)
		}
	}
	r.Principal.Attributes = map[string]string{pick(d, "namespace", "namespace", "pod"): pick(d, "a", "b", "")}
	if peer := pick(d, "", "10.1.2.3", "10.2.0.1", "192.168.0.1", "127.0.0.1", "127.9.0.1", "::1", "fe80::1", "::ffff:10.1.2.3", "224.0.0.1", "ff02::1"); peer != "" {
		r.Peer = netip.MustParseAddr(peer)
	}
	vault := pick(d, "pay", "web")
	r.Action = pick(d, broker.ActionGetSecret, broker.ActionGetSecret, broker.ActionSetSecret, broker.ActionPurgeSecret,
		broker.ActionRestoreSecret, broker.ActionDownloadCertificate, broker.ActionExplainAccess)
	var err error
	object := pick(d, "db", "db", "key", "pay-db", "pay-key", "x")
	switch r.Action {
	case broker.ActionRestoreSecret, broker.ActionExplainAccess:
		r.Resource, err = broker.VaultName(vault)
	case broker.ActionDownloadCertificate:
		r.Resource, err = broker.ParseName(broker.KindCertificates, "vaults/"+vault+"/certificates/"+object)
	default:
		r.Resource, err = broker.ParseName(broker.KindSecrets, "vaults/"+vault+"/secrets/"+object)
	}
	if err != nil {
		t.Fatal(err)
	}
	q, err := e.newQuery(r)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// matches reports whether a rule has an effect on a request: it is satisfied, or
// is a forbid that fails.
func matches(p policySet, q *query) bool {
	_, diag := cedar.Authorize(selection{p, []int{0}}, q, q.request)
	return len(diag.Reasons) > 0 || p[0].policy.effect() == cedar.Forbid && len(diag.Errors) > 0
}

// TestWhatCouldMatchIsLoaded: no request matches a rule that is refused as one
// that can never match.
func TestWhatCouldMatchIsLoaded(t *testing.T) {
	const rules, requests = 600 * rounds, 1_000
	d := draw{rand.New(rand.NewPCG(6, 2026))}
	e, err := load("drawn", []source{newSource("drawn.cedar", "permit (principal, action, resource);")})
	if err != nil {
		t.Fatal(err)
	}
	var asked []*query
	for range requests {
		asked = append(asked, d.asked(t, e))
	}
	sch, err := loadSchema()
	if err != nil {
		t.Fatal(err)
	}
	var refused, matched, silent int
	for range rules {
		text := d.rule()
		c := newChecker(sch)
		policies, problems := c.policies(newSource("drawn.cedar", text))
		for _, p := range problems {
			if !strings.Contains(p.msg, "can never match") {
				t.Fatalf("%s\n%s", text, p)
			}
		}
		if reason, _ := policies[0].policy.annotation(breakGlass); reason != "" {
			policies[0].policy = withReason(policies[0].policy)
		}
		hit := false
		for _, q := range asked {
			if hit = matches(policies, q); hit {
				break
			}
		}
		switch {
		case hit && len(problems) > 0:
			t.Fatalf("%s\nmatches, and was refused: %v", text, problems)
		case hit:
			matched++
		case len(problems) > 0:
			refused++
		default:
			silent++
		}
	}
	t.Logf("%d rules: %d matched a request, %d were refused, %d matched none of %d requests and were not", rules, matched, refused, silent, requests)
	if refused < rules/10 || matched < rules/10 {
		t.Error("the draw proves little")
	}
	if silent > refused/2 {
		t.Errorf("only %d of %d were found", refused, refused+silent)
	}
}
