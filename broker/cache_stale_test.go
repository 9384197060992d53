package broker_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// calmConfig keeps answers for a minute, and for an hour more in an outage.
var calmConfig = broker.SecretCacheConfig{TTL: time.Minute, StaleIfError: time.Hour}

// warm returns a cache that has just been asked for all of names.
func warm(t *testing.T, names int) (*cacheWorld, []broker.Name) {
	t.Helper()
	w := newCacheWorld(t, time.Minute)
	w.SecretCache = broker.NewSecretCache(w.store, calmConfig)
	all := []broker.Name{w.name}
	w.get(t, "first", false)
	for i := 1; i < names; i++ {
		n, err := w.name.Vault().Object(broker.KindSecrets, fmt.Sprintf("s-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.SetSecret(t.Context(), n, broker.NewSecret{Value: broker.NewValue("v"), Enabled: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.GetSecret(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return w, all
}

func (w *cacheWorld) fail(err error) {
	w.store.SetHook(func(context.Context, string, broker.Name) error { return err })
}

var (
	errUnavailable = &broker.Error{Code: broker.CodeVaultUnavailable}
	errNoToken     = &broker.Error{Code: broker.CodeVaultAuthentication, Unasked: true}
	errForbidden   = &broker.Error{Code: broker.CodeVaultAuthentication}
)

// hangs is a vault that never answers.
func hangs(ctx context.Context, _ string, _ broker.Name) error {
	<-ctx.Done()
	return ctx.Err()
}

// With the vault away for an hour, whoever asks for what is known has it, marked,
// for as long as the configuration says; and the vault is not asked for each.
func TestAnOutageIsServedStale(t *testing.T) {
	for label, hook := range map[string]func(context.Context, string, broker.Name) error{
		"unavailable": func(context.Context, string, broker.Name) error { return errUnavailable },
		"throttled": func(context.Context, string, broker.Name) error {
			return &broker.Error{Code: broker.CodeVaultThrottled, RetryAfter: 5 * time.Second}
		},
		"no token": func(context.Context, string, broker.Name) error { return errNoToken },
		"hanging":  hangs,
	} {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const names = 100
				w, all := warm(t, names)
				asked := time.Now()
				w.store.SetHook(hook)
				before, served := w.store.Calls(brokertest.GetSecret), 0
				var waited time.Duration
				for time.Since(asked) < time.Hour+50*time.Second {
					for _, n := range all {
						began := time.Now()
						v, err := w.GetSecret(t.Context(), n)
						age := began.Sub(asked)
						if err != nil || v.Value.Len() == 0 || !v.Cached || v.Stale != (age >= time.Minute) {
							t.Fatalf("after %v: stale %v, %v", age, v.Stale, err)
						}
						waited += time.Since(began)
						served++
					}
					time.Sleep(time.Second)
				}
				if waited > time.Second {
					t.Errorf("callers waited for %v in all", waited)
				}
				// A probe in 2 to 4 s, and what an eager first minute asks.
				if n := w.store.Calls(brokertest.GetSecret) - before; n > 3660/2+names {
					t.Errorf("the vault was asked %d times for %d reads", n, served)
				}
				time.Sleep(time.Until(asked.Add(time.Hour + time.Minute)))
				for _, n := range all[:3] {
					if v, err := w.GetSecret(t.Context(), n); !stillAway(err) || v.Value.Len() > 0 {
						t.Errorf("after its time: %+v, %v", v.Secret, err)
					}
				}
			})
		})
	}
}

func stillAway(err error) bool {
	switch broker.CodeOf(err) {
	case broker.CodeVaultUnavailable, broker.CodeVaultThrottled, broker.CodeVaultAuthentication:
		return true
	}
	return false
}

// The end of an outage is noticed by one probe.
func TestAnOutageEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := warm(t, 1)
		w.fail(errUnavailable)
		time.Sleep(2 * time.Minute)
		if v, err := w.GetSecret(t.Context(), w.name); err != nil || !v.Stale {
			t.Fatalf("stale %v, %v", v.Stale, err)
		}
		if _, err := w.store.SetSecret(t.Context(), w.name, broker.NewSecret{Value: broker.NewValue("second"), Enabled: true}); broker.CodeOf(err) != broker.CodeVaultUnavailable {
			t.Fatal(err)
		}
		w.store.SetHook(nil)
		if _, err := w.store.SetSecret(t.Context(), w.name, broker.NewSecret{Value: broker.NewValue("second"), Enabled: true}); err != nil {
			t.Fatal(err)
		}
		before := w.store.Calls(brokertest.GetSecret)
		time.Sleep(5 * time.Second)
		if v, err := w.GetSecret(t.Context(), w.name); err != nil || !v.Stale || v.Value.Reveal() != "first" {
			t.Fatalf("%q, stale %v, %v; want the old one while the probe is out", v.Value.Reveal(), v.Stale, err)
		}
		synctest.Wait()
		w.get(t, "second", true)
		if n := w.store.Calls(brokertest.GetSecret) - before; n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

