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

// Both ends of the contract, over HTTPS and a local vault: the same suite that
// the vault itself passes.
func TestKeyStoreConformance(t *testing.T) {
	open := func(hsm bool) func(t *testing.T) (broker.KeyStore, broker.Name) {
		return func(t *testing.T) (broker.KeyStore, broker.Name) {
			dir := t.TempDir()
			vault, err := localvault.Open(localvault.Config{
				Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key"), ManagedHSM: hsm,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = vault.Close() })
			url, roots := serveTLS(t, vaulthttp.New(vaulthttp.Config{
				Vault: vaultName(t), Keys: vault.Keys(), Tokens: verifier(testToken),
				Authority: "https://login.local/tenant", Resource: "https://vault.local",
			}), true)
			return newClient(t, keyvault.Config{URL: url, RootCAs: roots}), vaultName(t)
		}
	}
	t.Run("vault", func(t *testing.T) { brokertest.RunKeyStore(t, open(false)) })
	t.Run("managed HSM", func(t *testing.T) { brokertest.RunSymmetricKeyStore(t, open(true)) })
}
