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
