package usage_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
	"github.com/keyward/keyward/broker/policy/usage"
)

func name4(text string) netip.Addr { return netip.MustParseAddr(text) }

const team = `[
  {"uid": {"type": "Group", "id": "inner"}, "parents": [{"type": "Group", "id": "team"}], "attrs": {}},
  {"uid": {"type": "Workload", "id": "k/a"}, "parents": [{"type": "Group", "id": "inner"}], "attrs": {}},
  {"uid": {"type": "Workload", "id": "k/b"}, "parents": [{"type": "Group", "id": "inner"}], "attrs": {}},
  {"uid": {"type": "Workload", "id": "k/c"}, "parents": [{"type": "Group", "id": "team"}], "attrs": {}},
  {"uid": {"type": "Workload", "id": "k/d"}, "parents": [{"type": "Group", "id": "team"}], "attrs": {}}
]`

func TestTighten(t *testing.T) {
	get := func(who, secret string) usage.Decision {
		return did(t, who, broker.ActionGetSecret, "vaults/pay/secrets/"+secret)
	}
	do := func(who string, a broker.Action, secret string) usage.Decision {
		return did(t, who, a, "vaults/pay/secrets/"+secret)
	}
	// Somebody else shows that these are there.
	known := func(secrets ...string) (all []usage.Decision) {
		for _, s := range secrets {
			all = append(all, get("k/lister", s))
		}
		return all
	}
	const lister = "\n@id(\"lister\") permit (principal == Workload::\"k/lister\", action == Action::\"getSecret\", resource is Secret);\n"
	tests := []struct {
		name     string
		text     string
		entities string
		past     []usage.Decision
		// want are "kind: proposal", or "kind: (why)".
		want []string
	}{
		{
			"all is used", `permit (principal in Group::"team", action == Action::"getSecret", resource == Secret::"vaults/pay/secrets/db");`, team,
			[]usage.Decision{get("k/a", "db"), get("k/b", "db"), get("k/c", "db"), get("k/d", "db")},
			nil,
		},
		{
			"nobody", `permit (principal == Workload::"k/a", action, resource); permit (principal == Workload::"k/b", action == Action::"getSecret", resource);`, "",
			[]usage.Decision{get("k/b", "db")},
			[]string{"unused: remove it"},
		},
		{
			"all there is", `permit (principal == Workload::"k/a", action, resource);`, "",
			[]usage.Decision{get("k/b", "db")},
			[]string{"unused: (it is all there is, and a folder without a policy is refused)"},
		},
		{
			"not begun", `permit (principal == Workload::"k/a", action, resource) when { context.time > datetime("2026-06-01") };`, "",
			[]usage.Decision{get("k/b", "db")},
			[]string{"kept: (it begins at 2026-06-01T00:00:00Z, so the past does not tell)"},
		},
		{
			"break-glass", `@breakglass("emergencies") permit (principal, action, resource); forbid (principal, action, resource == Secret::"vaults/pay/secrets/root");`, "",
			[]usage.Decision{get("k/b", "db")},
			[]string{"kept: (it is a break-glass policy, for what is rare)"},
		},
		{
			"a group of actions", `permit (principal == Workload::"k/a", action, resource == Secret::"vaults/pay/secrets/db");`, "",
			[]usage.Decision{do("k/a", broker.ActionSetSecret, "db"), do("k/a", broker.ActionUpdateSecret, "db"), do("k/a", broker.ActionGenerateSecret, "db")},
			[]string{`actions: action in Action::"writeSecrets"`},
		},
		{
			"an action of a group", `permit (principal == Workload::"k/a", action in Action::"readSecrets", resource == Secret::"vaults/pay/secrets/db");`, "",
			[]usage.Decision{get("k/a", "db")},
			[]string{`actions: action == Action::"getSecret"`},
		},
		{
			"a comment in what would go", "permit (principal == Workload::\"k/a\", action in [Action::\"getSecret\", // always\nAction::\"setSecret\"], resource == Secret::\"vaults/pay/secrets/db\");", "",
			[]usage.Decision{get("k/a", "db")},
			[]string{`actions: (there is a comment in what would be replaced)`},
		},
		{
			"a nested group", `permit (principal in Group::"team", action == Action::"getSecret", resource == Secret::"vaults/pay/secrets/db");`, team,
			[]usage.Decision{get("k/a", "db"), get("k/b", "db")},
			[]string{`principals: principal in Group::"inner"`},
		},
		{
			"members by name", `permit (principal is Workload in Group::"team", action == Action::"getSecret", resource == Secret::"vaults/pay/secrets/db");`, team,
			[]usage.Decision{get("k/a", "db"), get("k/c", "db")},
			[]string{`principals: when { principal in [Workload::"k/a", Workload::"k/c"] }`},
		},
		{
			"one member", `permit (principal in Group::"team", action == Action::"getSecret", resource == Secret::"vaults/pay/secrets/db");`, team,
			[]usage.Decision{get("k/c", "db")},
			[]string{`principals: principal == Workload::"k/c"`},
		},
		{
			"anyone", `permit (principal, action == Action::"getSecret", resource == Secret::"vaults/pay/secrets/db");`, team,
			[]usage.Decision{get(`k/"é"`, "db")},
			[]string{`principals: principal == Workload::"k/\"é\""`},
		},
		{
			"anyone in a group", `permit (principal, action == Action::"getSecret", resource == Secret::"vaults/pay/secrets/db");`, team,
			[]usage.Decision{get("k/a", "db"), get("k/b", "db"), get("k/c", "db"), get("k/d", "db"), do("k/z", broker.ActionSetSecret, "x")},
			[]string{`principals: principal in Group::"team"`},
		},
		{
			"tokens tell of a narrower group", `permit (principal in Group::"e/web", action == Action::"getSecret", resource == Secret::"vaults/pay/secrets/db");`, "",
			[]usage.Decision{get("e/1+e/web+e/lead", "db"), get("e/2+e/web+e/lead", "db"), do("e/3+e/web", broker.ActionSetSecret, "x")},
			[]string{`principals: when { principal in Group::"e/lead" }`},
		},
		{
			"one user tells of none", `permit (principal in Group::"e/web", action == Action::"getSecret", resource == Secret::"vaults/pay/secrets/db");`, "",
			[]usage.Decision{get("e/1+e/web+e/lead", "db"), do("e/3+e/web", broker.ActionSetSecret, "x")},
			[]string{`principals: (credentials put them into the group, and one user does not tell which narrower group is meant)`},
		},
		{
			"tokens without", `permit (principal in Group::"e/web", action == Action::"getSecret", resource == Secret::"vaults/pay/secrets/db");`, "",
			[]usage.Decision{get("e/1+e/web", "db"), get("e/2+e/web", "db"), do("e/3+e/web", broker.ActionSetSecret, "x")},
			[]string{`principals: (credentials put them into the group, and no narrower group is known that those who used it are all in)`},
		},
		{
			"one object", `permit (principal == Workload::"k/a", action == Action::"getSecret", resource in Vault::"pay");` + lister, "",
			append(known("db", "dc"), get("k/a", "db")),
			[]string{`resources: resource == Secret::"vaults/pay/secrets/db"`},
		},
		{
			"names", `permit (principal == Workload::"k/a", action == Action::"getSecret", resource is Secret in Vault::"pay") when { resource.name like "d*" };` + lister, "",
			append(known("db", "dc", "dd"), get("k/a", "db"), get("k/a", "dc")),
			[]string{`resources: ["db", "dc"].contains(resource.name)`},
		},
		{
			"a pattern that need not hold", `permit (principal == Workload::"k/a", action == Action::"getSecret", resource is Secret in Vault::"pay") when { resource.name like "d*" || context.transport == "rest" };` + lister, "",
			append(known("db", "dc", "dd"), get("k/a", "db"), get("k/a", "dc")),
			[]string{`resources: when { resource in [Secret::"vaults/pay/secrets/db", Secret::"vaults/pay/secrets/dc"] }`},
		},
		{
			"too many", `permit (principal == Workload::"k/a", action == Action::"getSecret", resource is Secret in Vault::"pay");` + lister, "",
			append(known("s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"), get("k/a", "s0"), get("k/a", "s1"), get("k/a", "s2"),
				get("k/a", "s3"), get("k/a", "s4"), get("k/a", "s5"), get("k/a", "s6"), get("k/a", "s7"), get("k/a", "s8")),
			[]string{`resources: (they are too many to name one by one)`},
		},
		{
			"each action its own", `permit (principal == Workload::"k/a", action in [Action::"getSecret", Action::"setSecret"], resource is Secret in Vault::"pay");`, "",
			[]usage.Decision{get("k/a", "db"), get("k/a", "dc"), do("k/a", broker.ActionSetSecret, "dc")},
			[]string{`resources: (each action has a reach of its own: setSecret on 1 of them; split it to narrow it)`},
		},
		{
			"denied anyway", `permit (principal == Workload::"k/a", action == Action::"getSecret", resource); forbid (principal == Workload::"k/a", action, resource == Secret::"vaults/pay/secrets/db");` + lister, "",
			append(known("db"), get("k/a", "db")),
			[]string{"unused: remove it"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := folder(t, tt.text, tt.entities)
			got, err := pastOf(usage.Window{}, tt.past, a.Engine).Tighten(a, usage.TightenConfig{})
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, f := range got.Findings {
				if f.Policy.ID == "lister" { // it has no more than its purpose
					t.Errorf("%+v", f)
				}
				text := fmt.Sprintf("%s: %s", f.Kind, f.Proposal)
				if f.Proposal == "" {
					text = fmt.Sprintf("%s: (%s)", f.Kind, f.Why)
				}
				found = append(found, text)
			}
			if !slices.Equal(found, tt.want) {
				t.Errorf("found %q\nwant  %q", found, tt.want)
			}
			if len(got.Replay.Denied) > 0 {
				t.Errorf("it would deny %+v", got.Replay.Denied)
			}
		})
	}
}

