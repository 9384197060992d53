package broker_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// decider allows by a table of "principal action resource", and names the policy
// "p" as what decided.
type decider map[string]bool

func (d decider) Authorize(_ context.Context, r broker.Request) (broker.Decision, error) {
	if r.Principal.ID == "broken" {
		return broker.Decision{Allowed: true}, errors.New("cannot be evaluated")
	}
	key := r.Principal.ID + " " + string(r.Action) + " " + r.Resource.String()
	return broker.Decision{Allowed: d[key], Policies: []string{"p"}, PolicySet: "set", BreakGlass: d[key] && r.Reason != ""}, nil
}

func TestCheckAccess(t *testing.T) {
	const db = "vaults/pay/secrets/db"
	granted := []broker.Grant{{Subject: broker.Subject{Kind: broker.SubjectGroup, ID: "k8s/team"}}}
	bob := broker.Caller{Principal: broker.Principal{ID: "k8s/bob", Groups: []string{"k8s/g"}}, Transport: broker.TransportREST, Reason: "INC-7"}
	w := newWorld(t, brokertest.Explainer{Granted: granted, Authorizer: decider{
		"k8s/bob getSecret " + db:                    true,
		"k8s/carol getSecret " + db:                  true,
		alice.ID + " explainAccess vaults/pay":       true,
		alice.ID + " explainAccess vaults/nowhere":   true,
		alice.ID + " getSecret vaults/pay/secrets/x": true,
	}})
	resource, err := broker.ParseName(broker.KindSecrets, db)
	if err != nil {
		t.Fatal(err)
	}
	nowhere, err := broker.ParseName(broker.KindSecrets, "vaults/nowhere/secrets/db")
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		caller   broker.Caller
		about    broker.Principal
		resource broker.Name
		allowed  bool
		code     broker.Code
		recorded broker.Action
	}{
		"oneself":                                     {bob, broker.Principal{}, resource, true, "", broker.ActionCheckAccess},
		"oneself by name":                             {bob, broker.Principal{ID: bob.ID}, resource, true, "", broker.ActionCheckAccess},
		"oneself, denied":                             {alice, broker.Principal{}, resource, false, "", broker.ActionCheckAccess},
		"oneself in a vault not there":                {bob, broker.Principal{}, nowhere, false, "", broker.ActionCheckAccess},
		"oneself with other groups":                   {bob, broker.Principal{ID: bob.ID, Groups: []string{"k8s/admins"}}, resource, false, broker.CodePolicyDenied, broker.ActionExplainAccess},
		"oneself with attributes":                     {bob, broker.Principal{ID: bob.ID, Attributes: map[string]string{"namespace": "x"}}, resource, false, broker.CodePolicyDenied, broker.ActionExplainAccess},
		"groups of nobody":                            {alice, broker.Principal{Groups: []string{"k8s/admins"}}, resource, false, broker.CodeBadField, ""},
		"another":                                     {alice, broker.Principal{ID: "k8s/carol"}, resource, true, "", broker.ActionExplainAccess},
		"another, denied":                             {alice, broker.Principal{ID: "k8s/dave"}, resource, false, "", broker.ActionExplainAccess},
		"another who cannot be evaluated":             {alice, broker.Principal{ID: "broken"}, resource, false, "", broker.ActionExplainAccess},
		"another, without the right":                  {bob, broker.Principal{ID: "k8s/carol"}, resource, false, broker.CodePolicyDenied, broker.ActionExplainAccess},
		"another, vault not there, without the right": {bob, broker.Principal{ID: "k8s/carol"}, nowhere, false, broker.CodePolicyDenied, broker.ActionExplainAccess},
		"another, vault not there":                    {alice, broker.Principal{ID: "k8s/carol"}, nowhere, false, broker.CodeVaultNotFound, broker.ActionExplainAccess},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before := len(w.audit.Events())
			x, err := w.CheckAccess(t.Context(), c.caller, broker.AccessQuestion{Action: broker.ActionGetSecret, Resource: c.resource, Principal: c.about})
			if x.Allowed != c.allowed || broker.CodeOf(err) != c.code {
				t.Errorf("allowed %v, %v", x.Allowed, err)
			}
			events := w.audit.Events()[before:]
			if c.recorded == "" {
				if len(events) != 0 {
					t.Errorf("recorded %+v", events)
				}
				return
			}
			if len(events) != 1 || events[0].Action != c.recorded || events[0].Resource != c.resource.Vault() {
				t.Fatalf("recorded %+v", events)
			}
			q := events[0].Question
			if (q != nil) != (c.code == "") {
				t.Fatalf("the question recorded is %+v", q)
			}
			if q == nil {
				return
			}
			about := c.about.ID
			if about == "" {
				about = c.caller.ID
			}
			if q.Action != broker.ActionGetSecret || q.Resource != c.resource || q.Principal.ID != about || q.Answer.Allowed != c.allowed {
				t.Errorf("the question recorded is %+v", q)
			}
			if events[0].Decision.BreakGlass || !events[0].Decision.Allowed {
				t.Errorf("recorded as %+v: nothing was broken, and the question was allowed", events[0].Decision)
			}
			if c.allowed && (len(x.Refs) != 1 || x.Refs[0].ID != "p") {
				t.Errorf("decided by %v", x.Refs)
			}
		})
	}
	if n := w.store.Calls(brokertest.GetSecret); n != 0 {
		t.Errorf("%d vault calls", n)
	}

	t.Run("grants", func(t *testing.T) {
		got, err := w.ListGrants(t.Context(), alice, broker.ActionGetSecret, resource)
		if err != nil || len(got) != 1 || got[0].ID != "k8s/team" {
			t.Errorf("%v, %v", got, err)
		}
		for _, c := range []struct {
			caller   broker.Caller
			resource broker.Name
			code     broker.Code
		}{{bob, resource, broker.CodePolicyDenied}, {bob, nowhere, broker.CodePolicyDenied}, {alice, nowhere, broker.CodeVaultNotFound}} {
			if got, err := w.ListGrants(t.Context(), c.caller, broker.ActionGetSecret, c.resource); got != nil || broker.CodeOf(err) != c.code {
				t.Errorf("%s on %v: %v, %v", c.caller.ID, c.resource, got, err)
			}
		}
	})
	t.Run("not recorded, not told", func(t *testing.T) {
		w.audit.Refuse(func(broker.Event) error { return errors.New("disk full") })
		defer w.audit.Refuse(nil)
		if x, err := w.CheckAccess(t.Context(), bob, broker.AccessQuestion{Action: broker.ActionGetSecret, Resource: resource}); x.Allowed || broker.CodeOf(err) != broker.CodeAuditUnavailable {
			t.Errorf("%v, %v", x, err)
		}
		if got, err := w.ListGrants(t.Context(), alice, broker.ActionGetSecret, resource); got != nil || broker.CodeOf(err) != broker.CodeAuditUnavailable {
			t.Errorf("%v, %v", got, err)
		}
	})
	t.Run("without an explainer", func(t *testing.T) {
		w := newWorld(t, brokertest.AllowAll{})
		if _, err := w.CheckAccess(t.Context(), bob, broker.AccessQuestion{Action: broker.ActionGetSecret, Resource: resource}); broker.CodeOf(err) != broker.CodeNotSupported {
			t.Error(err)
		}
	})
}

