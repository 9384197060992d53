package usage_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
	"github.com/keyward/keyward/broker/policy/usage"
)

var may = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// folder loads policies, the text of p.cedar, and entities.json if it is not "".
func folder(t *testing.T, text, entities string) *policy.Analysis {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"p.cedar": text}
	if entities != "" {
		files["entities.json"] = entities
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, err := policy.Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// name reads vaults/v, vaults/v/secrets, or an object.
func name(t *testing.T, text string) broker.Name {
	t.Helper()
	parts := strings.Split(text, "/")
	var n broker.Name
	var err error
	switch len(parts) {
	case 2:
		n, err = broker.ParseVaultName(text)
	case 3:
		n, err = broker.VaultName(parts[1])
		n = n.Collection(broker.Kind(parts[2]))
	default:
		n, err = broker.ParseName(broker.Kind(parts[2]), text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// did is a decision that was allowed and succeeded; "who+group+group" has groups
// by credentials.
func did(t *testing.T, who string, a broker.Action, resource string) usage.Decision {
	t.Helper()
	parts := strings.Split(who, "+")
	return usage.Decision{
		Request: broker.Request{
			Principal: broker.Principal{ID: parts[0], Groups: parts[1:]},
			Action:    a, Resource: name(t, resource), Transport: broker.TransportGRPC,
		},
		Allowed: true, OK: true,
	}
}

// pastOf adds decisions, an hour apart from the first of May on unless they say
// when.
func pastOf(w usage.Window, decisions []usage.Decision, engines ...*policy.Engine) *usage.Past {
	p := usage.NewPast(w, engines...)
	for i, d := range decisions {
		if d.Sight.Time.IsZero() {
			d.Sight.Time = may.Add(time.Duration(i) * time.Hour)
		}
		d.Sight.Seq, d.Sight.Line, d.Sight.File = uint64(i+1), i+1, "audit.jsonl"
		p.Add(d)
	}
	return p
}

// What was decided several times is one use; a change counts once; what no policy
// decides does not; and what is before the window tells of objects only.
func TestPast(t *testing.T) {
	a := folder(t, `permit (principal == Workload::"k/a", action, resource in Vault::"pay");`, "")
	get := did(t, "k/a", broker.ActionGetSecret, "vaults/pay/secrets/db")
	versioned := did(t, "k/a", broker.ActionGetSecret, "vaults/pay/secrets/db/versions/0123456789abcdef0123456789abcdef")
	old := did(t, "k/old", broker.ActionGetSecret, "vaults/pay/secrets/old")
	old.Sight.Time = may.Add(-time.Hour)
	denied := did(t, "k/b", broker.ActionGetSecret, "vaults/pay/secrets/guess")
	denied.Allowed = false
	intent, outcome := did(t, "k/a", broker.ActionDeleteSecret, "vaults/pay/secrets/gone"), did(t, "k/a", broker.ActionDeleteSecret, "vaults/pay/secrets/gone")
	intent.Phase, intent.OK, outcome.Phase = broker.PhaseIntent, false, broker.PhaseOutcome
	p := pastOf(usage.Window{Since: may}, []usage.Decision{
		old, get, versioned, get, denied, did(t, "k/a", broker.ActionGetSecret, "vaults/pay/secrets/gone"), intent, outcome,
		did(t, "k/a", "flySecret", "vaults/pay/secrets/db"), did(t, "k/a", broker.ActionGetSecret, "vaults/pay"),
	}, a.Engine)
	if p.Decisions != 6 || p.Foreign != 2 || p.Questions() != 4 {
		t.Errorf("%d decisions, %d foreign, %d questions", p.Decisions, p.Foreign, p.Questions())
	}
	if u := p.Uses()[0]; u.Count != 3 || u.First.Seq != 2 || u.Last.Seq != 4 || u.Request.Resource.Version() != "" {
		t.Errorf("%+v", u)
	}
	var objects []string
	for _, o := range p.Objects() {
		objects = append(objects, o.Name.ObjectName())
		if o.Name.ObjectName() == "old" && (o.Read == nil || o.Reader != "k/old") || o.Gone != (o.Name.ObjectName() == "gone") {
			t.Errorf("%+v", o)
		}
	}
	if got := strings.Join(objects, " "); got != "db gone old" {
		t.Errorf("objects %s", got)
	}
}

// Decided again are all that could be decided differently, each for its context.
func TestReplay(t *testing.T) {
	before := folder(t, `permit (principal, action, resource);`, "")
	after := folder(t, `
permit (principal == Workload::"k/time", action, resource) when { context.time < datetime("2026-05-01T13:30:00Z") };
permit (principal == Workload::"k/peer", action, resource) when { context has peer && context.peer.isInRange(ip("10.0.0.0/8")) };
permit (principal == Workload::"k/rest", action, resource) when { context.transport == "rest" };
@breakglass("emergencies") permit (principal == Workload::"k/glass", action, resource);
permit (principal in Group::"k/g", action, resource == Secret::"vaults/pay/secrets/db");
permit (principal, action, resource) when { principal has namespace && principal.namespace == "pay" };
`, "")
	const db = "vaults/pay/secrets/db"
	with := func(d usage.Decision, change func(*usage.Decision)) usage.Decision {
		change(&d)
		return d
	}
	get := func(who string) usage.Decision { return did(t, who, broker.ActionGetSecret, db) }
	var all []usage.Decision
	for range 2 {
		all = append(all,
			get("k/time"), // at 12:00 and at 21:00
			with(get("k/peer"), func(d *usage.Decision) { d.Request.Peer = name4("10.1.1.1") }),
			with(get("k/peer"), func(d *usage.Decision) { d.Request.Peer = name4("192.0.2.1") }),
			with(get("k/rest"), func(d *usage.Decision) { d.Request.Transport = broker.TransportREST }),
			get("k/rest"),
			with(get("k/glass"), func(d *usage.Decision) { d.Request.Reason, d.BreakGlass = "INC-1", true }),
			get("k/x+k/g"),
			did(t, "k/x+k/g", broker.ActionListSecrets, "vaults/pay/secrets"), // it could list db
			with(get("k/ns"), func(d *usage.Decision) { d.Request.Principal.Attributes = map[string]string{"namespace": "pay"} }),
		)
	}
	all = append(all, with(get("k/x+k/g"), func(d *usage.Decision) { d.Allowed = false }))
	p := pastOf(usage.Window{}, all, before.Engine, after.Engine)
	r := p.Replay(nil, after.Engine)
	denied := map[string]int{}
	for _, c := range r.Denied {
		denied[c.Principal] = c.Count
	}
	if len(denied) != 3 || denied["k/time"] != 1 || denied["k/peer"] != 2 || denied["k/rest"] != 2 {
		t.Errorf("newly denied %v", denied)
	}
	if len(r.Allowed) != 1 || r.Allowed[0].Count != 1 || r.Allowed[0].Last.Seq != 19 || len(r.Allowed[0].Explanation.Refs) != 1 {
		t.Errorf("newly allowed %+v", r.Allowed)
	}
	if r.Used != 18 {
		t.Errorf("%d used", r.Used)
	}
	// Against a folder that allows all, what was recorded as denied is not new.
	if r := p.Replay(before.Engine, after.Engine); len(r.Allowed) != 0 || r.Used != 19 {
		t.Errorf("against the other folder: %+v", r)
	}
	// What is alike is decided once: but for k/time, which has a clock.
	if r.Questions != 11 {
		t.Errorf("%d questions", r.Questions)
	}
}

// A managed secret takes a decision more, which only the policies of its record
// tell of.
func TestReleasedCertificates(t *testing.T) {
	a := folder(t, `
@id("b") permit (principal == Workload::"k/a", action == Action::"getSecret", resource in Vault::"pay");
@id("a") permit (principal == Workload::"k/a", action == Action::"downloadCertificate", resource in Vault::"pay");
@id("c") permit (principal == Workload::"k/a", action == Action::"downloadCertificate", resource in Vault::"pay");
@id("d") permit (principal == Workload::"k/a", action == Action::"downloadCertificate", resource == Certificate::"vaults/web/certificates/x");
@id("e") permit (principal == Workload::"k/a", action == Action::"getSecret", resource == Secret::"vaults/pay/secrets/plain");
`, "")
	for _, tt := range []struct {
		secret   string
		policies []string
		want     []string
	}{
		{"tls", []string{"b", "a", "c"}, []string{"d", "e"}},   // one list behind the other
		{"tls", []string{"b", "c"}, []string{"d", "e"}},        // not all of it decided on the secret
		{"plain", []string{"b", "e"}, []string{"a", "c", "d"}}, // all of it did
		{"plain", []string{"b", "b"}, []string{"d"}},           // one policy for both
		{"tls", []string{"b"}, []string{"a", "c", "d", "e"}},   // no certificate
		{"tls", []string{"b", "renamed"}, []string{"d", "e"}},  // what is not known is taken for a use
	} {
		d := did(t, "k/a", broker.ActionGetSecret, "vaults/pay/secrets/"+tt.secret)
		d.Policies = tt.policies
		got, err := pastOf(usage.Window{}, []usage.Decision{d}, a.Engine).Tighten(a, usage.TightenConfig{})
		if err != nil {
			t.Fatal(err)
		}
		var unused []string
		for _, f := range got.Findings {
			if f.Kind == usage.Unused {
				unused = append(unused, f.Policy.ID)
			}
		}
		slices.Sort(unused)
		if !slices.Equal(unused, tt.want) {
			t.Errorf("%s by %q: unused are %q, want %q", tt.secret, tt.policies, unused, tt.want)
		}
	}
}
