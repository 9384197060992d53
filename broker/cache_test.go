package broker_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

type cacheWorld struct {
	*broker.SecretCache
	store *brokertest.SecretStore
	name  broker.Name
}

func newCacheWorld(t *testing.T, ttl time.Duration) *cacheWorld {
	t.Helper()
	vault, err := broker.VaultName("pay")
	if err != nil {
		t.Fatal(err)
	}
	name, err := vault.Object(broker.KindSecrets, "a")
	if err != nil {
		t.Fatal(err)
	}
	w := &cacheWorld{store: brokertest.NewSecretStore(vault), name: name}
	w.SecretCache = broker.NewSecretCache(w.store, broker.SecretCacheConfig{TTL: ttl})
	w.set(t, "first")
	return w
}

func (w *cacheWorld) set(t *testing.T, value string) {
	t.Helper()
	if _, err := w.SetSecret(t.Context(), w.name, broker.NewSecret{Value: broker.NewValue(value), Enabled: true}); err != nil {
		t.Fatal(err)
	}
}

func (w *cacheWorld) get(t *testing.T, want string, cached bool) {
	t.Helper()
	v, err := w.GetSecret(t.Context(), w.name)
	if err != nil || v.Value.Reveal() != want || v.Cached != cached {
		t.Fatalf("got %q, cached %v, %v; want %q, cached %v", v.Value.Reveal(), v.Cached, err, want, cached)
	}
}

func TestCacheKeepsTheConformance(t *testing.T) {
	brokertest.RunSecretStore(t, func(*testing.T) (broker.SecretStore, broker.Name) {
		vault, err := broker.VaultName("pay")
		if err != nil {
			t.Fatal(err)
		}
		return broker.NewSecretCache(brokertest.NewSecretStore(vault), broker.SecretCacheConfig{TTL: time.Hour}), vault
	})
}

func TestCacheServesUntilTheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCacheWorld(t, time.Minute)
		w.get(t, "first", false)
		time.Sleep(47 * time.Second) // before it is renewed
		w.get(t, "first", true)
		if n := w.store.Calls(brokertest.GetSecret); n != 1 {
			t.Fatalf("%d vault calls, want 1", n)
		}
		time.Sleep(13 * time.Second)
		w.get(t, "first", false)
		if n := w.store.Calls(brokertest.GetSecret); n != 2 {
			t.Fatalf("%d vault calls, want 2", n)
		}
	})
}

func TestCacheShowsWritesAtOnce(t *testing.T) {
	w := newCacheWorld(t, time.Hour)
	w.get(t, "first", false)
	w.set(t, "second")
	w.get(t, "second", false)
	w.get(t, "second", true)
	latest, err := w.GetSecret(t.Context(), w.name)
	if err != nil {
		t.Fatal(err)
	}
	names := []broker.Name{w.name, latest.Name}
	for _, n := range names {
		if _, err := w.GetSecret(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.DeleteSecret(t.Context(), w.name); err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if v, err := w.GetSecret(t.Context(), n); broker.CodeOf(err) != broker.CodeSecretNotFound || v.Value.Len() > 0 {
			t.Errorf("%v after a delete: %v, want SECRET_NOT_FOUND", n, err)
		}
	}
}

// A load that began before a write is neither kept nor joined after it.
func TestCacheForgetsLoadsThatAWriteOvertook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCacheWorld(t, time.Hour)
		release := make(chan struct{})
		var blocked atomic.Bool
		w.store.SetHook(func(_ context.Context, method string, _ broker.Name) error {
			if method == brokertest.GetSecret && blocked.CompareAndSwap(false, true) {
				<-release
			}
			return nil
		})
		go w.GetSecret(context.WithoutCancel(t.Context()), w.name)
		synctest.Wait()
		w.set(t, "second")
		w.get(t, "second", false) // does not wait for the blocked load
		close(release)
		synctest.Wait()
		w.get(t, "second", true)
	})
}

