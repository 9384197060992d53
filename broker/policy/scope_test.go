package policy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

// drawPolicies draws a set over few words, so that permits and forbids meet.
func drawPolicies(t *rapid.T, dir string) string {
	from := func(what string, words ...string) string { return rapid.SampledFrom(words).Draw(t, what) }
	var text strings.Builder
	for range rapid.IntRange(1, 6).Draw(t, "policies") {
		var one strings.Builder
		fmt.Fprintf(
			&one, "%s (%s, %s, %s)", from("effect", "permit", "permit", "forbid"),
			from("principal", "principal", `principal == Workload::"dev/w"`, `principal == Workload::"dev/x"`,
				`principal in Group::"g"`, `principal in Group::"h"`, `principal is Workload in Group::"g"`),
			from("action", "action", `action == Action::"listSecrets"`, `action in Action::"readSecrets"`,
				`action in [Action::"getSecret", Action::"listSecrets"]`, `action in Action::"writeSecrets"`),
			from("resource", "resource", "resource is Secret", `resource in Vault::"pay"`, `resource is Secret in Vault::"pay"`,
				`resource is Secret in Vault::"edge"`, `resource == Secret::"vaults/pay/secrets/a"`,
				`resource in Secret::"vaults/pay/secrets/b"`, `resource is Secret in Secret::"vaults/edge/secrets/a"`),
		)
		for range rapid.IntRange(0, 2).Draw(t, "conditions") {
			fmt.Fprintf(&one, " %s { %s }", from("clause", "when", "unless"), from(
				"condition",
				`true`, `false`,
				`context.transport == "grpc"`,
				`principal in Group::"h"`,
				`resource is Secret && resource.name like "a*"`,
				`resource is Secret && (resource.name == "b" || context.transport == "rest")`,
				`resource in Vault::"edge"`,
				`resource is Secret && resource == Secret::"vaults/pay/secrets/a"`,
				`Secret::"vaults/pay/secrets/a" in Vault::"pay"`,
				`if resource in Vault::"pay" then 9223372036854775807 + 1 > 0 else true`,
				`9223372036854775807 + 1 > 0`,
			))
		}
		one.WriteString(";\n")
		// One that can never match, as two conditions may make it, is not loaded.
		if loads(t, dir, one.String()) == nil {
			text.WriteString(one.String())
		}
	}
	return text.String()
}

// loads writes a policy into dir, and loads that.
func loads(t *rapid.T, dir, text string) error {
	if err := os.WriteFile(filepath.Join(dir, "a.cedar"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := policy.Load(dir)
	return err
}

// TestCollectionIsSound: what may be done to an object may be asked of its
// collection, whatever the policies.
func TestCollectionIsSound(t *testing.T) {
	dir := write(t, "entities.json", `[{"uid": {"type": "Group", "id": "h"}, "parents": [{"type": "Group", "id": "g"}], "attrs": {}}]`)
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		text := "permit (principal == Workload::\"dev/w\", action == Action::\"listSecrets\", resource == Secret::\"vaults/pay/secrets/a\");\n" + drawPolicies(t, dir)
		if err := loads(t, dir, text); err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		e, err := policy.Load(dir)
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		for _, vault := range []string{"pay", "edge"} {
			for _, id := range []string{"dev/w", "dev/x"} {
				for _, groups := range [][]string{nil, {"g"}, {"h"}} {
					r := broker.Request{
						Principal: broker.Principal{ID: id, Groups: groups},
						Action:    broker.ActionListSecrets,
						Time:      noon,
						Transport: broker.TransportGRPC,
					}
					some := false
					for _, object := range []string{"a", "b", "ab"} {
						r.Resource = secret(t, vault, object)
						d, _ := e.Authorize(t.Context(), r)
						some = some || d.Allowed
					}
					r.Resource = r.Resource.Collection(broker.KindSecrets)
					d, _ := e.Authorize(t.Context(), r)
					if some && !d.Allowed {
						t.Fatalf("%s in %q may list something in %s, but was denied by %q:\n%s", id, groups, vault, d.Policies, text)
					}
					seen[fmt.Sprintf("any=%t collection=%t", some, d.Allowed)]++
				}
			}
		}
	})
	if seen["any=true collection=true"] == 0 || seen["any=false collection=false"] == 0 {
		t.Errorf("the policies drawn show nothing: %v", seen)
	}
	t.Log(seen)
}

func secret(t *rapid.T, vault, object string) broker.Name {
	n, err := broker.ParseName(broker.KindSecrets, "vaults/"+vault+"/secrets/"+object)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