// Whatever the policies and the past are: what was used stays allowed, and
// nothing is allowed that was not before.
func TestTightenOnlyNarrows(t *testing.T) {
	principals := []string{"k/a", "k/b", "k/c", "k/d", "e/1+e/web+e/lead", "e/2+e/web+e/lead", "e/3+e/web", "e/4+e/lead"}
	actions := []broker.Action{broker.ActionGetSecret, broker.ActionSetSecret, broker.ActionListSecrets, broker.ActionDeleteSecret, broker.ActionRestoreSecret, broker.ActionGetKey}
	resources := map[broker.Action][]string{broker.ActionRestoreSecret: {"vaults/pay", "vaults/web"}, broker.ActionGetKey: {"vaults/pay/keys/k", "vaults/web/keys/k"}}
	for _, a := range actions[:4] {
		resources[a] = []string{"vaults/pay/secrets/db-a", "vaults/pay/secrets/db-b", "vaults/pay/secrets/x", "vaults/web/secrets/db-a"}
	}
	scopes := [][]string{
		{"principal", `principal == Workload::"k/a"`, `principal in Group::"team"`, `principal in Group::"inner"`, `principal in Group::"e/web"`, "principal is Workload", `principal is Workload in Group::"team"`},
		{"action", `action == Action::"getSecret"`, `action in Action::"readSecrets"`, `action in [Action::"getSecret", Action::"setSecret"]`, `action in [Action::"writeSecrets", Action::"manageSecrets"]`},
		{"resource", "resource is Secret", `resource in Vault::"pay"`, `resource is Secret in Vault::"pay"`, `resource == Secret::"vaults/pay/secrets/x"`},
		{"", "", "", ` when { resource is Secret && resource.name like "db-*" }`, ` unless { context.transport == "rest" }`, ` when { principal in Group::"e/lead" }`, ` when { context.time < datetime("2026-05-02") }`},
	}
	edits := 0
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		pick := func(of []string) string { return of[random.IntN(len(of))] }
		var text strings.Builder
		for i := range 1 + random.IntN(5) {
			effect := "permit"
			if random.IntN(6) == 0 {
				effect = "forbid"
			}
			fmt.Fprintf(&text, "// Policy %d.\n  %s (%s, %s,\n    %s)%s ;\n\n", i, effect, pick(scopes[0]), pick(scopes[1]), pick(scopes[2]), pick(scopes[3]))
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "p.cedar"), []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		before, err := loadQuietly(dir)
		if err != nil {
			continue // no request matches one of them
		}
		var every, past []usage.Decision
		for _, who := range principals {
			for _, a := range actions {
				for _, r := range resources[a] {
					d := did(t, who, a, r)
					if random.IntN(2) == 0 {
						d.Request.Transport = broker.TransportREST
					}
					every = append(every, d)
					if random.IntN(8) == 0 {
						past = append(past, d)
					}
				}
			}
		}
		if len(past) == 0 {
			continue
		}
		p := pastOf(usage.Window{}, past, before.Engine)
		got, err := p.Tighten(before, usage.TightenConfig{})
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text.String())
		}
		edits += len(got.Edits)
		// All that could be asked, at another time as well.
		r := pastOf(usage.Window{}, every, before.Engine, got.After.Engine).Replay(before.Engine, got.After.Engine)
		if len(r.Allowed) > 0 || len(got.Replay.Denied) > 0 {
			t.Errorf("seed %d: newly allowed %+v, newly denied %+v\n%s\nbecame\n%s", seed, r.Allowed, got.Replay.Denied, text.String(), got.After.Texts())
		}
	}
	if edits < 300 {
		t.Errorf("%d edits: the test tells too little", edits)
	}
}

