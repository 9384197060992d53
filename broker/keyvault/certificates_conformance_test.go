package keyvault_test

import (
	"path/filepath"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/keyvault"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
	"github.com/keyward/keyward/broker/localvault"
)

func TestCertificateStoreOverHTTPS(t *testing.T) {
	for label, http2 := range map[string]bool{"HTTP/2": true, "HTTP/1.1": false} {
		t.Run(label, func(t *testing.T) {
			brokertest.RunCertificateStore(t, func(t *testing.T) (broker.Vault, broker.Name) {
				t.Helper()
				dir := t.TempDir()
				store, err := localvault.Open(localvault.Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = store.Close() })
				vault := vaultName(t)
				url, roots := serveTLS(t, vaulthttp.New(vaulthttp.Config{
					Vault: vault, Secrets: store.Secrets(), Keys: store.Keys(), Certificates: store.Certificates(), Tokens: verifier(testToken),
				}), http2)
				c := newClient(t, keyvault.Config{URL: url, RootCAs: roots})
				return broker.Vault{Secrets: c, Keys: c, Certificates: c}, vault
			})
		})
	}
}
