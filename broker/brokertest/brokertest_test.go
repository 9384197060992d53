package brokertest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

func vault(t *testing.T) broker.Name {
	t.Helper()
	v, err := broker.VaultName("fake")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSecretStore(t *testing.T) {
	brokertest.RunSecretStore(t, func(t *testing.T) (broker.SecretStore, broker.Name) {
		t.Helper()
		return brokertest.NewSecretStore(vault(t)), vault(t)
	})
}

func TestSecretStoreCountsAndFails(t *testing.T) {
	store := brokertest.NewSecretStore(vault(t))
	name, err := vault(t).Object(broker.KindSecrets, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.SetSecret(t.Context(), name, broker.NewSecret{Value: broker.NewValue("v"), Enabled: true}); err != nil {
		t.Fatal(err)
	}
	refusal := &broker.Error{Code: broker.CodeVaultThrottled}
	store.SetHook(func(_ context.Context, method string, got broker.Name) error {
		if method == brokertest.GetSecret && got == name {
			return refusal
		}
		return nil
	})
	if _, err := store.GetSecret(t.Context(), name); !errors.Is(err, refusal) {
		t.Errorf("with a failing hook: %v, want %v", err, refusal)
	}
	if _, err := store.ListSecretVersions(t.Context(), name); err != nil {
		t.Errorf("a method that the hook lets pass: %v", err)
	}
	store.SetHook(nil)
	if _, err := store.GetSecret(t.Context(), name); err != nil {
		t.Errorf("without the hook: %v", err)
	}
	if got := store.Calls(brokertest.GetSecret); got != 2 {
		t.Errorf("%d calls of GetSecret, want 2", got)
	}
	if got := store.Calls(brokertest.DeleteSecret); got != 0 {
		t.Errorf("%d calls of DeleteSecret, want 0", got)
	}
}

func TestHookSeesEveryMethod(t *testing.T) {
	store := brokertest.NewSecretStore(vault(t))
	name, err := vault(t).Object(broker.KindSecrets, "a")
	if err != nil {
		t.Fatal(err)
	}
	type call struct {
		method string
		name   broker.Name
	}
	var seen []call
	stop := errors.New("stop")
	store.SetHook(func(_ context.Context, method string, name broker.Name) error {
		seen = append(seen, call{method, name})
		return stop
	})
	calls := []struct {
		call
		run func(ctx context.Context) error
	}{
		{call{brokertest.GetSecret, name}, func(ctx context.Context) error { _, err := store.GetSecret(ctx, name); return err }},
		{call{brokertest.SetSecret, name}, func(ctx context.Context) error { _, err := store.SetSecret(ctx, name, broker.NewSecret{}); return err }},
		{call{brokertest.UpdateSecret, name}, func(ctx context.Context) error {
			_, err := store.UpdateSecret(ctx, name, broker.SecretUpdate{})
			return err
		}},
		{call{brokertest.DeleteSecret, name}, func(ctx context.Context) error { _, err := store.DeleteSecret(ctx, name); return err }},
		{call{brokertest.GetDeletedSecret, name}, func(ctx context.Context) error { _, err := store.GetDeletedSecret(ctx, name); return err }},
		{call{brokertest.ListDeletedSecrets, vault(t)}, func(ctx context.Context) error {
			_, err := store.ListDeletedSecrets(ctx, vault(t), broker.Page{})
			return err
		}},
		{call{brokertest.RecoverSecret, name}, func(ctx context.Context) error { _, err := store.RecoverSecret(ctx, name); return err }},
		{call{brokertest.PurgeSecret, name}, func(ctx context.Context) error { return store.PurgeSecret(ctx, name) }},
		{call{brokertest.BackupSecret, name}, func(ctx context.Context) error { _, err := store.BackupSecret(ctx, name); return err }},
		{call{brokertest.RestoreSecret, vault(t)}, func(ctx context.Context) error {
			_, err := store.RestoreSecret(ctx, vault(t), broker.NewValue("x"))
			return err
		}},
		{call{brokertest.ListSecrets, vault(t)}, func(ctx context.Context) error {
			_, err := store.ListSecrets(ctx, vault(t), broker.Page{})
			return err
		}},
		{call{brokertest.ListSecretVersions, name}, func(ctx context.Context) error { _, err := store.ListSecretVersions(ctx, name); return err }},
	}
	for i, c := range calls {
		if err := c.run(t.Context()); !errors.Is(err, stop) {
			t.Errorf("%s: %v, want the hook's answer", c.method, err)
		}
		if len(seen) != i+1 || seen[i] != c.call {
			t.Fatalf("the hook saw %v, want %v last", seen, c.call)
		}
		if got := store.Calls(c.method); got != 1 {
			t.Errorf("%d calls of %s, want 1", got, c.method)
		}
	}
}

// A secret that was restored from another store does not get a version twice.
func TestRestoreFromAnotherStore(t *testing.T) {
	one, other := brokertest.NewSecretStore(vault(t)), brokertest.NewSecretStore(vault(t))
	name, err := vault(t).Object(broker.KindSecrets, "a")
	if err != nil {
		t.Fatal(err)
	}
	set := func(store *brokertest.SecretStore) broker.Name {
		s, err := store.SetSecret(t.Context(), name, broker.NewSecret{Value: broker.NewValue("v"), Enabled: true})
		if err != nil {
			t.Fatal(err)
		}
		return s.Name
	}
	versions := map[broker.Name]bool{set(one): true, set(one): true}
	blob, err := one.BackupSecret(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.RestoreSecret(t.Context(), vault(t), blob); err != nil {
		t.Fatal(err)
	}
	if again := set(other); versions[again] {
		t.Errorf("%v was made twice", again)
	}
}

func TestAuditor(t *testing.T) {
	var a brokertest.Auditor
	full := errors.New("full")
	a.Refuse(func(e broker.Event) error {
		if e.Phase == broker.PhaseOutcome {
			return full
		}
		return nil
	})
	if err := a.Record(t.Context(), broker.Event{Phase: broker.PhaseIntent}); err != nil {
		t.Errorf("an event that is not refused: %v", err)
	}
	if err := a.Record(t.Context(), broker.Event{Phase: broker.PhaseOutcome}); !errors.Is(err, full) {
		t.Errorf("a refused event: %v", err)
	}
	if got := a.Events(); len(got) != 1 || got[0].Phase != broker.PhaseIntent {
		t.Errorf("recorded %v, want the intent only", got)
	}
}
