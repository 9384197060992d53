package keyvault_test

import (
	"context"
	"crypto/x509"
	"os"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/keyvault"
)

// The conformance suite against a vault that runs already: one of Azure's, or
// somebody's emulator of it. It makes some hundred secrets under names of its own
// and leaves them behind, so the vault should be one for tests.
//
//	KEYWARD_TEST_VAULT=https://NAME.vault.azure.net
//	KEYWARD_TEST_VAULT_TOKEN=a bearer token for the vault
//	KEYWARD_TEST_VAULT_CA=a PEM file, if the system does not trust the vault's CA
//	KEYWARD_TEST_VAULT_API_VERSION=an older one, if the vault knows no newer
func TestSecretStoreAtAnyVault(t *testing.T) {
	url := os.Getenv("KEYWARD_TEST_VAULT")
	if url == "" {
		t.Skip("KEYWARD_TEST_VAULT names no vault; see make test-vault")
	}
	config := keyvault.Config{
		URL:        url,
		APIVersion: os.Getenv("KEYWARD_TEST_VAULT_API_VERSION"),
		Tokens: &tokens{next: func(context.Context, string, int64) (keyvault.Token, error) {
			return tokenOf(os.Getenv("KEYWARD_TEST_VAULT_TOKEN"), time.Hour), nil
		}},
	}
	if ca := os.Getenv("KEYWARD_TEST_VAULT_CA"); ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			t.Fatal(err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			t.Fatalf("%s holds no certificate", ca)
		}
	}
	brokertest.RunSecretStore(t, func(t *testing.T) (broker.SecretStore, broker.Name) {
		t.Helper()
		return newClient(t, config), vaultName(t)
	})
}