// A patch is one that git applies, whatever it changes.
func TestPatch(t *testing.T) {
	texts := map[string]string{
		"first":  "// About all.\n\n// One.\npermit (principal == Workload::\"k/a\", action, resource);\n\n// Two.\n" + `permit (principal == Workload::"k/b", action, resource);` + "\n",
		"last":   `permit (principal == Workload::"k/b", action, resource);` + "\n\n// One.\npermit (principal == Workload::\"k/a\", action, resource);",
		"same":   `permit (principal == Workload::"k/a", action, resource); permit (principal == Workload::"k/b", action, resource); // both`,
		"within": `permit (principal == Workload::"k/b", action, resource) ; /* k/b */ permit (principal == Workload::"k/a", action, resource); // k/a` + "\n",
		"long":   strings.Repeat("// A line.\n", 20) + "permit (principal == Workload::\"k/a\", action, resource);\n" + strings.Repeat("// A line.\n", 20) + "\n\tpermit (principal,\n\taction,\n\tresource);\n",
	}
	for what, text := range texts {
		t.Run(what, func(t *testing.T) {
			a := folder(t, text, "")
			past := []usage.Decision{did(t, "k/b", broker.ActionGetSecret, "vaults/pay/secrets/db"), did(t, "k/c", broker.ActionGetKey, "vaults/pay/keys/k")}
			past[1].Allowed = false
			got, err := pastOf(usage.Window{}, past, a.Engine).Tighten(a, usage.TightenConfig{})
			if err != nil || len(got.Edits) < 2 {
				t.Fatalf("%d edits, %v", len(got.Edits), err)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "p.cedar"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			patch := usage.Patch(a.Texts(), got.Edits, filepath.Base)
			git := exec.CommandContext(t.Context(), "git", "apply", "-")
			git.Dir, git.Stdin = dir, strings.NewReader(patch)
			if out, err := git.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s\n%s", err, out, patch)
			}
			patched, err := os.ReadFile(filepath.Join(dir, "p.cedar"))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range got.After.Texts() {
				if string(patched) != want {
					t.Errorf("patched\n%s\nwant\n%s", patched, want)
				}
			}
			if !strings.Contains(string(patched), `action == Action::"getSecret"`) || strings.Contains(string(patched), `"k/a", action`) {
				t.Errorf("\n%s", patched)
			}
			if comment := map[string]string{"first": "// About all.\n\n// Two.\n", "within": "/* k/b */", "same": "// both", "long": "// A line."}[what]; !strings.Contains(string(patched), comment) {
				t.Errorf("a comment is lost:\n%s", patched)
			}
		})
	}
}

func loadQuietly(dir string) (*policy.Analysis, error) {
	if err := os.WriteFile(filepath.Join(dir, "entities.json"), []byte(team), 0o600); err != nil {
		return nil, err
	}
	return policy.Inspect(dir)
}
