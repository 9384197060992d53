package keyvault_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// A call that a vault fails once is tried again where that cannot do more than
// once does: after a throttling it was refused before anything, after a failure
// or a lost connection it may have happened.
func TestKeyRetries(t *testing.T) {
	failures := map[string]struct {
		fail  func() (*http.Response, error)
		needs again
		code  broker.Code
	}{
		"throttled":        {status(429), onceThrottled, broker.CodeVaultThrottled},
		"failed":           {status(500), onceFailed, broker.CodeVaultUnavailable},
		"away":             {status(503), onceFailed, broker.CodeVaultUnavailable},
		"timed out":        {status(504), onceFailed, broker.CodeVaultUnavailable},
		"reset":            {reset, onceFailed, broker.CodeVaultUnavailable},
		"refused":          {status(403), onceFailed + 1, broker.CodeVaultAuthentication},
		"in no way it has": {status(501), onceFailed + 1, broker.CodeVaultUnavailable},
	}
	for label, call := range keyCalls {
		for how, f := range failures {
			t.Run(label+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					calls := 0
					c := newClient(t, keyvault.Config{
						URL: "https://v.vault.azure.net",
						Transport: exchange(func(*http.Request) (*http.Response, error) {
							if calls++; calls == 1 {
								return f.fail()
							}
							return respond(max(call.status, 200), call.reply), nil
						}),
					})
					ctx, cancel := context.WithTimeout(t.Context(), keyTimeout)
					defer cancel()
					_, err := call.act(ctx, c, keyNamed(t, "k"))
					if call.again >= f.needs {
						if err != nil || calls != 2 {
							t.Errorf("%v after %d calls, want none after 2", err, calls)
						}
						return
					}
					if wantCode(t, err, f.code); calls != 1 {
						t.Errorf("%d calls, want 1", calls)
					}
				})
			})
		}
	}
}

// A vault that does not answer has its time, three times for what may be asked
// again: two seconds, or thirty where it makes a key or packs one up.
func TestKeyTimeouts(t *testing.T) {
	long := map[string]bool{"create": true, "import": true, "rotate": true, "restore": true, "backup": true}
	for label, call := range keyCalls {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				c := newClient(t, keyvault.Config{
					URL: "https://v.vault.azure.net",
					Transport: exchange(func(r *http.Request) (*http.Response, error) {
						calls++
						<-r.Context().Done()
						return nil, r.Context().Err()
					}),
				})
				ctx, cancel := context.WithTimeout(t.Context(), keyTimeout)
				defer cancel()
				began := time.Now()
				_, err := call.act(ctx, c, keyNamed(t, "k"))
				wantCode(t, err, broker.CodeVaultUnavailable)
				tries, each := 1, 2*time.Second
				if call.again == onceFailed {
					tries = 3
				}
				if long[label] {
					each = 30 * time.Second
				}
				least := time.Duration(tries) * each
				if took := time.Since(began); calls != tries || took < least || took > least+time.Second {
					t.Errorf("%d calls took %v, want %d of %v", calls, took, tries, each)
				}
			})
		})
	}
}

// A caller that gives up is told so, and asked of the vault no more.
func TestKeyCallerGivesUp(t *testing.T) {
	for label, call := range keyCalls {
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		c := newClient(t, keyvault.Config{
			URL: "https://v.vault.azure.net",
			Transport: exchange(func(r *http.Request) (*http.Response, error) {
				calls++
				cancel()
				return nil, r.Context().Err()
			}),
		})
		if _, err := call.act(ctx, c, keyNamed(t, "k")); !errors.Is(err, context.Canceled) || calls != 1 {
			t.Errorf("%s: %v after %d calls", label, err, calls)
		}
		cancel()
	}
}
