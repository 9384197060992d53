package broker_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

var alice = broker.Caller{Principal: broker.Principal{ID: "spiffe://example.org/alice"}, Transport: broker.TransportGRPC}

// world is a broker over a fake store of secrets, and a local vault's keys once
// they are opened, with everything it did in reach.
type world struct {
	*broker.Broker
	store  *brokertest.SecretStore
	keys   *brokertest.KeyStore // nil until opened
	keysIn *lateKeys
	audit  *brokertest.Auditor
	vault  broker.Name
}

func newWorld(t *testing.T, authz broker.Authorizer) *world {
	t.Helper()
	vault, err := broker.VaultName("pay")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{store: brokertest.NewSecretStore(vault), keysIn: &lateKeys{}, audit: &brokertest.Auditor{}, vault: vault}
	w.Broker, err = broker.New(broker.Config{
		Vaults:     map[string]broker.Vault{"pay": {Secrets: w.store, Keys: w.keysIn}, "empty": {}},
		Authorizer: authz,
		Auditor:    w.audit,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) secret(t *testing.T, object string) broker.Name {
	t.Helper()
	n, err := w.vault.Object(broker.KindSecrets, object)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (w *world) put(t *testing.T, object, value string) broker.Name {
	t.Helper()
	n := w.secret(t, object)
	if _, err := w.store.SetSecret(t.Context(), n, broker.NewSecret{Value: broker.NewValue(value), Enabled: true}); err != nil {
		t.Fatal(err)
	}
	return n
}

// operation is one of all that a Broker does.
type operation struct {
	change bool
	store  string // the store's method
	do     func(context.Context, *world, broker.Name) error
}

// prepare makes what the operation works on, and returns its name.
func (op operation) prepare(t *testing.T, w *world) broker.Name {
	t.Helper()
	if op.ofKeys() {
		return w.putKey(t, "a")
	}
	return w.put(t, "a", "v")
}

// ofKeys reports whether the operation is one of keys: a secret's says so.
func (op operation) ofKeys() bool { return !strings.Contains(op.store, "Secret") }

// calls counts those of the operation's method.
func (op operation) calls(w *world) int {
	if op.ofKeys() {
		return w.keys.Calls(op.store)
	}
	return w.store.Calls(op.store)
}

// hook makes h run before each call of a store.
func (op operation) hook(w *world, h brokertest.Hook) {
	if op.ofKeys() {
		w.keys.SetHook(h)
		return
	}
	w.store.SetHook(h)
}

// operations are all that a Broker does, for what must hold of each.
var operations = merged(secretOperations, keyOperations)

func merged(all ...map[string]operation) map[string]operation {
	out := make(map[string]operation)
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}

var secretOperations = map[string]operation{
	"GetSecret": {false, brokertest.GetSecret, func(ctx context.Context, w *world, n broker.Name) error {
		v, err := w.GetSecret(ctx, alice, n, broker.GetSecretOptions{})
		return disclosed(v.Value.Len() > 0, err)
	}},
	"SetSecret": {true, brokertest.SetSecret, func(ctx context.Context, w *world, n broker.Name) error {
		_, err := w.SetSecret(ctx, alice, n, broker.NewSecret{Value: broker.NewValue("new"), Enabled: true}, broker.SetSecretOptions{})
		return err
	}},
	"DeleteSecret": {true, brokertest.DeleteSecret, func(ctx context.Context, w *world, n broker.Name) error {
		_, err := w.DeleteSecret(ctx, alice, n, "")
		return err
	}},
	"ListSecrets": {false, brokertest.ListSecrets, func(ctx context.Context, w *world, n broker.Name) error {
		p, err := w.ListSecrets(ctx, alice, n.Vault(), broker.Page{})
		return disclosed(len(p.Secrets) > 0, err)
	}},
	"ListSecretVersions": {false, brokertest.ListSecretVersions, func(ctx context.Context, w *world, n broker.Name) error {
		p, err := w.ListSecretVersions(ctx, alice, n, broker.Page{})
		return disclosed(len(p.Secrets) > 0, err)
	}},
	"UpdateSecret": {true, brokertest.UpdateSecret, func(ctx context.Context, w *world, n broker.Name) error {
		_, err := w.UpdateSecret(ctx, alice, n, broker.SecretUpdate{ContentType: new("x")}, "")
		return err
	}},
	"GenerateSecret": {true, brokertest.SetSecret, func(ctx context.Context, w *world, n broker.Name) error {
		_, err := w.GenerateSecret(ctx, alice, n, broker.Generator{}, broker.NewSecret{Enabled: true}, broker.SetSecretOptions{})
		return err
	}},
	"BatchGetSecrets": {false, brokertest.GetSecret, func(ctx context.Context, w *world, n broker.Name) error {
		r, err := w.BatchGetSecrets(ctx, alice, n.Vault(), []broker.Name{n}, broker.GetSecretOptions{})
		if err != nil {
			return disclosed(len(r) > 0, err)
		}
		return disclosed(r[0].Value.Value.Len() > 0, r[0].Err)
	}},
	"GetDeletedSecret": {false, brokertest.GetDeletedSecret, func(ctx context.Context, w *world, n broker.Name) error {
		w.remove(ctx, n)
		d, err := w.GetDeletedSecret(ctx, alice, n)
		return disclosed(!d.Deleted.IsZero(), err)
	}},
	"ListDeletedSecrets": {false, brokertest.ListDeletedSecrets, func(ctx context.Context, w *world, n broker.Name) error {
		w.remove(ctx, n)
		p, err := w.ListDeletedSecrets(ctx, alice, n.Vault(), broker.Page{})
		return disclosed(len(p.Secrets) > 0, err)
	}},
	"UndeleteSecret": {true, brokertest.RecoverSecret, func(ctx context.Context, w *world, n broker.Name) error {
		w.remove(ctx, n)
		_, err := w.UndeleteSecret(ctx, alice, n)
		return err
	}},
	"PurgeSecret": {true, brokertest.PurgeSecret, func(ctx context.Context, w *world, n broker.Name) error {
		w.remove(ctx, n)
		return w.PurgeSecret(ctx, alice, n)
	}},
	"BackupSecret": {false, brokertest.BackupSecret, func(ctx context.Context, w *world, n broker.Name) error {
		blob, err := w.BackupSecret(ctx, alice, n)
		return disclosed(blob.Len() > 0, err)
	}},
	"RestoreSecret": {true, brokertest.RestoreSecret, func(ctx context.Context, w *world, n broker.Name) error {
		blob, err := w.store.BackupSecret(ctx, n)
		if err != nil {
			blob = broker.NewValue("a blob")
		}
		w.remove(ctx, n)
		_ = w.store.PurgeSecret(ctx, n)
		_, err = w.RestoreSecret(ctx, alice, n.Vault(), blob)
		return err
	}},
}

// remove soft-deletes a secret behind the broker's back, if it is there.
func (w *world) remove(ctx context.Context, n broker.Name) { _, _ = w.store.DeleteSecret(ctx, n) }

// disclosed makes it an error of its own if a failed call gave something away.
func disclosed(something bool, err error) error {
	if err != nil && something {
		return fmt.Errorf("disclosed although it failed: %w", err)
	}
	return err
}

func TestGuardDeniesBeforeTheVaultIsAsked(t *testing.T) {
	deny := func(context.Context, broker.Request) (broker.Decision, error) {
		return broker.Decision{Policies: []string{"no"}}, nil
	}
	broken := func(context.Context, broker.Request) (broker.Decision, error) {
		return broker.Decision{Allowed: true}, errors.New("broken")
	}
	for name, op := range operations {
		for how, authz := range map[string]brokertest.AuthorizerFunc{"denied": deny, "undecided": broken} {
			t.Run(name+" "+how, func(t *testing.T) {
				w := newWorld(t, authz)
				n := op.prepare(t, w)
				before := op.calls(w)
				err := op.do(t.Context(), w, n)
				if broker.CodeOf(err) != broker.CodePolicyDenied {
					t.Fatalf("got %v, want POLICY_DENIED", err)
				}
				if got := op.calls(w) - before; got != 0 {
					t.Errorf("%d vault calls, want 0", got)
				}
				events := w.audit.Events()
				if len(events) != 1 || events[0].Decision.Allowed || events[0].Outcome != "POLICY_DENIED" {
					t.Errorf("recorded %+v, want one denial", events)
				}
			})
		}
	}
}

func TestGuardRecords(t *testing.T) {
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, brokertest.AllowAll{})
			n := op.prepare(t, w)
			if err := op.do(t.Context(), w, n); err != nil {
				t.Fatal(err)
			}
			var phases []string
			for _, e := range w.audit.Events() {
				phases = append(phases, e.Phase+":"+e.Outcome)
				if e.Caller.ID != alice.ID || !e.Decision.Allowed || e.Resource.Vault() != w.vault || e.Time.IsZero() {
					t.Errorf("recorded %+v", e)
				}
			}
			want := []string{":ok"}
			if op.change {
				want = []string{"intent:", "outcome:ok"}
			}
			if !slices.Equal(phases, want) {
				t.Errorf("recorded %q, want %q", phases, want)
			}
		})
	}
}

