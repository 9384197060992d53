package broker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// TestABatchIsItsItems: in order, each with its own outcome, in one record.
func TestABatchIsItsItems(t *testing.T) {
	w := newWorld(t, brokertest.AuthorizerFunc(func(_ context.Context, r broker.Request) (broker.Decision, error) {
		return broker.Decision{Allowed: r.Resource.ObjectName() != "denied", PolicySet: "set"}, nil
	}))
	w.put(t, "denied", "hidden")
	if _, err := w.store.SetSecret(t.Context(), w.secret(t, "disabled"), broker.NewSecret{Value: broker.NewValue("x")}); err != nil {
		t.Fatal(err)
	}
	w.store.SetHook(func(_ context.Context, _ string, n broker.Name) error {
		if n.ObjectName() == "panics" {
			panic("canary")
		}
		return nil
	})
	want := map[string]broker.Code{"denied": broker.CodePolicyDenied, "disabled": broker.CodeSecretDisabled, "absent": broker.CodeSecretNotFound, "panics": broker.CodeInternal}
	names := []broker.Name{w.secret(t, "denied"), w.secret(t, "disabled"), w.secret(t, "absent"), w.secret(t, "panics")}
	for i := range 96 {
		names = slices.Insert(names, i/30, w.put(t, fmt.Sprintf("s-%02d", i), fmt.Sprint(i)))
	}
	results, err := w.BatchGetSecrets(t.Context(), alice, w.vault, names, broker.GetSecretOptions{})
	if err != nil || len(results) != 100 {
		t.Fatal(len(results), err)
	}
	events := w.audit.Events()
	if len(events) != 1 || len(events[0].Items) != 100 || events[0].Outcome != broker.OutcomeOK || events[0].Decision.PolicySet != "set" || events[0].Resource != w.vault.Collection(broker.KindSecrets) {
		t.Fatalf("recorded %+v", events)
	}
	for i, r := range results {
		code := want[names[i].ObjectName()]
		if broker.CodeOf(r.Err) != code || (code == "") != (r.Value.Name.Base() == names[i] && r.Value.Value.Len() > 0) {
			t.Errorf("%v: %v, want %q", names[i], r.Err, code)
		}
		if r.Err != nil && strings.Contains(r.Err.Error(), "canary") {
			t.Errorf("%v: the panic's text is in %v", names[i], r.Err)
		}
		item := events[0].Items[i]
		if outcome := string(code); item.Resource != names[i] || (item.Outcome != outcome && (outcome != "" || item.Outcome != broker.OutcomeOK)) || item.Decision.Allowed != (code != broker.CodePolicyDenied) {
			t.Errorf("%v: recorded %+v", names[i], item)
		}
	}
	if n := w.store.Calls(brokertest.GetSecret); n != 99 {
		t.Errorf("%d vault calls, want 99", n)
	}
}

func TestABatchAsksAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, brokertest.AllowAll{})
		var names []broker.Name
		for i := range 100 {
			names = append(names, w.put(t, fmt.Sprint("s-", i), "v"))
		}
		var now, most atomic.Int64
		w.store.SetHook(func(context.Context, string, broker.Name) error {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Second)
			return nil
		})
		began := time.Now()
		if _, err := w.BatchGetSecrets(t.Context(), alice, broker.Name{}, names, broker.GetSecretOptions{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); most.Load() != 8 || took != 13*time.Second {
			t.Errorf("%d at a time, %v in all; want 8 and 13s", most.Load(), took)
		}
	})
}

func TestABatchOfManagedSecrets(t *testing.T) {
	w := newWorld(t, brokertest.AllowAll{})
	n := w.put(t, "tls", "private key")
	b, err := broker.New(broker.Config{
		Vaults:     map[string]broker.Vault{"pay": {Secrets: managed{w.store}}},
		Authorizer: allowOnly(broker.ActionGetSecret),
		Auditor:    w.audit,
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.BatchGetSecrets(t.Context(), alice, w.vault, []broker.Name{n}, broker.GetSecretOptions{})
	if err != nil || broker.CodeOf(r[0].Err) != broker.CodePolicyDenied || r[0].Value.Value.Len() != 0 {
		t.Errorf("got %v, %v", r, err)
	}
	if item := w.audit.Events()[0].Items[0]; item.Decision.Allowed || item.Outcome != "POLICY_DENIED" {
		t.Errorf("recorded %+v", item)
	}
}

func TestBatchesThatAreNone(t *testing.T) {
	w := newWorld(t, brokertest.AllowAll{})
	n := w.put(t, "a", "v")
	for what, tt := range map[string]struct {
		names []broker.Name
		o     broker.GetSecretOptions
		field string
	}{
		"none":           {nil, broker.GetSecretOptions{}, "names"},
		"101":            {slices.Repeat([]broker.Name{n}, 101), broker.GetSecretOptions{}, "names"},
		"a negative age": {[]broker.Name{n}, broker.GetSecretOptions{MaxAge: new(-time.Second)}, "max_age"},
	} {
		_, err := w.BatchGetSecrets(t.Context(), alice, w.vault, tt.names, tt.o)
		if e := broker.AsError(err); e == nil || e.Code != broker.CodeBadField || e.Field != tt.field {
			t.Errorf("%s: %v, want BAD_FIELD of %s", what, err, tt.field)
		}
	}
	if calls := w.store.Calls(brokertest.GetSecret) + len(w.audit.Events()); calls != 0 {
		t.Errorf("%d vault calls and records, want 0", calls)
	}
}
