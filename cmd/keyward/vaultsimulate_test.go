package main

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

// What a vault does at times, short of refusing, is nothing that whoever calls
// the broker's client can tell.
func TestClientOfSimulatedVault(t *testing.T) {
	takesLong(t)
	alias, err := broker.VaultName("dev")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	local, err := openLocalVault(alias, localVaultConfig{
		store:     localvault.Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")},
		authority: embeddedAuthority,
		secret:    broker.NewValue("s3cret"),
		options: vaultOptions{retentionDays: 7, simulate: simulation{
			Simulation: vaulthttp.Simulation{EmptyPages: true, Claims: true, Latency: time.Millisecond},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.store.Close() })
	source, err := keyvault.ClientSecret(keyvault.ClientSecretConfig{
		TenantID: localTenant, ClientID: localClientID, Secret: local.secret, Authority: local.authority, Transport: inProcess{local},
	})
	if err != nil {
		t.Fatal(err)
	}
	tokens := keyvault.NewTokenCache(source, keyvault.TokenCacheConfig{})
	t.Cleanup(tokens.Close)
	client, err := keyvault.New(keyvault.Config{Vault: alias, URL: local.authority, Transport: inProcess{local}, Tokens: tokens})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	brokertest.RunSecretStore(t, func(*testing.T) (broker.SecretStore, broker.Name) { return client, alias })
	brokertest.RunKeyStore(t, func(*testing.T) (broker.KeyStore, broker.Name) { return client, alias })
}
