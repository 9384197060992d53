package keyvault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
)

// tokenFunc is a source that tells its scopes apart.
type tokenFunc func(scope string) (Token, error)

func (f tokenFunc) Token(_ context.Context, scope, _ string) (Token, error) { return f(scope) }

func leased(t *testing.T, f tokenFunc) *TokenCache {
	t.Helper()
	c := NewTokenCache(f, TokenCacheConfig{})
	t.Cleanup(c.Close)
	return c
}

// What failed at one moment is not tried again at one moment: replicas that lost
// the endpoint together would come back as a herd.
func TestBackoffIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := leased(t, func(string) (Token, error) { return Token{}, errors.New("down") })
		for _, most := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			waits := make(map[time.Duration]bool)
			for i := range 20 {
				_, err := c.Token(t.Context(), fmt.Sprint("scope-", i), "")
				wait := broker.AsError(err).RetryAfter
				if wait < most/2 || wait > most {
					t.Errorf("a wait of %v, want %v to %v", wait, most/2, most)
				}
				waits[wait] = true
			}
			if len(waits) < 2 {
				t.Errorf("20 leases wait for the same %v", waits)
			}
			time.Sleep(most)
		}
	})
}

// Nor are tokens that were got together renewed together.
func TestRenewalIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		began, asked := time.Now(), make(map[string]int)
		renewed := make(map[time.Duration]bool)
		c := leased(t, func(scope string) (Token, error) {
			mu.Lock()
			defer mu.Unlock()
			if asked[scope]++; asked[scope] == 2 {
				renewed[time.Since(began)] = true
			}
			return Token{Value: broker.NewValue(fmt.Sprint(scope, asked[scope])), Expires: time.Now().Add(time.Hour)}, nil
		})
		for i := range 20 {
			if _, err := c.Token(t.Context(), fmt.Sprint("scope-", i), ""); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(7 * time.Minute) // past a tenth of the life and its spread
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(renewed) < 2 {
			t.Errorf("20 tokens were renewed at %v", renewed)
		}
		for at := range renewed {
			if at < 6*time.Minute || at > 6*time.Minute+36*time.Second {
				t.Errorf("renewed after %v, want a tenth of an hour and up to a tenth of that", at)
			}
		}
	})
}

// A tenth of a short life is no time to renew in: one second is the least.
func TestShortLivedTokensAreNoFlood(t *testing.T) {
	for _, life := range []time.Duration{time.Second, 3 * time.Second, 9 * time.Second} {
		t.Run(life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				asked := 0
				c := leased(t, func(string) (Token, error) {
					mu.Lock()
					defer mu.Unlock()
					asked++
					return Token{Value: broker.NewValue(fmt.Sprint(asked)), Expires: time.Now().Add(life)}, nil
				})
				for range 600 { // a minute of callers
					if _, err := c.Token(t.Context(), "scope", ""); err != nil {
						t.Fatal(err)
					}
					time.Sleep(100 * time.Millisecond)
				}
				mu.Lock()
				defer mu.Unlock()
				if asked < 2 || asked > 61 {
					t.Errorf("%d requests in a minute, want about 60", asked)
				}
			})
		})
	}
}

// A token can end between the look at its end and the lease. It is given out,
// and nothing is scheduled; the next caller asks again.
func TestATokenThatEndedByAHair(t *testing.T) {
	for _, life := range []time.Duration{-time.Nanosecond, -100 * time.Nanosecond, -time.Second, 0, time.Nanosecond} {
		l := leased(t, func(string) (Token, error) { return Token{}, errors.New("down") }).lease("scope")
		func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.success(Token{Value: broker.NewValue("t"), Expires: time.Now().Add(life)})
			if l.renewal != nil {
				t.Errorf("a life of %v: a renewal is scheduled", life)
			}
		}()
	}
}