func TestCacheCoalescesAndDetaches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCacheWorld(t, time.Hour)
		release := make(chan struct{})
		w.store.SetHook(func(ctx context.Context, method string, _ broker.Name) error {
			if method == brokertest.GetSecret {
				<-release
			}
			return ctx.Err()
		})
		leader, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := w.GetSecret(leader, w.name)
			failed <- err
		}()
		synctest.Wait() // the leader's load is under way
		var served sync.WaitGroup
		for range 3000 {
			served.Go(func() {
				v, err := w.GetSecret(t.Context(), w.name)
				if err != nil || v.Value.Reveal() != "first" || !v.Cached {
					t.Errorf("a follower got %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		if err := <-failed; broker.CodeOf(err) != broker.CodeCanceled {
			t.Errorf("the leader got %v, want CANCELED", err)
		}
		close(release)
		served.Wait()
		if n := w.store.Calls(brokertest.GetSecret); n != 1 {
			t.Errorf("%d vault calls, want 1", n)
		}
	})
}

// A store that answers at once is asked once by a herd too: who found nothing kept
// may come to ask when the first has its answer already. So it is of what is not
// there.
func TestCacheCoalescesAHerdOverAFastStore(t *testing.T) {
	w := newCacheWorld(t, time.Hour)
	w.SecretCache = broker.NewSecretCache(w.store, broker.SecretCacheConfig{TTL: time.Hour, NegativeTTL: time.Hour})
	for round := range 300 {
		n, err := w.name.Vault().Object(broker.KindSecrets, fmt.Sprintf("s-%d", round))
		if err != nil {
			t.Fatal(err)
		}
		if round%2 == 0 {
			if _, err := w.store.SetSecret(t.Context(), n, broker.NewSecret{Enabled: true}); err != nil {
				t.Fatal(err)
			}
		}
		before := w.store.Calls(brokertest.GetSecret)
		var herd sync.WaitGroup
		for range 50 {
			herd.Go(func() { _, _ = w.GetSecret(t.Context(), n) })
		}
		herd.Wait()
		if calls := w.store.Calls(brokertest.GetSecret) - before; calls != 1 {
			t.Fatalf("round %d: %d calls, want 1", round, calls)
		}
	}
}

func TestCacheAnswersWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCacheWorld(t, time.Minute)
		w.get(t, "first", false)
		for _, step := range []struct {
			after, within time.Duration
			cached        bool
		}{
			{0, time.Minute, true},
			{0, 0, false},
			{10 * time.Second, 20 * time.Second, true},
			{10 * time.Second, 20 * time.Second, false},
			{47 * time.Second, time.Hour, true},
			{13 * time.Second, time.Hour, false}, // the time to live bounds it
			{time.Second, 0, false},
		} {
			time.Sleep(step.after)
			v, err := w.GetSecretWithin(t.Context(), w.name, step.within)
			if err != nil || v.Cached != step.cached || time.Since(v.Fetched) > step.within {
				t.Errorf("%+v: cached %v, %v", step, v.Cached, err)
			}
		}
		// What was asked for afresh serves the others.
		w.get(t, "first", true)
	})
}

