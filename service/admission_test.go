package service_test

import (
	"context"
	"math"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/service"
	"github.com/keyward/keyward/service/authn"
)

// strangers is an authenticator that believes nobody.
type strangers struct{}

func (strangers) Authenticate(context.Context, authn.Credentials) (broker.Principal, error) {
	return broker.Principal{}, &broker.Error{Code: broker.CodeBadCredentials}
}

// Limits that are replaced hold from the next call on. Where one stays as it was,
// nobody gains what they have used of it.
func TestLimitsAreReplaced(t *testing.T) {
	first := service.Limits{Principal: service.Limit{Rate: 0.5, Burst: 2}}
	_, limits := limited(first)
	w := newWorld(t, limits)
	w.put(db, "x")
	id := w.billing()
	get := func() verdict { return grpcVerdict(bothWays[broker.TransportGRPC](w, id)) }
	fine := get()
	if fine == tooMany || get() != fine || get() != tooMany {
		t.Fatal("the first limit does not hold")
	}
	same := first
	same.FailedAuthentication = service.Limit{Rate: 1}
	w.must(w.server.Limit(same))
	if get() != tooMany {
		t.Error("a limit that stays has forgotten what was used")
	}
	if err := w.server.Limit(service.Limits{Principal: service.Limit{Rate: math.NaN()}}); err == nil {
		t.Error("no number is taken for a rate")
	}
	if get() != tooMany {
		t.Error("what was refused took effect")
	}
	w.must(w.server.Limit(service.Limits{}))
	for range 5 {
		if got := get(); got != fine {
			t.Fatalf("without a limit: %v", got)
		}
	}
}

// Who is believed is replaced with the limits, or not at all.
func TestAuthenticatorIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.put(db, "x")
	id := w.billing()
	if err := bothWays[broker.TransportGRPC](w, id); err != nil {
		t.Fatal(err)
	}
	if err := w.server.Admit(nil, service.Limits{}); err == nil {
		t.Error("a server without an authenticator")
	}
	if err := w.server.Admit(strangers{}, service.Limits{Principal: service.Limit{Rate: -1}}); err == nil {
		t.Error("a rate below 0")
	}
	if err := bothWays[broker.TransportGRPC](w, id); err != nil {
		t.Errorf("what was refused took effect: %v", err)
	}
	w.must(w.server.Admit(strangers{}, service.Limits{}))
	for transport, get := range bothWays {
		if got, want := grpcVerdict(get(w, id)), (verdict{"Unauthenticated", "BAD_CREDENTIALS"}); got != want {
			t.Errorf("%s: got %v, want %v", transport, got, want)
		}
	}
}
