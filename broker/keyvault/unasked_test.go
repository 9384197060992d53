package keyvault_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// An error tells whether the vault refused, or was not asked for want of a token:
// a cache serves old answers only in the second case.
func TestErrorsTellWhetherTheVaultWasAsked(t *testing.T) {
	down := errors.New("the token endpoint cannot be reached")
	good := tokenOf(testToken, time.Hour)
	for label, tt := range map[string]struct {
		status  int // of the vault
		token   func(n int64) (keyvault.Token, error)
		unasked bool
	}{
		"no token": {200, func(int64) (keyvault.Token, error) { return keyvault.Token{}, down }, true},
		"403":      {403, func(int64) (keyvault.Token, error) { return good, nil }, false},
		"401":      {401, func(int64) (keyvault.Token, error) { return good, nil }, false},
		"401, and no other token": {401, func(n int64) (keyvault.Token, error) {
			if n > 1 {
				return keyvault.Token{}, down
			}
			return good, nil
		}, false},
	} {
		t.Run(label, func(t *testing.T) {
			calls := 0
			c := newClient(t, keyvault.Config{
				URL:    "https://pay.vault.azure.net",
				Tokens: &tokens{next: func(_ context.Context, _ string, n int64) (keyvault.Token, error) { return tt.token(n) }},
				Transport: exchange(func(*http.Request) (*http.Response, error) {
					calls++
					return respond(tt.status, `{"error":{"code":"Forbidden","message":"no"}}`), nil
				}),
			})
			_, err := c.GetSecret(t.Context(), secretNamed(t, "db"))
			wantCode(t, err, broker.CodeVaultAuthentication)
			if e := broker.AsError(err); e.Unasked != tt.unasked || (calls == 0) != tt.unasked {
				t.Errorf("unasked %v after %d calls, want %v", e.Unasked, calls, tt.unasked)
			}
		})
	}
}
