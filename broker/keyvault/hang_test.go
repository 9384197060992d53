package keyvault_test

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// drip is a reply's body that never ends: a byte every 100 ms, as long as the
// request may last.
type drip struct{ ctx context.Context } //nolint:containedctx // as net/http's own bodies

func (d drip) Read(p []byte) (int, error) {
	select {
	case <-time.After(100 * time.Millisecond):
		p[0] = ' '
		return 1, nil
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
}

func (drip) Close() error { return nil }

// Whatever hangs, and whoever waits for it together with others who have more
// time: each caller is back within its deadline and 50 ms.
func TestHung(t *testing.T) {
	type fault struct {
		transport exchange
		token     func(ctx context.Context, release <-chan struct{}) (keyvault.Token, error)
	}
	faults := map[string]fault{
		"vault": {transport: func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}},
		"reply's body": {transport: func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(drip{r.Context()}), ContentLength: -1}, nil
		}},
		"token endpoint": {token: func(ctx context.Context, _ <-chan struct{}) (keyvault.Token, error) {
			<-ctx.Done()
			return keyvault.Token{}, ctx.Err()
		}},
		"token endpoint, deaf": {token: func(_ context.Context, release <-chan struct{}) (keyvault.Token, error) {
			<-release
			return keyvault.Token{}, context.Canceled
		}},
		"token's renewal after a refusal, deaf": {
			transport: func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{}, Body: http.NoBody}, nil
			},
			token: func() func(context.Context, <-chan struct{}) (keyvault.Token, error) {
				given := false
				return func(_ context.Context, release <-chan struct{}) (keyvault.Token, error) {
					if !given {
						given = true
						return tokenOf(testToken, time.Hour), nil
					}
					<-release
					return keyvault.Token{}, context.Canceled
				}
			}(),
		},
	}
	acts := map[string]func(ctx context.Context, c *keyvault.Client, under *broker.SecretCache, n broker.Name) error{
		"client, get": func(ctx context.Context, c *keyvault.Client, _ *broker.SecretCache, n broker.Name) error {
			_, err := c.GetSecret(ctx, n)
			return err
		},
		"client, set": func(ctx context.Context, c *keyvault.Client, _ *broker.SecretCache, n broker.Name) error {
			_, err := c.SetSecret(ctx, n, broker.NewSecret{Value: broker.NewValue("v")})
			return err
		},
		"client, warm": func(ctx context.Context, c *keyvault.Client, _ *broker.SecretCache, _ broker.Name) error {
			return c.Warm(ctx)
		},
		"cache, get": func(ctx context.Context, _ *keyvault.Client, under *broker.SecretCache, n broker.Name) error {
			_, err := under.GetSecret(ctx, n)
			return err
		},
		"cache, get anew": func(ctx context.Context, _ *keyvault.Client, under *broker.SecretCache, n broker.Name) error {
			_, err := under.GetSecretWithin(ctx, n, 0)
			return err
		},
		"cache, list": func(ctx context.Context, _ *keyvault.Client, under *broker.SecretCache, n broker.Name) error {
			_, err := under.AllSecrets(ctx, n.Vault())
			return err
		},
		"cache, set": func(ctx context.Context, _ *keyvault.Client, under *broker.SecretCache, n broker.Name) error {
			_, err := under.SetSecret(ctx, n, broker.NewSecret{Value: broker.NewValue("v")})
			return err
		},
	}
	const grace = 50 * time.Millisecond
	for label, f := range faults {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if f.transport == nil {
					f.transport = func(r *http.Request) (*http.Response, error) { return answer(r), nil }
				}
				release := make(chan struct{})
				src := &tokens{}
				if f.token != nil {
					src.next = func(ctx context.Context, _ string, _ int64) (keyvault.Token, error) { return f.token(ctx, release) }
				}
				cache := newCache(t, src, keyvault.TokenCacheConfig{})
				t.Cleanup(func() { close(release) }) // before the cache waits for it
				client := newClient(t, keyvault.Config{URL: "https://pay.vault.azure.net", Tokens: cache, Transport: f.transport})
				under := broker.NewSecretCache(client, broker.SecretCacheConfig{TTL: time.Minute})
				name := secretNamed(t, "db-password")
				var back atomic.Int64
				limits := []time.Duration{30 * time.Second, 100 * time.Millisecond, time.Second, 3 * time.Second}
				// They begin together, and so share what can be shared.
				for act, call := range acts {
					for _, limit := range limits {
						go func() {
							ctx, cancel := context.WithTimeout(t.Context(), limit)
							defer cancel()
							began := time.Now()
							err := call(ctx, client, under, name)
							back.Add(1)
							if took := time.Since(began); took > limit+grace {
								t.Errorf("%s within %v: %v after %v", act, limit, err, took)
							}
						}()
					}
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if got, want := back.Load(), int64(len(acts)*len(limits)); got != want {
					t.Errorf("%d callers of %d are back", got, want)
				}
			})
		})
	}
}