// Each write through the cache ends what it knows of the name.
func TestCacheForgetsByEveryWrite(t *testing.T) {
	w := newCacheWorld(t, time.Hour)
	ctx := t.Context()
	var blob broker.Value
	writes := []struct {
		name string
		do   func() error
		want broker.Code // of a read afterwards
	}{
		{"update", func() error {
			_, err := w.UpdateSecret(ctx, w.name, broker.SecretUpdate{ContentType: new("x")})
			return err
		}, ""},
		{"a failed update", func() error {
			w.store.SetHook(func(_ context.Context, method string, _ broker.Name) error {
				if method == brokertest.UpdateSecret {
					return &broker.Error{Code: broker.CodeVaultUnavailable}
				}
				return nil
			})
			defer w.store.SetHook(nil)
			_, err := w.UpdateSecret(ctx, w.name, broker.SecretUpdate{ContentType: new("y")})
			if broker.CodeOf(err) != broker.CodeVaultUnavailable {
				return err
			}
			return nil
		}, ""},
		{"recover", func() error {
			if _, err := w.store.DeleteSecret(ctx, w.name); err != nil {
				return err
			}
			_, err := w.RecoverSecret(ctx, w.name)
			return err
		}, ""},
		{"restore", func() (err error) {
			if blob, err = w.BackupSecret(ctx, w.name); err != nil {
				return err
			}
			if _, err := w.store.DeleteSecret(ctx, w.name); err != nil {
				return err
			}
			if err := w.store.PurgeSecret(ctx, w.name); err != nil {
				return err
			}
			_, err = w.RestoreSecret(ctx, w.name.Vault(), blob)
			return err
		}, ""},
		{"purge", func() error {
			if _, err := w.store.DeleteSecret(ctx, w.name); err != nil {
				return err
			}
			return w.PurgeSecret(ctx, w.name)
		}, broker.CodeSecretNotFound},
	}
	for _, write := range writes {
		latest, err := w.GetSecret(ctx, w.name)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []broker.Name{w.name, latest.Name} {
			if _, err := w.GetSecret(ctx, n); err != nil {
				t.Fatal(err)
			}
		}
		if err := write.do(); err != nil {
			t.Fatalf("%s: %v", write.name, err)
		}
		for _, n := range []broker.Name{w.name, latest.Name} {
			if v, err := w.GetSecret(ctx, n); broker.CodeOf(err) != write.want || v.Cached {
				t.Errorf("%s: %v: cached %v, %v; want a new answer, %q", write.name, n, v.Cached, err, write.want)
			}
		}
	}
}

func TestCacheKeepsNoErrors(t *testing.T) {
	w := newCacheWorld(t, time.Hour)
	w.store.SetHook(func(context.Context, string, broker.Name) error {
		return &broker.Error{Code: broker.CodeVaultUnavailable}
	})
	if _, err := w.GetSecret(t.Context(), w.name); broker.CodeOf(err) != broker.CodeVaultUnavailable {
		t.Fatalf("got %v", err)
	}
	w.store.SetHook(nil)
	w.get(t, "first", false)
}

func TestCacheOutlivesAPanickingStore(t *testing.T) {
	w := newCacheWorld(t, time.Hour)
	w.store.SetHook(func(context.Context, string, broker.Name) error { panic("canary-in-a-panic") })
	_, err := w.GetSecret(t.Context(), w.name)
	if broker.CodeOf(err) != broker.CodeInternal || strings.Contains(err.Error(), "canary") {
		t.Fatalf("got %v, want INTERNAL without the panic's text", err)
	}
}

func TestCacheWithoutATTLKeepsNothing(t *testing.T) {
	w := newCacheWorld(t, 0)
	w.get(t, "first", false)
	w.get(t, "first", false)
}

// Warm as one caller, read as another without the right: denied, and the vault
// is not asked.
func TestCacheLiesUnderTheGuard(t *testing.T) {
	cache := newCacheWorld(t, time.Hour)
	b, err := broker.New(broker.Config{
		Vaults: map[string]broker.Vault{"pay": {Secrets: cache}},
		Authorizer: brokertest.AuthorizerFunc(func(_ context.Context, r broker.Request) (broker.Decision, error) {
			return broker.Decision{Allowed: r.Principal.ID == alice.ID}, nil
		}),
		Auditor: &brokertest.Auditor{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.GetSecret(t.Context(), alice, cache.name, broker.GetSecretOptions{}); err != nil {
		t.Fatal(err)
	}
	mallory := broker.Caller{Principal: broker.Principal{ID: "spiffe://example.org/mallory"}}
	v, err := b.GetSecret(t.Context(), mallory, cache.name, broker.GetSecretOptions{})
	if broker.CodeOf(err) != broker.CodePolicyDenied || v.Value.Len() != 0 {
		t.Errorf("got %v", err)
	}
	if n := cache.store.Calls(brokertest.GetSecret); n != 1 {
		t.Errorf("%d vault calls, want 1", n)
	}
}
