package broker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// punctual is an Auditor that records for nobody who has gone.
type punctual struct{ *brokertest.Auditor }

func (p punctual) Record(ctx context.Context, e broker.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return p.Auditor.Record(ctx, e)
}

// A caller who goes away while the vault is asked is recorded all the same: what
// came of a change above all.
func TestARecordOutlivesItsCaller(t *testing.T) {
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, brokertest.AllowAll{})
			var err error
			w.Broker, err = broker.New(broker.Config{
				Vaults:     map[string]broker.Vault{"pay": {Secrets: w.store, Keys: w.keysIn}},
				Authorizer: brokertest.AllowAll{},
				Auditor:    punctual{w.audit},
			})
			if err != nil {
				t.Fatal(err)
			}
			n := op.prepare(t, w)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			op.hook(w, func(_ context.Context, method string, _ broker.Name) error {
				if method == op.store {
					cancel()
				}
				return nil
			})
			if err := op.do(ctx, w, n); broker.CodeOf(err) != broker.CodeCanceled {
				t.Fatalf("got %v, want CANCELED", err)
			}
			events := w.audit.Events()
			if len(events) == 0 {
				t.Fatal("nothing was recorded")
			}
			last := events[len(events)-1]
			outcome := last.Outcome
			if name == "BatchGetSecrets" {
				outcome = last.Items[0].Outcome
			}
			if outcome != "CANCELED" || (last.Phase == broker.PhaseOutcome) != op.change {
				t.Errorf("recorded last %+v", last)
			}
		})
	}
}

// Of a change, a vault that fails may have made it before it failed, and the
// caller is told to look. Of a read it cannot.
func TestAFailedChangeMayHaveBeenMade(t *testing.T) {
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, brokertest.AllowAll{})
			n := op.prepare(t, w)
			op.hook(w, func(_ context.Context, method string, _ broker.Name) error {
				if method == op.store {
					return &broker.Error{Code: broker.CodeVaultUnavailable, RetryAfter: time.Second}
				}
				return nil
			})
			err := op.do(t.Context(), w, n)
			e := broker.AsError(err)
			if e == nil || e.Code != broker.CodeVaultUnavailable || e.RetryAfter != time.Second {
				t.Fatalf("got %v, want the vault's VAULT_UNAVAILABLE", err)
			}
			if strings.Contains(e.Message, "may have been made") != op.change {
				t.Errorf("the caller is told %q", e.Message)
			}
			if !op.change {
				return
			}
			events := w.audit.Events()
			if last := events[len(events)-1]; last.Phase != broker.PhaseOutcome || last.Outcome != "VAULT_UNAVAILABLE" {
				t.Errorf("recorded %+v", last)
			}
		})
	}
}

// What a list had found before it failed was not disclosed, and is not recorded
// as if it had been.
func TestAFailedListDisclosesNothing(t *testing.T) {
	lists := map[string]func(*world) (int, error){
		brokertest.ListSecrets: func(w *world) (int, error) {
			p, err := w.ListSecrets(t.Context(), alice, w.vault, broker.Page{})
			return len(p.Secrets), err
		},
		brokertest.ListDeletedSecrets: func(w *world) (int, error) {
			p, err := w.ListDeletedSecrets(t.Context(), alice, w.vault, broker.Page{})
			return len(p.Secrets), err
		},
	}
	for method, list := range lists {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t, brokertest.AllowAll{})
			for i := range 2 * broker.MaxStorePage {
				n := w.put(t, fmt.Sprintf("s-%03d", i), "v")
				if method == brokertest.ListDeletedSecrets {
					w.remove(t.Context(), n)
				}
			}
			pages := 0
			w.store.SetHook(func(context.Context, string, broker.Name) error {
				if pages++; pages == 2 {
					return &broker.Error{Code: broker.CodeVaultUnavailable}
				}
				return nil
			})
			if n, err := list(w); broker.CodeOf(err) != broker.CodeVaultUnavailable || n != 0 || pages != 2 {
				t.Fatalf("%d secrets of %d pages, %v; want VAULT_UNAVAILABLE of the second", n, pages, err)
			}
			events := w.audit.Events()
			if len(events) != 1 || events[0].Outcome != "VAULT_UNAVAILABLE" || len(events[0].Items) != 0 {
				t.Errorf("recorded %+v; want one failure without items", events)
			}
		})
	}
}
