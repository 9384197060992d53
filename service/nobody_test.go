package service_test

import (
	"context"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
	"github.com/keyward/keyward/service/authn"
)

// nobody is an authenticator that accepts every caller and names none.
type nobody struct{}

func (nobody) Authenticate(context.Context, authn.Credentials) (broker.Principal, error) {
	return broker.Principal{Groups: []string{"admins"}}, nil
}

// TestACallerWithoutANameIsRefused, whatever a policy would allow it: the fault
// is the authenticator's.
func TestACallerWithoutANameIsRefused(t *testing.T) {
	w := newWorld(t, func(c *service.Config, bc *broker.Config) {
		c.Authenticator, bc.Authorizer = nobody{}, brokertest.AllowAll{}
	})
	w.put("vaults/dev/secrets/db", "x")
	want := verdict{"Internal", "INTERNAL"}
	_, err := w.client(w.billing()).GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"})
	if got := grpcVerdict(err); got != want {
		t.Errorf("gRPC: got %v (%v), want %v", got, err, want)
	}
	if r := w.rest(w.billing(), "GET /v1/vaults/dev/secrets/db", ""); r.verdict(t) != want {
		t.Errorf("REST: %d %s, want %v", r.status, r.body, want)
	}
	if n := w.store.Calls(brokertest.GetSecret); n != 0 {
		t.Errorf("%d vault calls", n)
	}
	events := w.audit.Events()
	if len(events) != 2 {
		t.Fatalf("%d events, want 2", len(events))
	}
	for _, e := range events {
		if e.Action != broker.ActionAuthenticate || e.Outcome != "INTERNAL" || e.Caller.ID != "" {
			t.Errorf("recorded %+v", e)
		}
	}
}