// What the vault said, or a write did, ends what is served in an outage.
func TestNothingStaleAfterARefusal(t *testing.T) {
	refuse := func(err error) func(*testing.T, *cacheWorld) {
		return func(t *testing.T, w *cacheWorld) {
			w.fail(err)
			if _, got := w.GetSecretWithin(t.Context(), w.name, 0); broker.CodeOf(got) != broker.CodeOf(err) {
				t.Fatal(got)
			}
		}
	}
	for label, end := range map[string]func(*testing.T, *cacheWorld){
		"403":      refuse(errForbidden),
		"404":      refuse(&broker.Error{Code: broker.CodeSecretNotFound}),
		"disabled": refuse(&broker.Error{Code: broker.CodeSecretDisabled}),
		"a renewal is refused": func(t *testing.T, w *cacheWorld) {
			w.fail(errForbidden)
			time.Sleep(59 * time.Second)
			w.get(t, "first", true)
			synctest.Wait()
		},
		"a probe is refused": func(t *testing.T, w *cacheWorld) {
			w.fail(errUnavailable)
			time.Sleep(2 * time.Minute)
			w.get(t, "first", true)
			w.fail(errForbidden)
			time.Sleep(5 * time.Second)
			w.get(t, "first", true) // while the probe is out
			synctest.Wait()
		},
		"delete": func(t *testing.T, w *cacheWorld) {
			if _, err := w.DeleteSecret(t.Context(), w.name); err != nil {
				t.Fatal(err)
			}
		},
		"disable": func(t *testing.T, w *cacheWorld) {
			if _, err := w.UpdateSecret(t.Context(), w.name, broker.SecretUpdate{Enabled: new(bool)}); err != nil {
				t.Fatal(err)
			}
		},
		"a write that may have happened": func(t *testing.T, w *cacheWorld) {
			w.fail(errUnavailable)
			if _, err := w.DeleteSecret(t.Context(), w.name); err == nil {
				t.Fatal("no error")
			}
		},
	} {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, _ := warm(t, 1)
				v, err := w.GetSecret(t.Context(), w.name)
				if err != nil {
					t.Fatal(err)
				}
				// A pinned version is as gone as the latest.
				if _, err := w.GetSecret(t.Context(), v.Name); err != nil {
					t.Fatal(err)
				}
				end(t, w)
				w.fail(errUnavailable)
				for _, after := range []time.Duration{0, 2 * time.Minute, time.Minute} {
					time.Sleep(after)
					for _, n := range []broker.Name{w.name, v.Name} {
						if v, err := w.GetSecret(t.Context(), n); broker.CodeOf(err) != broker.CodeVaultUnavailable || v.Value.Len() > 0 {
							t.Errorf("%v: stale %v, %v; want VAULT_UNAVAILABLE", n, v.Stale, err)
						}
					}
				}
			})
		})
	}
}

// A refusal while somebody waits with an old answer at hand counts for all.
func TestARefusalWhileAnotherWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := warm(t, 1)
		time.Sleep(2 * time.Minute)
		var first atomic.Bool
		w.store.SetHook(func(ctx context.Context, method string, n broker.Name) error {
			if first.CompareAndSwap(false, true) {
				return hangs(ctx, method, n)
			}
			return errForbidden
		})
		got := make(chan error, 1)
		go func() {
			_, err := w.GetSecret(context.WithoutCancel(t.Context()), w.name)
			got <- err
		}()
		synctest.Wait()
		if _, err := w.GetSecretWithin(t.Context(), w.name, 0); broker.CodeOf(err) != broker.CodeVaultAuthentication {
			t.Fatal(err)
		}
		if err := <-got; broker.CodeOf(err) != broker.CodeVaultUnavailable {
			t.Errorf("got %v, want VAULT_UNAVAILABLE", err)
		}
	})
}

