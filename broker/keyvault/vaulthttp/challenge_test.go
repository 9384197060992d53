package vaulthttp_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
)

func TestChallengeNamesTheDomainThatWasAsked(t *testing.T) {
	vault := vaulthttp.New(vaulthttp.Config{Authority: "https://login.example/tenant-1", Resource: "https://vault.azure.net"})
	for host, resource := range map[string]string{
		"127.0.0.1:7445":                   "https://vault.azure.net",
		"localhost:7445":                   "https://vault.azure.net",
		"dev.vault.azure.net":              "https://vault.azure.net",
		"vault.localhost:7445":             "https://vault.azure.net",
		"evilvault.localhost":              "https://vault.azure.net",
		"dev.vault.localhost.example:7445": "https://vault.azure.net",
		"[::1]:7445":                       "https://vault.azure.net",
		"dev.vault.localhost:7445":         "https://vault.localhost:7445",
		"DEV.Vault.LocalHost:7445":         "https://vault.localhost:7445",
		"dev.vault.localhost":              "https://vault.localhost",
	} {
		t.Run(host, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "https://vault/secrets?api-version=7.6", nil)
			r.Host = host
			w := httptest.NewRecorder()
			vault.ServeHTTP(w, r)
			want := `Bearer authorization="https://login.example/tenant-1", resource="` + resource + `"`
			if got := w.Header().Get("Www-Authenticate"); w.Code != http.StatusUnauthorized || got != want {
				t.Errorf("%d, %s; want 401, %s", w.Code, got, want)
			}
		})
	}
}
