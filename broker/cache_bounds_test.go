package broker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
)

// What a cache holds fits its MaxBytes, wherever in an entry the bytes are.
func TestCacheIsBounded(t *testing.T) {
	const entries, texts = 10, 2000
	long := strings.Repeat("x", texts)
	for label, tt := range map[string]struct {
		s    broker.NewSecret
		size uint64
	}{
		"values":        {broker.NewSecret{Value: broker.NewValue(long)}, texts},
		"content types": {broker.NewSecret{ContentType: long}, texts},
		"tags' names":   {broker.NewSecret{Tags: map[string]string{long: ""}}, texts},
		"tags' values":  {broker.NewSecret{Tags: map[string]string{"": long}}, texts},
		"nothing":       {broker.NewSecret{}, 0},
	} {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCacheWorld(t, time.Hour)
				// An entry costs 400 bytes beside its texts, the name among them.
				cache := broker.NewSecretCache(w.store, broker.SecretCacheConfig{TTL: time.Hour, MaxBytes: entries * (tt.size + 405)})
				tt.s.Enabled = true
				var names []broker.Name
				for i := range 100 {
					n, err := w.name.Vault().Object(broker.KindSecrets, fmt.Sprintf("s-%03d", i))
					if err != nil {
						t.Fatal(err)
					}
					if _, err := w.store.SetSecret(t.Context(), n, tt.s); err != nil {
						t.Fatal(err)
					}
					if _, err := cache.GetSecret(t.Context(), n); err != nil {
						t.Fatal(err)
					}
					synctest.Wait() // what does not fit is dropped in the background
					names = append(names, n)
				}
				w.store.SetHook(func(context.Context, string, broker.Name) error {
					return &broker.Error{Code: broker.CodeVaultUnavailable}
				})
				held := 0
				for _, n := range names {
					if _, err := cache.GetSecret(t.Context(), n); err == nil {
						held++
					}
				}
				if held > entries || held < entries/2 {
					t.Errorf("%d of 100 entries are held, want up to %d", held, entries)
				}
			})
		})
	}
}

// An answer is as old as its question: the time that the vault took counts.
func TestCacheCountsFromTheQuestion(t *testing.T) {
	for label, tt := range map[string]struct {
		took time.Duration
		ask  func(context.Context, *cacheWorld) (broker.SecretValue, error)
	}{
		"a shared load": {9 * time.Second, func(ctx context.Context, w *cacheWorld) (broker.SecretValue, error) {
			return w.GetSecret(ctx, w.name)
		}},
		"a fresh one": {30 * time.Second, func(ctx context.Context, w *cacheWorld) (broker.SecretValue, error) {
			return w.GetSecretWithin(ctx, w.name, 0)
		}},
	} {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCacheWorld(t, time.Minute)
				w.store.SetHook(func(context.Context, string, broker.Name) error {
					time.Sleep(tt.took)
					return nil
				})
				began := time.Now()
				if v, err := tt.ask(t.Context(), w); err != nil || v.Cached || time.Since(began) != tt.took {
					t.Fatalf("cached %v after %v, %v", v.Cached, time.Since(began), err)
				}
				w.store.SetHook(nil)
				time.Sleep(47*time.Second - tt.took) // before it is renewed
				w.get(t, "first", true)
				time.Sleep(13 * time.Second)
				w.get(t, "first", false)
			})
		})
	}
}

// A vault that hangs costs ten seconds, however long the caller would wait, and
// the next read asks anew.
func TestCacheGivesUpOnAHangingVault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCacheWorld(t, time.Hour)
		w.store.SetHook(func(ctx context.Context, _ string, _ broker.Name) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Hour):
				return nil
			}
		})
		began := time.Now()
		if _, err := w.GetSecret(t.Context(), w.name); broker.CodeOf(err) != broker.CodeVaultUnavailable || time.Since(began) != 10*time.Second {
			t.Errorf("after %v: %v, want VAULT_UNAVAILABLE after 10s", time.Since(began), err)
		}
		w.store.SetHook(nil)
		w.get(t, "first", false)
	})
}
