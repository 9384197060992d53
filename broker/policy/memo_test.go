package policy

import (
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

// TestWhatIsRemembered: a decision is remembered for whom it was made, and not at all
// if the context of the call has a part in it.
func TestWhatIsRemembered(t *testing.T) {
	e, err := load("memo", []source{newSource("memo.cedar", `
permit (principal in Group::"k8s/pay", action == Action::"getSecret", resource in Vault::"pay");
permit (principal, action == Action::"getSecret", resource in Vault::"web")
when { principal has namespace && principal.namespace == "web" };
forbid (principal, action == Action::"getSecret", resource == Secret::"vaults/pay/secrets/root");
forbid (principal, action == Action::"getSecret", resource in Vault::"web") when { resource.name like "*-key" };
permit (principal, action == Action::"getSecret", resource == Secret::"vaults/timed/secrets/at")
when { context.time < datetime("2026-06-01") };
`)})
	if err != nil {
		t.Fatal(err)
	}
	summer, winter := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ask := func(secret string, p broker.Principal, at time.Time) (allowed bool) {
		t.Helper()
		n, err := broker.ParseName(broker.KindSecrets, secret)
		if err != nil {
			t.Fatal(err)
		}
		p.ID = "k8s/a"
		var d broker.Decision
		for range 2 { // the second is remembered, if it may be
			if d, err = e.Authorize(t.Context(), broker.Request{Principal: p, Action: broker.ActionGetSecret, Resource: n, Time: at}); err != nil {
				t.Fatal(err)
			}
		}
		return d.Allowed
	}
	const payToo, payRoot, webKey = "vaults/pay/secrets/other", "vaults/pay/secrets/root", "vaults/web/secrets/tls-key"
	const pay, web, timed = "vaults/pay/secrets/db", "vaults/web/secrets/db", "vaults/timed/secrets/at"
	member, namespace := broker.Principal{Groups: []string{"k8s/pay"}}, broker.Principal{Attributes: map[string]string{"namespace": "web"}}
	for i, c := range []struct {
		secret string
		who    broker.Principal
		at     time.Time
		want   bool
	}{
		{pay, member, winter, true},
		{pay, broker.Principal{}, winter, false},
		{pay, broker.Principal{Groups: []string{"k8s/web"}}, winter, false},
		{pay, member, summer, true},
		{web, namespace, winter, true},
		{webKey, namespace, winter, false},
		{web, broker.Principal{Attributes: map[string]string{"namespace": "pay"}}, winter, false},
		{web, broker.Principal{}, winter, false},
		{payToo, member, winter, true}, // as pay's
		{payRoot, member, winter, false},
		{timed, member, winter, true},
		{timed, member, summer, false},
		{timed, member, winter, true},
	} {
		if got := ask(c.secret, c.who, c.at); got != c.want {
			t.Errorf("%d: %s is allowed: %v, want %v", i, c.secret, got, c.want)
		}
	}
	if n := e.memo.kept().EstimatedSize(); n != 4 {
		t.Errorf("%d decisions are remembered, want one on what is alike in pay and one each on what a policy names or asks of", n)
	}
	// What cannot be asked is not answered from memory either.
	n, _ := broker.ParseName(broker.KindSecrets, pay)
	if _, err := e.Authorize(t.Context(), broker.Request{Principal: broker.Principal{ID: "k8s/a"}, Action: broker.ActionGetSecret, Resource: n}); err == nil {
		t.Error("a request without a time was decided")
	}
}
