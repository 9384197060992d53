package keyvault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

const scope = "https://vault.azure.net/.default"

var errDown = errors.New("the endpoint is down")

func numbered(life time.Duration) func(context.Context, string, int64) (keyvault.Token, error) {
	return func(_ context.Context, _ string, n int64) (keyvault.Token, error) {
		return tokenOf(fmt.Sprint("token-", n), life), nil
	}
}

func newCache(t *testing.T, src keyvault.TokenSource, c keyvault.TokenCacheConfig) *keyvault.TokenCache {
	t.Helper()
	cache := keyvault.NewTokenCache(src, c)
	t.Cleanup(cache.Close)
	return cache
}

func TestFirstCallersShareOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &tokens{next: func(_ context.Context, _ string, n int64) (keyvault.Token, error) {
			time.Sleep(time.Second)
			return tokenOf(fmt.Sprint("token-", n), time.Hour), nil
		}}
		cache := newCache(t, src, keyvault.TokenCacheConfig{})
		var wg sync.WaitGroup
		for range 3000 {
			wg.Go(func() {
				if got, err := cache.Token(t.Context(), scope, ""); err != nil || got.Value.Reveal() != "token-1" {
					t.Errorf("%v, %v", got, err)
				}
			})
		}
		wg.Wait()
		if n := src.asked.Load(); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

// The caller that began an acquisition leaves; the others get its token.
func TestLeaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &tokens{next: func(ctx context.Context, _ string, _ int64) (keyvault.Token, error) {
			time.Sleep(time.Second)
			return tokenOf("token", time.Hour), ctx.Err()
		}}
		cache := newCache(t, src, keyvault.TokenCacheConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := cache.Token(ctx, scope, "")
			wantCode(t, err, broker.CodeCanceled)
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := cache.Token(t.Context(), scope, ""); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		if n := src.asked.Load(); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

// The token endpoint is away for 50 of a token's 60 minutes, beginning at any
// minute of it: no call fails, and none waits.
func TestOutageOfTheTokenEndpoint(t *testing.T) {
	for label, down := range map[string]func(context.Context) error{
		"refuses": func(context.Context) error { return errDown },
		"hangs":   func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		for phase := range 60 {
			t.Run(fmt.Sprint(label, " from minute ", phase), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					began := time.Now()
					from := time.Duration(phase) * time.Minute
					src := &tokens{next: func(ctx context.Context, _ string, n int64) (keyvault.Token, error) {
						// The first token is there whatever the phase.
						if at := time.Since(began); n > 1 && at >= from && at < from+50*time.Minute {
							return keyvault.Token{}, down(ctx)
						}
						return tokenOf(fmt.Sprint("token-", n), time.Hour), nil
					}}
					cache := newCache(t, src, keyvault.TokenCacheConfig{})
					for time.Since(began) < 3*time.Hour {
						before := time.Now()
						got, err := cache.Token(t.Context(), scope, "")
						if err != nil {
							t.Fatalf("after %v: %v", time.Since(began), err)
						}
						if !time.Now().Before(got.Expires) || !time.Now().Equal(before) {
							t.Fatalf("after %v: waited, or got a token that has ended", time.Since(began))
						}
						time.Sleep(10 * time.Second)
					}
					if n := src.asked.Load(); n > 120 {
						t.Errorf("%d requests in three hours", n)
					}
				})
			})
		}
	}
}

func TestRenewalBeginsAtATenth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &tokens{next: numbered(time.Hour)}
		cache := newCache(t, src, keyvault.TokenCacheConfig{})
		if _, err := cache.Token(t.Context(), scope, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6*time.Minute - time.Second)
		synctest.Wait()
		if n := src.asked.Load(); n != 1 {
			t.Errorf("%d requests before a tenth of the life, want 1", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := src.asked.Load(); n != 2 {
			t.Errorf("%d requests after a tenth of the life, want 2", n)
		}
		got, err := cache.Token(t.Context(), scope, "")
		if err != nil || got.Value.Reveal() != "token-2" {
			t.Errorf("the token held is not the newest: %v", err)
		}
	})
}

// A source with a cache of its own gives the same token for a while.
func TestTheSameTokenIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(time.Hour)
		src := &tokens{next: func(_ context.Context, _ string, n int64) (keyvault.Token, error) {
			if time.Now().Before(end) {
				return keyvault.Token{Value: broker.NewValue("same"), Expires: end}, nil
			}
			return tokenOf("next", time.Hour), nil
		}}
		var log bytes.Buffer
		cache := newCache(t, src, keyvault.TokenCacheConfig{Logger: debugLog(&log)})
		for time.Now().Before(end.Add(time.Minute)) {
			if _, err := cache.Token(t.Context(), scope, ""); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
		}
		if n := src.asked.Load(); n > 40 {
			t.Errorf("%d requests in an hour", n)
		}
		if log.Len() > 0 {
			t.Errorf("it was logged: %s", &log)
		}
	})
}

// A refused credential is tried once a minute, however many ask.
func TestRefusedCredentialIsTriedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &tokens{next: func(context.Context, string, int64) (keyvault.Token, error) {
			return keyvault.Token{}, &broker.Error{Code: broker.CodeVaultAuthentication, RetryAfter: time.Minute, Err: errors.New("invalid_client")}
		}}
		cache := newCache(t, src, keyvault.TokenCacheConfig{})
		for range 600 {
			_, err := cache.Token(t.Context(), scope, "")
			wantCode(t, err, broker.CodeVaultAuthentication)
			if after := broker.AsError(err).RetryAfter; after <= 0 || after > time.Minute {
				t.Fatalf("retry after %v", after)
			}
			time.Sleep(time.Second)
		}
		if n := src.asked.Load(); n > 10 {
			t.Errorf("%d requests in ten minutes, want 10", n)
		}
		// Nobody asks: nobody is asked.
		asked := src.asked.Load()
		time.Sleep(time.Hour)
		if src.asked.Load() != asked {
			t.Error("an idle cache goes on asking")
		}
	})
}

func TestEndedTokenRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		src := &tokens{next: func(_ context.Context, _ string, n int64) (keyvault.Token, error) {
			if down.Load() {
				return keyvault.Token{}, errDown
			}
			return tokenOf(fmt.Sprint("token-", n), time.Hour), nil
		}}
		cache := newCache(t, src, keyvault.TokenCacheConfig{})
		if _, err := cache.Token(t.Context(), scope, ""); err != nil {
			t.Fatal(err)
		}
		down.Store(true)
		time.Sleep(2 * time.Hour)
		_, err := cache.Token(t.Context(), scope, "")
		wantCode(t, err, broker.CodeVaultAuthentication)
		down.Store(false)
		time.Sleep(10 * time.Second)
		if _, err := cache.Token(t.Context(), scope, ""); err != nil {
			t.Errorf("ten seconds after the endpoint came back: %v", err)
		}
	})
}

// Callers who come all the time, over the end of a token, wait no longer for
// the endpoint's return than idle ones: a backoff from while the token was valid
// does not reach past it.
func TestEndedTokenRecoversUnderCallers(t *testing.T) {
	for after := range 12 {
		back := time.Hour + time.Duration(after*5)*time.Second
		t.Run(back.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				src := &tokens{next: func(_ context.Context, _ string, n int64) (keyvault.Token, error) {
					if n > 1 && time.Since(began) < back {
						return keyvault.Token{}, errDown
					}
					return tokenOf(fmt.Sprint("token-", n), time.Hour), nil
				}}
				cache := newCache(t, src, keyvault.TokenCacheConfig{})
				for time.Since(began) < back+time.Minute {
					_, err := cache.Token(t.Context(), scope, "")
					if err != nil && time.Since(began) > back+11*time.Second {
						t.Fatalf("%v after the endpoint came back: %v", time.Since(began)-back, err)
					}
					time.Sleep(time.Second)
				}
			})
		})
	}
}

func TestRefusedTokenIsRenewedOnce(t *testing.T) {
	const claims = `{"access_token":{"nbf":{"essential":true}}}`
	for label, claims := range map[string]string{"with claims": claims, "without": ""} {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &tokens{next: func(_ context.Context, asked string, n int64) (keyvault.Token, error) {
					time.Sleep(time.Second)
					if n > 1 && asked != claims {
						t.Errorf("claims %q, want %q", asked, claims)
					}
					return tokenOf(fmt.Sprint("token-", n), time.Hour), nil
				}}
				cache := newCache(t, src, keyvault.TokenCacheConfig{})
				refused, err := cache.Token(t.Context(), scope, "")
				if err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				for i := range 3000 {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * time.Millisecond) // some come late
						got, err := cache.Renew(t.Context(), scope, claims, refused)
						if err != nil || got.Value.Reveal() != "token-2" {
							t.Errorf("not the new token: %v", err)
						}
					})
				}
				wg.Wait()
				if n := src.asked.Load(); n != 2 {
					t.Errorf("%d requests, want 2", n)
				}
				// A vault that refuses every token is no reason to ask for ever more.
				second, err := cache.Token(t.Context(), scope, "")
				if err != nil {
					t.Fatal(err)
				}
				for range 100 {
					if got, err := cache.Renew(t.Context(), scope, claims, second); err != nil || got.Value != second.Value {
						t.Fatalf("%v, %v; want the refused token back", got, err)
					}
				}
				if n := src.asked.Load(); n != 2 {
					t.Errorf("%d requests, want 2", n)
				}
			})
		})
	}
}

func TestClosedCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &tokens{next: func(ctx context.Context, _ string, n int64) (keyvault.Token, error) {
			if n > 1 {
				<-ctx.Done()
				return keyvault.Token{}, ctx.Err()
			}
			return tokenOf("token", time.Hour), nil
		}}
		cache := newCache(t, src, keyvault.TokenCacheConfig{})
		if _, err := cache.Token(t.Context(), scope, ""); err != nil {
			t.Fatal(err)
		}
		for src.asked.Load() < 2 { // until a renewal is under way
			time.Sleep(time.Second)
		}
		began := time.Now()
		cache.Close()
		if time.Since(began) != 0 {
			t.Error("Close waited for the endpoint")
		}
		if _, err := cache.Token(t.Context(), scope, ""); err != nil {
			t.Errorf("a valid token is not served after Close: %v", err)
		}
		time.Sleep(time.Hour)
		_, err := cache.Token(t.Context(), scope, "")
		wantCode(t, err, broker.CodeVaultAuthentication)
		if n := src.asked.Load(); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	})
}

func TestExpiredOnArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newCache(t, &tokens{next: numbered(-time.Minute)}, keyvault.TokenCacheConfig{})
		_, err := cache.Token(t.Context(), scope, "")
		wantCode(t, err, broker.CodeVaultAuthentication)
	})
}

func TestTokenRedactsItself(t *testing.T) {
	if s := fmt.Sprintf("%v %+v %#v", tokenOf(testToken, 0), tokenOf(testToken, 0), tokenOf(testToken, 0)); strings.Contains(s, testToken) {
		t.Errorf("it prints as %s", s)
	}
}
