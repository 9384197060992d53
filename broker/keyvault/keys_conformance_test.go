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

// localKeys returns the keys of a local vault, served over HTTPS.
func localKeys(t testing.TB, managedHSM, http2 bool) (broker.KeyStore, broker.Name) {
	t.Helper()
	dir := t.TempDir()
	store, err := localvault.Open(localvault.Config{
		Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key"), ManagedHSM: managedHSM,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	vault := vaultName(t)
	url, roots := serveTLS(t, vaulthttp.New(vaulthttp.Config{
		Vault: vault, Keys: store.Keys(), ManagedHSM: managedHSM, Tokens: verifier(testToken),
	}), http2)
	return newClient(t, keyvault.Config{URL: url, RootCAs: roots}), vault
}

func TestKeyStoreOverHTTPS(t *testing.T) {
	for label, http2 := range map[string]bool{"HTTP/2": true, "HTTP/1.1": false} {
		t.Run(label, func(t *testing.T) {
			brokertest.RunKeyStore(t, func(t *testing.T) (broker.KeyStore, broker.Name) {
				t.Helper()
				return localKeys(t, false, http2)
			})
		})
	}
}

func TestKeyStoreOfAManagedHSMOverHTTPS(t *testing.T) {
	newStore := func(t *testing.T) (broker.KeyStore, broker.Name) {
		t.Helper()
		return localKeys(t, true, true)
	}
	brokertest.RunKeyStore(t, newStore)
	brokertest.RunSymmetricKeyStore(t, newStore)
}