func TestGuardFailsClosedWithoutARecord(t *testing.T) {
	full := errors.New("disk full")
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, brokertest.AllowAll{})
			n := op.prepare(t, w)
			before := op.calls(w)
			w.audit.Refuse(func(broker.Event) error { return full })
			err := op.do(t.Context(), w, n)
			if broker.CodeOf(err) != broker.CodeAuditUnavailable || strings.Contains(err.Error(), "although") {
				t.Fatalf("got %v, want AUDIT_UNAVAILABLE", err)
			}
			if calls := op.calls(w) - before; op.change && calls != 0 {
				t.Errorf("changed the vault %d times without a recorded intent", calls)
			}
		})
		if !op.change {
			continue
		}
		t.Run(name+" outcome", func(t *testing.T) {
			w := newWorld(t, brokertest.AllowAll{})
			n := op.prepare(t, w)
			w.audit.Refuse(func(e broker.Event) error {
				if e.Phase == broker.PhaseOutcome {
					return full
				}
				return nil
			})
			err := op.do(t.Context(), w, n)
			if broker.CodeOf(err) != broker.CodeAuditUnavailable || !strings.Contains(broker.AsError(err).Message, "may have been made") {
				t.Fatalf("got %v, want AUDIT_UNAVAILABLE that says the change may have been made", err)
			}
		})
		t.Run(name+" denial", func(t *testing.T) {
			w := newWorld(t, brokertest.AuthorizerFunc(func(context.Context, broker.Request) (broker.Decision, error) {
				return broker.Decision{}, nil
			}))
			n := op.prepare(t, w)
			w.audit.Refuse(func(broker.Event) error { return full })
			if err := op.do(t.Context(), w, n); broker.CodeOf(err) != broker.CodeAuditUnavailable {
				t.Fatalf("got %v, want AUDIT_UNAVAILABLE", err)
			}
		})
	}
}

