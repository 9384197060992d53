package broker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// allowOnly permits these actions.
func allowOnly(actions ...broker.Action) brokertest.AuthorizerFunc {
	return func(_ context.Context, r broker.Request) (broker.Decision, error) {
		return broker.Decision{Allowed: slices.Contains(actions, r.Action)}, nil
	}
}

func value(text string) broker.NewSecret {
	return broker.NewSecret{Value: broker.NewValue(text), Enabled: true}
}

// recorded are the events as text: action, phase and outcome.
func (w *world) recorded() []string {
	var all []string
	for _, e := range w.audit.Events() {
		all = append(all, strings.TrimSpace(fmt.Sprint(e.Action, " ", e.Phase, " ", e.Outcome)))
	}
	return all
}

func TestRacingSetsWithOneETag(t *testing.T) {
	w := newWorld(t, brokertest.AllowAll{})
	n := w.put(t, "a", "first")
	v, err := w.store.GetSecret(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	outcomes := map[broker.Code]int{}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			_, err := w.SetSecret(t.Context(), alice, n, value(fmt.Sprint(i)), broker.SetSecretOptions{ETag: v.ETag()})
			mu.Lock()
			defer mu.Unlock()
			outcomes[broker.CodeOf(err)]++
		})
	}
	wg.Wait()
	if outcomes[""] != 1 || outcomes[broker.CodeETagMismatch] != 99 {
		t.Errorf("outcomes %v, want one winner", outcomes)
	}
	if all, err := w.store.ListSecretVersions(t.Context(), n); err != nil || len(all) != 2 {
		t.Errorf("%d versions, %v", len(all), err)
	}
}

func TestPreconditions(t *testing.T) {
	ops := map[string]func(ctx context.Context, w *world, n broker.Name, etag string) error{
		"set": func(ctx context.Context, w *world, n broker.Name, etag string) error {
			_, err := w.SetSecret(ctx, alice, n, value("new"), broker.SetSecretOptions{ETag: etag})
			return err
		},
		"update": func(ctx context.Context, w *world, n broker.Name, etag string) error {
			_, err := w.UpdateSecret(ctx, alice, n, broker.SecretUpdate{Enabled: new(true)}, etag)
			return err
		},
		"delete": func(ctx context.Context, w *world, n broker.Name, etag string) error {
			_, err := w.DeleteSecret(ctx, alice, n, etag)
			return err
		},
	}
	for name, op := range ops {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, brokertest.AllowAll{})
			n := w.secret(t, "a")
			// A secret that is not there has no etag.
			want := broker.CodeSecretNotFound
			if name == "set" {
				want = broker.CodeETagMismatch
			}
			if err := op(t.Context(), w, n, `"x"`); broker.CodeOf(err) != want {
				t.Errorf("absent: %v, want %s", err, want)
			}
			s, err := w.store.SetSecret(t.Context(), n, broker.NewSecret{Value: broker.NewValue("disabled")})
			if err != nil {
				t.Fatal(err)
			}
			// A disabled one has, though its value cannot be read.
			if err := op(t.Context(), w, n, `"x"`); broker.CodeOf(err) != broker.CodeETagMismatch {
				t.Errorf("another etag: %v", err)
			}
			if err := op(t.Context(), w, n, s.ETag()); err != nil {
				t.Errorf("its etag: %v", err)
			}
		})
	}
}

// TestPreconditionsAskTheVault: what the cache remembers is not what is there.
func TestPreconditionsAskTheVault(t *testing.T) {
	cache := newCacheWorld(t, time.Hour)
	cache.get(t, "first", false)
	old, err := cache.GetSecret(t.Context(), cache.name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cache.store.SetSecret(t.Context(), cache.name, value("elsewhere")); err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Config{Vaults: map[string]broker.Vault{"pay": {Secrets: cache}}, Authorizer: brokertest.AllowAll{}, Auditor: &brokertest.Auditor{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.SetSecret(t.Context(), alice, cache.name, value("lost"), broker.SetSecretOptions{ETag: old.ETag()}); broker.CodeOf(err) != broker.CodeETagMismatch {
		t.Errorf("got %v, want ETAG_MISMATCH", err)
	}
}

func TestWritersOfOneNameTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, brokertest.AllowAll{})
		a, other := w.secret(t, "a"), w.secret(t, "b")
		release := make(chan struct{})
		w.store.SetHook(func(_ context.Context, method string, n broker.Name) error {
			if method == brokertest.SetSecret && n == a {
				<-release
			}
			return nil
		})
		set := func(ctx context.Context, n broker.Name) <-chan error {
			done := make(chan error, 1)
			go func() {
				_, err := w.SetSecret(ctx, alice, n, value("v"), broker.SetSecretOptions{})
				done <- err
			}()
			synctest.Wait()
			return done
		}
		first, second := set(t.Context(), a), set(t.Context(), a)
		ctx, cancel := context.WithCancel(t.Context())
		gone := set(ctx, a)
		if n := w.store.Calls(brokertest.SetSecret); n != 1 {
			t.Errorf("%d writers at work, want 1", n)
		}
		if err := <-set(t.Context(), other); err != nil {
			t.Errorf("a writer of another name: %v", err)
		}
		cancel()
		if err := <-gone; broker.CodeOf(err) != broker.CodeCanceled {
			t.Errorf("a writer that gave up: %v", err)
		}
		close(release)
		if err1, err2 := <-first, <-second; err1 != nil || err2 != nil {
			t.Errorf("%v, %v", err1, err2)
		}
		// Nobody's turn is left behind.
		if err := <-set(t.Context(), a); err != nil {
			t.Error(err)
		}
	})
}

func TestSetRecoversWhatIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, brokertest.AllowAll{})
		n := w.put(t, "a", "old")
		w.remove(t.Context(), n)
		// The vault takes five seconds to settle, by turns of both errors.
		var recovered time.Time
		w.store.SetHook(func(_ context.Context, method string, _ broker.Name) error {
			switch {
			case method == brokertest.RecoverSecret:
				recovered = time.Now()
			case method == brokertest.SetSecret && !recovered.IsZero() && time.Since(recovered) < 5*time.Second:
				return &broker.Error{Code: []broker.Code{broker.CodeSecretInTransition, broker.CodeSecretSoftDeleted}[w.store.Calls(method)%2]}
			}
			return nil
		})
		if _, err := w.SetSecret(t.Context(), alice, n, value("new"), broker.SetSecretOptions{RecoverDeleted: true}); err != nil {
			t.Fatal(err)
		}
		if all, err := w.store.ListSecretVersions(t.Context(), n); err != nil || len(all) != 2 {
			t.Errorf("%d versions, %v; want the old one and the new", len(all), err)
		}
		if calls := w.store.Calls(brokertest.SetSecret); calls > 12 {
			t.Errorf("%d tries in five seconds", calls)
		}
		want := []string{"setSecret intent", "undeleteSecret intent", "undeleteSecret outcome ok", "setSecret outcome ok"}
		if got := w.recorded(); !slices.Equal(got, want) {
			t.Errorf("recorded %q, want %q", got, want)
		}
	})
}

func TestSetGivesUpOnAVaultThatDoesNotSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, brokertest.AllowAll{})
		n := w.put(t, "a", "old")
		w.remove(t.Context(), n)
		w.store.SetHook(func(_ context.Context, method string, _ broker.Name) error {
			if method == brokertest.SetSecret {
				return &broker.Error{Code: broker.CodeSecretSoftDeleted}
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := w.SetSecret(ctx, alice, n, value("new"), broker.SetSecretOptions{RecoverDeleted: true})
		if e := broker.AsError(err); e == nil || e.Code != broker.CodeSecretInTransition || e.RetryAfter == 0 {
			t.Errorf("got %v, want SECRET_IN_TRANSITION and when to try again", err)
		}
	})
}

// TestRecoveringTakesTheRightToUndelete: without it the vault is not asked,
// whether or not the name is deleted.
func TestRecoveringTakesTheRightToUndelete(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		w := newWorld(t, allowOnly(broker.ActionSetSecret))
		n := w.put(t, "a", "old")
		if deleted {
			w.remove(t.Context(), n)
		}
		_, err := w.SetSecret(t.Context(), alice, n, value("new"), broker.SetSecretOptions{RecoverDeleted: true})
		if broker.CodeOf(err) != broker.CodePolicyDenied {
			t.Errorf("deleted %v: %v", deleted, err)
		}
		if calls := w.store.Calls(brokertest.SetSecret) + w.store.Calls(brokertest.RecoverSecret); calls != 1 {
			t.Errorf("deleted %v: %d vault calls, want the test's own", deleted, calls)
		}
		if got := w.recorded(); !slices.Equal(got, []string{"undeleteSecret  POLICY_DENIED"}) {
			t.Errorf("recorded %q", got)
		}
	}
}

func TestUpdatesThatAreNone(t *testing.T) {
	var zero time.Time
	now := time.Now()
	for name, tt := range map[string]struct {
		u     broker.SecretUpdate
		field string
	}{
		"nothing":             {broker.SecretUpdate{}, "update_mask"},
		"no not before":       {broker.SecretUpdate{NotBefore: &zero}, "not_before_time"},
		"no expiry":           {broker.SecretUpdate{Expires: &zero}, "expire_time"},
		"expires first":       {broker.SecretUpdate{NotBefore: &now, Expires: &now}, "expire_time"},
		"a long content type": {broker.SecretUpdate{ContentType: new(strings.Repeat("t", 256))}, "content_type"},
		"a nameless tag":      {broker.SecretUpdate{Tags: &map[string]string{"": "v"}}, "tags"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, brokertest.AllowAll{})
			_, err := w.UpdateSecret(t.Context(), alice, w.put(t, "a", "v"), tt.u, "")
			if e := broker.AsError(err); e == nil || e.Code != broker.CodeBadField || e.Field != tt.field {
				t.Errorf("got %v, want BAD_FIELD of %s", err, tt.field)
			}
			if n := w.store.Calls(brokertest.UpdateSecret) + len(w.audit.Events()); n != 0 {
				t.Errorf("%d vault calls and records, want 0", n)
			}
		})
	}
}
