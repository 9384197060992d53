package keyvault_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/keyvault"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
	"github.com/keyward/keyward/broker/localvault"
)

// The stack that a broker stands on: what a write's reply tells over the wire is
// what a list would, or the cache's lists would be wrong.
func TestSecretStoreUnderTheCache(t *testing.T) {
	dir := t.TempDir()
	store, err := localvault.Open(localvault.Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "key")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	vault := vaultName(t)
	url, roots := serveTLS(t, vaulthttp.New(vaulthttp.Config{Vault: vault, Secrets: store.Secrets(), Tokens: verifier(testToken)}), true)
	client := newClient(t, keyvault.Config{URL: url, RootCAs: roots})
	brokertest.RunSecretStore(t, func(*testing.T) (broker.SecretStore, broker.Name) {
		return broker.NewSecretCache(client, broker.SecretCacheConfig{TTL: time.Hour}), vault
	})
}

// The same of keys, which are used here and there.
func TestKeyStoreUnderTheCache(t *testing.T) {
	for label, managedHSM := range map[string]bool{"Key Vault": false, "Managed HSM": true} {
		t.Run(label, func(t *testing.T) {
			newStore := func(t *testing.T) (broker.KeyStore, broker.Name) {
				t.Helper()
				keys, vault := localKeys(t, managedHSM, true)
				return broker.NewKeyCache(keys, broker.KeyCacheConfig{TTL: time.Hour, PublicKeys: true}), vault
			}
			brokertest.RunKeyStore(t, newStore)
			if managedHSM {
				brokertest.RunSymmetricKeyStore(t, newStore)
			}
		})
	}
}