// Nobody gets what is older than asked for, and who is in haste is served in time.
func TestStaleIsYoungerThanAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := warm(t, 1)
		time.Sleep(2 * time.Minute)
		w.store.SetHook(hangs)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if v, err := w.GetSecret(ctx, w.name); err != nil || !v.Stale {
			t.Errorf("in haste: stale %v, %v", v.Stale, err)
		}
		w.fail(errUnavailable)
		for within, want := range map[time.Duration]broker.Code{
			0: broker.CodeVaultUnavailable, 30 * time.Second: broker.CodeVaultUnavailable, time.Minute: broker.CodeVaultUnavailable,
			10 * time.Minute: "",
		} {
			if v, err := w.GetSecretWithin(t.Context(), w.name, within); broker.CodeOf(err) != want || v.Stale != (err == nil) {
				t.Errorf("max_age %v: stale %v, %v", within, v.Stale, err)
			}
		}
	})
}

// A bug is no outage.
func TestAPanicIsNotServedStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := warm(t, 1)
		time.Sleep(2 * time.Minute)
		w.store.SetHook(func(context.Context, string, broker.Name) error { panic("canary-in-a-panic") })
		if v, err := w.GetSecret(t.Context(), w.name); broker.CodeOf(err) != broker.CodeInternal || v.Value.Len() > 0 {
			t.Errorf("stale %v, %v; want INTERNAL", v.Stale, err)
		}
	})
}

// Under load a name costs one call in its time to live, and nobody waits for it.
func TestRenewalUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const names, callers = 5, 200
		w, all := warm(t, names)
		var urgent atomic.Int32
		w.store.SetHook(func(ctx context.Context, _ string, _ broker.Name) error {
			if broker.ErrandOf(ctx).Urgency != broker.UrgencyRefresh {
				urgent.Add(1)
			}
			time.Sleep(5 * time.Second)
			return nil
		})
		before := w.store.Calls(brokertest.GetSecret)
		until := time.Now().Add(10 * time.Minute)
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				for time.Now().Before(until) {
					began := time.Now()
					v, err := w.GetSecret(t.Context(), all[i%names])
					if err != nil || v.Stale || !v.Cached || time.Since(began) > 0 || time.Since(v.Fetched) > time.Minute {
						t.Errorf("after %v: cached %v, stale %v, %v", time.Since(began), v.Cached, v.Stale, err)
					}
					time.Sleep(time.Second)
				}
			})
		}
		group.Wait()
		// It is renewed when 48 to 54 s are over, so 11 or 12 times in ten minutes.
		if n := w.store.Calls(brokertest.GetSecret) - before; n < 11*names || n > 12*names {
			t.Errorf("%d calls for %d names in ten minutes, want 11 to 12 for each", n, names)
		}
		if n := urgent.Load(); n > 0 {
			t.Errorf("%d calls say that somebody waits", n)
		}
		time.Sleep(10 * time.Second)
	})
}

// Names that were asked for at once are not renewed at once.
func TestRenewalsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const names = 1000
		w, all := warm(t, names)
		var most int
		for range 60 {
			time.Sleep(time.Second)
			before := w.store.Calls(brokertest.GetSecret)
			for _, n := range all {
				if _, err := w.GetSecret(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			most = max(most, w.store.Calls(brokertest.GetSecret)-before)
		}
		if most > names/3 {
			t.Errorf("%d of %d names were renewed within a second", most, names)
		}
	})
}

// A policy decides about a stale answer as about any.
func TestADenialOfWhatIsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := warm(t, 1)
		w.fail(errUnavailable)
		time.Sleep(2 * time.Minute)
		audit := &brokertest.Auditor{}
		get := func(a broker.Authorizer) (broker.SecretValue, error) {
			b, err := broker.New(broker.Config{Vaults: map[string]broker.Vault{"pay": {Secrets: w.SecretCache}}, Authorizer: a, Auditor: audit})
			if err != nil {
				t.Fatal(err)
			}
			return b.GetSecret(t.Context(), broker.Caller{}, w.name, broker.GetSecretOptions{})
		}
		if v, err := get(brokertest.AllowAll{}); err != nil || !v.Stale {
			t.Errorf("allowed: stale %v, %v", v.Stale, err)
		}
		if v, err := get(brokertest.AuthorizerFunc(func(context.Context, broker.Request) (broker.Decision, error) { return broker.Decision{}, nil })); broker.CodeOf(err) != broker.CodePolicyDenied || v.Value.Len() > 0 {
			t.Errorf("denied: %v, want POLICY_DENIED", err)
		}
		events := audit.Events()
		if len(events) != 2 || !events[0].Stale || !events[0].Cached || events[1].Stale || events[1].Outcome != "POLICY_DENIED" {
			t.Errorf("recorded %+v", events)
		}
	})
}
