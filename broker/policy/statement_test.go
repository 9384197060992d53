package policy

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

func inspectText(t *testing.T, text string) *Analysis {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.cedar"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The parts of a policy are where its file has them, however it is written.
func TestStatements(t *testing.T) {
	type parts struct {
		whole, principal, action, resource string
		names                              []string
	}
	tests := []struct {
		name, text string
		want       parts
	}{
		{"all", `permit(principal,action,resource);`, parts{`permit(principal,action,resource);`, "principal", "action", "resource", nil}},
		{
			"annotated", "// one\n@id(\"a\") @own @note(\"permit (\")\nforbid /* , */ ( // (\n  principal is Workload in Group::\"k/g\" /* , ) */ ,\n  action in [Action::\"getSecret\", /* ] */ Action::\"setSecret\"],\n  resource == Secret::\"vaults/pay/secrets/a\" ) ;",
			parts{
				"@id(\"a\") @own @note(\"permit (\")\nforbid /* , */ ( // (\n  principal is Workload in Group::\"k/g\" /* , ) */ ,\n  action in [Action::\"getSecret\", /* ] */ Action::\"setSecret\"],\n  resource == Secret::\"vaults/pay/secrets/a\" ) ;",
				`principal is Workload in Group::"k/g"`, "action in [Action::\"getSecret\", /* ] */ Action::\"setSecret\"]", `resource == Secret::"vaults/pay/secrets/a"`, nil,
			},
		},
		{
			"names that must be", `permit (principal, action == Action::"getSecret", resource) when { context.transport == "grpc" && (resource.name like "a*") } when { resource["name"] like "*b" && (resource.name like "c*" || true) } unless { resource.name like "d*" };`,
			parts{
				`permit (principal, action == Action::"getSecret", resource) when { context.transport == "grpc" && (resource.name like "a*") } when { resource["name"] like "*b" && (resource.name like "c*" || true) } unless { resource.name like "d*" };`,
				"principal", `action == Action::"getSecret"`, "resource",
				[]string{`resource.name like "a*"`, `resource["name"] like "*b"`},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := inspectText(t, tt.text)
			s := a.Statements()[0]
			of := func(s Span) string { return tt.text[s.From:s.To] }
			for what, pair := range map[string][2]string{
				"whole": {of(s.Whole), tt.want.whole}, "principal": {of(s.Principal), tt.want.principal},
				"action": {of(s.Action), tt.want.action}, "resource": {of(s.Resource), tt.want.resource},
			} {
				if pair[0] != pair[1] {
					t.Errorf("%s: got %q, want %q", what, pair[0], pair[1])
				}
			}
			if len(s.Names) != len(tt.want.names) {
				t.Fatalf("names %v, want %q", s.Names, tt.want.names)
			}
			for i, n := range s.Names {
				if of(n) != tt.want.names[i] {
					t.Errorf("name %d: got %q, want %q", i, of(n), tt.want.names[i])
				}
			}
		})
	}
}

// An edited folder is one of its own, and a policy alone is what it is.
func TestEdited(t *testing.T) {
	a := inspectText(t, `@id("one") permit (principal == Workload::"k/a", action, resource); @id("two") permit (principal, action, resource) when { context.time >= datetime("2026-05-01") };`)
	one, two := a.Statements()[0], a.Statements()[1]
	if want := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC); !one.Begins.IsZero() || !two.Begins.Equal(want) {
		t.Errorf("they begin at %s and %s", one.Begins, two.Begins)
	}
	n, err := broker.ParseName(broker.KindSecrets, "vaults/pay/secrets/a")
	if err != nil {
		t.Fatal(err)
	}
	allows := func(e *Engine, who string) bool {
		d, err := e.Authorize(t.Context(), broker.Request{Principal: broker.Principal{ID: who}, Action: broker.ActionGetSecret, Resource: n, Time: two.Begins, Transport: "grpc"})
		return err == nil && d.Allowed
	}
	edits := []Edit{{one.Principal, `principal == Workload::"k/b"`}, {two.Whole, ""}}
	edited, err := a.Edited(edits)
	if err != nil || edited.Len() != 1 || !allows(edited.Engine, "k/b") || allows(edited.Engine, "k/a") {
		t.Errorf("the edited folder is %v, %v", edited, err)
	}
	if !allows(a.Engine, "k/c") || edited.Hash() == a.Hash() {
		t.Error("the folder itself has changed")
	}
	alone, err := a.Alone(one, edits[0])
	if err != nil || !allows(alone, "k/b") || allows(alone, "k/c") {
		t.Errorf("the policy alone is %v, %v", alone, err)
	}
	if _, err := a.Alone(one, Edit{one.Principal, "principle"}); err == nil {
		t.Error("what does not load is loaded")
	}
}

// A decision looks at no more than what the policies ask for whose scope may
// match.
func TestLooks(t *testing.T) {
	a := inspectText(t, `
permit (principal == Workload::"k/none", action, resource);
permit (principal == Workload::"k/time", action, resource) when { context.time < datetime("2026-05-01") };
permit (principal == Workload::"k/peer", action, resource) unless { context has peer };
permit (principal == Workload::"k/transport", action, resource) when { ["rest"].contains(context.transport) };
@breakglass("emergencies") permit (principal == Workload::"k/glass", action, resource);
permit (principal == Workload::"k/name", action, resource is Secret) when { resource.name like "a*" && context.transport == "grpc" };
`)
	v, err := broker.VaultName("pay")
	if err != nil {
		t.Fatal(err)
	}
	n, err := v.Object(broker.KindSecrets, "a")
	if err != nil {
		t.Fatal(err)
	}
	for who, want := range map[string]Looks{
		"k/none": {}, "k/time": {Time: true}, "k/peer": {Peer: true}, "k/transport": {Transport: true}, "k/glass": {Reason: true}, "k/name": {Transport: true}, "k/x": {},
	} {
		got, err := a.Looks(broker.Request{Principal: broker.Principal{ID: who}, Action: broker.ActionGetSecret, Resource: n, Time: time.Now()})
		if err != nil || got != want {
			t.Errorf("%s: looks at %+v, %v; want %+v", who, got, err, want)
		}
	}
	// Of a collection, what is said of an object's name is not asked.
	got, err := a.Looks(broker.Request{Principal: broker.Principal{ID: "k/name"}, Action: broker.ActionListSecrets, Resource: v.Collection(broker.KindSecrets), Time: time.Now()})
	if err != nil || got != (Looks{}) {
		t.Errorf("a collection: looks at %+v, %v", got, err)
	}
	if _, err := a.Looks(broker.Request{Principal: broker.Principal{ID: "k/none"}, Action: broker.ActionRestoreSecret, Resource: n, Time: time.Now()}); err == nil {
		t.Error("what no policy decides is looked at")
	}
}