func TestUnknownVaults(t *testing.T) {
	w := newWorld(t, brokertest.AllowAll{})
	w.putKey(t, "a")
	for alias, want := range map[string]broker.Code{"nowhere": broker.CodeVaultNotFound, "empty": broker.CodeNotSupported} {
		v, err := broker.VaultName(alias)
		if err != nil {
			t.Fatal(err)
		}
		n, err := v.Object(broker.KindSecrets, "a")
		if err != nil {
			t.Fatal(err)
		}
		for name, op := range operations {
			if op.ofKeys() {
				n = n.As(broker.KindKeys)
			} else {
				n = n.As(broker.KindSecrets)
			}
			if err := op.do(t.Context(), w, n); broker.CodeOf(err) != want {
				t.Errorf("%s in %s: %v, want %s", name, alias, err, want)
			}
		}
	}
}

func TestNewRefusesToStartUnsafe(t *testing.T) {
	audit := &brokertest.Auditor{}
	for name, c := range map[string]broker.Config{
		"no authorizer": {Auditor: audit},
		"no auditor":    {Authorizer: brokertest.AllowAll{}},
		"bad alias":     {Authorizer: brokertest.AllowAll{}, Auditor: audit, Vaults: map[string]broker.Vault{"Pay.example": {}}},
	} {
		if _, err := broker.New(c); err == nil {
			t.Errorf("%s: New succeeded", name)
		}
	}
}