func TestParseAction(t *testing.T) {
	for _, a := range broker.Actions() {
		if got, err := broker.ParseAction(string(a)); err != nil || got != a {
			t.Errorf("%s: %s, %v", a, got, err)
		}
	}
	for text, want := range map[string]string{
		"":            "name an action, such as getSecret",
		"GetSecret":   `there is no action "GetSecret"; did you mean getSecret?`,
		"getSecrets":  `there is no action "getSecrets"; did you mean getSecret?`,
		"gteSecret":   `there is no action "gteSecret"; did you mean getSecret?`,
		"readSecrets": `there is no action "readSecrets"`,
		"x":           `there is no action "x"`,
	} {
		if _, err := broker.ParseAction(text); broker.CodeOf(err) != broker.CodeBadField || broker.AsError(err).Message != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	for resource, action := range map[string]broker.Action{
		"vaults/pay/secrets/DB": broker.ActionGetSecret,
		"vaults/pay/secrets/db/versions/00000000000000000000000000000000": broker.ActionGetSecret,
		"vaults/pay/certificates/db":                                      broker.ActionDownloadCertificate,
		"vaults/pay":                                                      broker.ActionRestoreSecret,
	} {
		n, err := action.ParseResource(resource)
		if err != nil || n.Version() != "" || n.Kind() != action.DecidedOn() {
			t.Errorf("%s on %s: %v, %v", action, resource, n, err)
		}
	}
	for resource, action := range map[string]broker.Action{
		"vaults/pay":                 broker.ActionGetSecret,
		"vaults/pay/certificates/db": broker.ActionGetSecret,
		"vaults/pay/secrets/db":      broker.ActionRestoreSecret,
		"vaults/pay/secrets/d_b":     broker.ActionGetSecret,
		"":                           broker.ActionGetSecret,
	} {
		if _, err := action.ParseResource(resource); broker.CodeOf(err) != broker.CodeBadName || broker.AsError(err).Field != "resource" {
			t.Errorf("%s on %q: %v", action, resource, err)
		}
	}
	if !slices.IsSorted(broker.Actions()) {
		t.Error("the actions are not sorted")
	}
}
