package policy_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

func inspect(t *testing.T, files ...string) *policy.Analysis {
	t.Helper()
	a, err := policy.Inspect(write(t, files...))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// grantText is a grant on one line: subject, via, policies, conditions and
// exceptions.
func grantText(g broker.Grant) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", g.Kind, g.ID)
	if g.Via != "" {
		fmt.Fprintf(&b, " via %s", g.Via)
	}
	for _, p := range g.Policies {
		fmt.Fprintf(&b, " by %s", p.ID)
	}
	for _, c := range g.Conditions {
		fmt.Fprintf(&b, " if %s", c)
	}
	for _, x := range g.Except {
		fmt.Fprintf(&b, " except %s %s", x.Kind, x.ID)
		if x.Condition != "" {
			fmt.Fprintf(&b, " if %s", x.Condition)
		}
		fmt.Fprintf(&b, " by %s", x.Policy.ID)
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

const (
	inTeam = `[{"uid": {"type": "Workload", "id": "k/ann"}, "parents": [{"type": "Group", "id": "k/team"}], "attrs": {}},
{"uid": {"type": "Group", "id": "k/part"}, "parents": [{"type": "Group", "id": "k/team"}], "attrs": {}},
{"uid": {"type": "Workload", "id": "k/nobody"}, "parents": [{"type": "Group", "id": "k/other"}], "attrs": {}}]`
	teamReads = `@id("team") permit (principal in Group::"k/team", action, resource in Vault::"pay");`
	allRead   = `@id("all") permit (principal, action, resource);`
	annReads  = `@id("ann") permit (principal == Workload::"k/ann", action, resource);`
)

func TestGrants(t *testing.T) {
	tests := []struct {
		name, policies, entities string
		want                     []string
	}{
		{name: "one workload", policies: annReads, want: []string{"workload k/ann by ann"}},
		{name: "another resource", policies: `permit (principal, action, resource == Secret::"vaults/pay/secrets/x");`},
		{name: "another action", policies: `permit (principal, action in Action::"writeSecrets", resource);`},
		{name: "a name that fits leaves no condition", policies: `@id("db") permit (principal, action, resource is Secret) when { resource.name like "db*" };`, want: []string{"anyone by db"}},
		{name: "a name that does not fit", policies: `permit (principal, action, resource is Secret) when { resource.name like "x*" };`},
		{
			name: "a group and who is in it by entities.json", policies: teamReads, entities: inTeam,
			want: []string{"workload k/ann via k/team by team", "group k/part via k/team by team", "group k/team by team"},
		},
		{
			name: "a forbidden workload is an exception of its group", policies: teamReads + `@id("no") forbid (principal == Workload::"k/ann", action, resource);`, entities: inTeam,
			want: []string{"group k/part via k/team by team except workload k/ann by no", "group k/team by team except workload k/ann by no"},
		},
		{
			name: "a forbidden group is an exception of all", policies: allRead + `@id("no") forbid (principal in Group::"k/team", action, resource);`,
			want: []string{"anyone by all except group k/team by no"},
		},
		{
			name: "a forbid in its condition", policies: allRead + `@id("no") forbid (principal, action, resource) when { principal in Group::"k/team" && context.transport == "rest" };`,
			want: []string{`anyone by all except group k/team if context.transport == "rest" by no`},
		},
		{
			name: "forbidden for all but one", policies: teamReads + `forbid (principal, action, resource) unless { principal == Workload::"k/ann" };`, entities: inTeam,
			want: []string{"workload k/ann via k/team by team"},
		},
		{
			name: "forbidden for all but a group", policies: teamReads + `@id("no") forbid (principal, action, resource) unless { principal in Group::"k/admins" };`, entities: inTeam,
			want: []string{`group k/admins by team if principal in Group::"k/team"`},
		},
		{
			name:     "forbidden for all who are not in both of two groups",
			policies: allRead + `@id("a") forbid (principal, action, resource) unless { principal in Group::"k/a" }; @id("b") forbid (principal, action, resource) unless { principal in Group::"k/b" };`,
			want:     []string{`group k/b by all except group k/b if !(principal in Group::"k/a") by a`},
		},
		{name: "forbidden for all", policies: allRead + annReads + `forbid (principal, action, resource);`},
		{name: "a forbid on another resource", policies: annReads + `forbid (principal, action, resource in Vault::"web");`, want: []string{"workload k/ann by ann"}},
		{
			name: "a condition for the call", policies: annReads + `@id("no") forbid (principal, action, resource) unless { context.transport == "grpc" };`,
			want: []string{`workload k/ann by ann except workload k/ann if !(context.transport == "grpc") by no`},
		},
		{
			name: "a permit that leaves somebody out", policies: `@id("p") permit (principal, action, resource) unless { principal == Workload::"k/ann" || principal in Group::"k/team" };`,
			want: []string{"anyone by p except group k/team by p except workload k/ann by p"},
		},
		{
			name: "whom one leaves out another lets in", policies: annReads + `@id("p") permit (principal, action, resource) when { principal != Workload::"k/ann" };`,
			want: []string{"workload k/ann by ann", "anyone by p except workload k/ann by p"},
		},
		{
			name:     "attributes are not known",
			policies: `@id("p") permit (principal, action, resource) when { principal has namespace && principal.namespace == "pay" };`,
			want:     []string{`anyone by p if principal has namespace && principal.namespace == "pay"`},
		},
		{
			name: "break-glass", policies: `@id("p") @breakglass("why") permit (principal in Group::"k/team", action, resource);`,
			want: []string{"group k/team by p if context has reason"},
		},
		{
			name: "alternatives", policies: `@id("a") permit (principal in Group::"k/team", action, resource) when { context.transport == "grpc" }; @id("b") permit (principal in Group::"k/team", action, resource) when { context has peer };`,
			want: []string{`group k/team by a by b if context.transport == "grpc" if context has peer`},
		},
		{
			name: "one without condition suffices", policies: `@id("a") permit (principal in Group::"k/team", action, resource) when { context has peer };` + teamReads,
			want: []string{"group k/team by a by team"},
		},
		{
			name: "a certificate is in no group by itself", policies: `@id("p") permit (principal == Workload::"spiffe://x/ann", action, resource) when { principal in Group::"k/team" };`,
		},
		{
			name: "a token is in none of another issuer", policies: `@id("p") permit (principal == Workload::"d/ann", action, resource) unless { principal in Group::"k/team" };`,
			want: []string{"workload d/ann by p"},
		},
		{
			name: "a token may be in one of its own", policies: `@id("p") permit (principal == Workload::"k/ann", action, resource) when { principal in Group::"k/team" };`,
			want: []string{`workload k/ann by p if principal in Group::"k/team"`},
		},
		{
			name: "a permit by name that needs a group too", policies: annReads + `@id("no") forbid (principal, action, resource) unless { principal in Group::"k/admins" };`,
			want: []string{`workload k/ann by ann except workload k/ann if !(principal in Group::"k/admins") by no`},
		},
		{
			name: "a name within a choice", policies: `@id("p") permit (principal, action, resource) when { principal != Workload::"k/ann" || context.transport == "grpc" };`,
			want: []string{
				`workload k/ann by p if context.transport == "grpc"`,
				`anyone by p except anyone if !(principal != Workload::"k/ann" || context.transport == "grpc") by p`,
			},
		},
		{
			name: "a forbid that fails forbids", policies: allRead + `forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := []string{"a.cedar", tt.policies}
			if tt.entities != "" {
				files = append(files, "entities.json", tt.entities)
			}
			e := load(t, files...)
			grants, err := e.Grants(t.Context(), broker.ActionGetSecret, name(t, "vaults/pay/secrets/db"))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, g := range grants {
				got = append(got, grantText(g))
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) || len(got) != len(tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestGrantsRefuses(t *testing.T) {
	e := load(t, "a.cedar", allRead)
	for _, tt := range []struct {
		action   broker.Action
		resource string
	}{
		{broker.ActionGetSecret, "vaults/pay"},
		{broker.ActionListSecrets, "vaults/pay/secrets"},
		{broker.ActionRestoreSecret, "vaults/pay/secrets/db"},
		{"fly", "vaults/pay/secrets/db"},
	} {
		if grants, err := e.Grants(t.Context(), tt.action, name(t, tt.resource)); err == nil {
			t.Errorf("%s on %s: %v, want an error", tt.action, tt.resource, grants)
		}
	}
	if grants, err := e.Grants(t.Context(), broker.ActionRestoreSecret, name(t, "vaults/pay")); err != nil || len(grants) != 1 {
		t.Errorf("restoreSecret on a vault: %v, %v", grants, err)
	}
}

func TestExplain(t *testing.T) {
	a := inspect(t, "b.cedar", "// first\n"+allRead+"\nforbid (principal, action == Action::\"deleteSecret\", resource);\n")
	x, err := a.Explain(t.Context(), request(t, "k/ann getSecret vaults/pay/secrets/db"))
	if err != nil || !x.Allowed || fmt.Sprint(x.Refs) != "[{all b.cedar:2:1}]" || a.Text("all") != allRead {
		t.Errorf("%+v, %v; text %q", x, err, a.Text("all"))
	}
	x, err = a.Explain(t.Context(), request(t, "k/ann deleteSecret vaults/pay/secrets/db"))
	if err != nil || x.Allowed || fmt.Sprint(x.Refs) != "[{b.cedar:3:1 b.cedar:3:1}]" {
		t.Errorf("%+v, %v", x, err)
	}
}

func TestNear(t *testing.T) {
	a := inspect(t, "near.cedar", `
@id("other-secret") permit (principal == Workload::"k/ann", action == Action::"getSecret", resource == Secret::"vaults/pay/secrets/dc");
@id("other-action") permit (principal == Workload::"k/ann", action == Action::"setSecret", resource == Secret::"vaults/pay/secrets/db");
@id("other-caller") permit (principal == Workload::"k/bob", action == Action::"getSecret", resource == Secret::"vaults/pay/secrets/db");
@id("admin") permit (principal == Workload::"k/admin", action, resource);
@id("all-other") permit (principal == Workload::"k/bob", action == Action::"setSecret", resource == Secret::"vaults/pay/secrets/dc");
@when("a word") @id("conditions")
permit (principal == Workload::"k/ann", action, resource)
when { if true then context.transport == "grpc" else false }
unless { resource in Vault::"pay" };
@id("glass") @breakglass("why") permit (principal == Workload::"k/ann", action, resource) when { context.transport == "rest" };
@id("overflows") permit (principal == Workload::"k/ann", action, resource) when { 9223372036854775807 + 1 > 0 };
`)
	near, err := a.Near(request(t, "k/ann getSecret vaults/pay/secrets/db"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range near {
		got = append(got, n.Policy.ID+": "+n.String())
	}
	want := []string{
		`conditions: right principal, action and resource, but the condition at near.cedar:10:1 does not hold: unless { resource in Vault::"pay" }`,
		`glass: right principal, action and resource, but it permits only who gives a reason`,
		`overflows: right principal, action and resource, but the condition at near.cedar:12:76 could not be evaluated: when { 9223372036854775807 + 1 > 0 }: integer overflow while attempting to add ` + "`9223372036854775807` with `1`",
		`other-secret: right principal and action, wrong resource: it wants resource == Secret::"vaults/pay/secrets/dc"`,
		`other-action: right principal and resource, wrong action: it wants action == Action::"setSecret"`,
		`other-caller: right action and resource, wrong principal: it wants principal == Workload::"k/bob"`,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// With a reason, it is the condition behind that.
	r := request(t, "k/ann getSecret vaults/pay/secrets/db")
	r.Reason = "because"
	near, err = a.Near(r)
	if err != nil || near[1].Condition == nil || near[1].Condition.Position != "near.cedar:11:91" {
		t.Errorf("%+v, %v", near, err)
	}
	if _, err := a.Near(request(t, "k/ann listSecrets vaults/pay/secrets")); err == nil {
		t.Error("no error for a collection")
	}
}

func TestFindings(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		name, policies, entities string
		want                     []string
	}{
		{name: "nothing", policies: teamReads + annReads},
		{
			name: "a time that is over", policies: `@id("p") permit (principal, action, resource) when { context.time < datetime("2026-05-31") };`,
			want: []string{`a.cedar:1:1: the permit "p" ended at 2026-05-31T00:00:00Z and does nothing any more: remove it, or give it a new end`},
		},
		{
			name: "written the other way round, in a forbid", policies: allRead + "\n" + `forbid (principal, action, resource) when { context has reason && datetime("2026-05-01").offset(duration("1d")) >= context.time };`,
			want: []string{`a.cedar:2:1: this forbid ended at 2026-05-02T00:00:00Z and does nothing any more: remove it, or give it a new end`},
		},
		{name: "a time to come", policies: `permit (principal, action, resource) when { context.time < datetime("2026-06-02") };`},
		{name: "a time not before", policies: `permit (principal, action, resource) when { context.time > datetime("2026-05-01") };`},
		{name: "one of two times", policies: `permit (principal, action, resource) when { context.time < datetime("2026-05-01") || context.transport == "grpc" };`},
		{
			name: "always overruled", policies: annReads + "\n" + `@id("no") forbid (principal in Group::"k/team", action, resource);`, entities: inTeam,
			want: []string{`a.cedar:1:1: the permit "ann" permits nothing: the forbid "no" at a.cedar:2:1 overrules all of it; remove it, or narrow the forbid`},
		},
		{name: "overruled for some", policies: allRead + `forbid (principal in Group::"k/team", action, resource);`},
		{name: "overruled at times", policies: annReads + `forbid (principal, action, resource) when { context has reason };`},
		{
			name: "needless", policies: `@id("all") permit (principal, action, resource is Secret);` + "\n" + `permit (principal == Workload::"k/ann", action == Action::"getSecret", resource == Secret::"vaults/pay/secrets/db") when { context has reason };`,
			want: []string{`a.cedar:2:1: this permit adds nothing: "all" at a.cedar:1:1 permits all of it without conditions; remove one of them`},
		},
		{
			name: "twice", policies: teamReads + "\n" + strings.Replace(teamReads, `"team"`, `"twice"`, 1),
			want: []string{`a.cedar:2:1: the permit "twice" adds nothing: "team" at a.cedar:1:1 permits all of it without conditions; remove one of them`},
		},
		{
			name: "not covered", policies: `permit (principal == Workload::"k/ann", action in Action::"readSecrets", resource in Vault::"pay");
permit (principal == Workload::"k/ann", action in [Action::"getSecret", Action::"setSecret"], resource in Vault::"pay");
permit (principal == Workload::"k/ann", action == Action::"getSecret", resource in Vault::"web");
permit (principal in Group::"k/team", action == Action::"getSecret", resource in Vault::"pay");`,
		},
		{
			name: "unused", policies: annReads, entities: inTeam,
			want: []string{
				`entities.json:2:1: no policy names Group::"k/part" or a group that it is in: remove it, or name it in a policy`,
				`entities.json:3:1: no policy names Workload::"k/nobody" or a group that it is in: remove it, or name it in a policy`,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := []string{"a.cedar", tt.policies}
			if tt.entities != "" {
				files = append(files, "entities.json", tt.entities)
			}
			var got []string
			for _, f := range inspect(t, files...).Findings(now) {
				line := filepath.Base(f.Position) + ": " + f.Message
				// Of entities.json, only where that is what is tested.
				if tt.name == "unused" || !strings.Contains(line, entitiesName) {
					got = append(got, line)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

const entitiesName = "entities.json"

func TestCases(t *testing.T) {
	a := inspect(t, "a.cedar", teamReads+annReads)
	ask := request(t, "k/ann getSecret vaults/pay/secrets/db")
	tests := []struct {
		name  string
		c     policy.Case
		wrong string
	}{
		{"as expected", policy.Case{Request: ask, Allowed: true}, ""},
		{"by which", policy.Case{Request: ask, Allowed: true, Policies: []string{"ann"}}, ""},
		{"by another", policy.Case{Request: ask, Allowed: true, Policies: []string{"team"}}, "want it decided by team, it was by ann"},
		{"by none", policy.Case{Request: ask, Allowed: true, Policies: []string{}}, "want it decided by none, it was by ann"},
		{"by one that is not there", policy.Case{Request: ask, Allowed: true, Policies: []string{"anne"}}, `there is no policy "anne"`},
		{"not as expected", policy.Case{Request: ask}, "want deny, got allow"},
	}
	for _, tt := range tests {
		results, idle := a.Test(t.Context(), []policy.Case{tt.c})
		if got := strings.Join(results[0].Wrong, "; "); got != tt.wrong {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.wrong)
		}
		if len(idle) != 1 || idle[0].ID != "team" {
			t.Errorf("%s: idle %v, want the team's", tt.name, idle)
		}
	}
}
