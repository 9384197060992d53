package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
	"github.com/keyward/keyward/broker/localvault"
)

// vaults are the Key Vault clients of a process, by alias, and what they stand
// on.
type vaults struct {
	clients map[string]*keyvault.Client
	hsm     map[string]bool // which have keys only
	closers []func() error  // in the order of opening
}

func (v *vaults) close() error {
	var errs []error
	for _, c := range slices.Backward(v.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// cached puts a cache over the keys of each vault, and over the secrets of those
// that have any.
func (v *vaults) cached(c cacheConfig) map[string]broker.Vault {
	out := make(map[string]broker.Vault, len(v.clients))
	for alias, client := range v.clients {
		vault := broker.Vault{Keys: broker.NewKeyCache(client, broker.KeyCacheConfig{TTL: c.TTL.Duration, PublicKeys: c.PublicKeys})}
		if !v.hsm[alias] {
			vault.Secrets = broker.NewSecretCache(client, broker.SecretCacheConfig{TTL: c.TTL.Duration})
			vault.Certificates = client
		}
		out[alias] = vault
	}
	return out
}

func (w wiring) openVaults(tel *telemetry) (*vaults, error) {
	v := &vaults{clients: map[string]*keyvault.Client{}, hsm: map[string]bool{}}
	for _, alias := range slices.Sorted(maps.Keys(w.config.Vaults)) {
		if err := w.openVault(v, alias, w.config.Vaults[alias], tel); err != nil {
			return nil, errors.Join(fmt.Errorf("vaults.%s: %w", alias, err), v.close())
		}
	}
	return v, nil
}

// openVault adds one vault: client over token cache over credential. An
// embedded one differs by its transport alone.
func (w wiring) openVault(v *vaults, alias string, c vaultConfig, tel *telemetry) error {
	name, err := broker.VaultName(alias)
	if err != nil {
		return err
	}
	var (
		transport http.RoundTripper
		scope     string // that of the URL
	)
	if c.Local != nil {
		local, err := openEmbedded(name, localvault.Config{
			Path: w.config.file(c.Local.Path), KeyFile: w.config.file(c.Local.KeyFile),
			ManagedHSM: c.Kind == kindManagedHSM, Logger: w.log,
		})
		if err != nil {
			return err
		}
		v.closers = append(v.closers, local.store.Close)
		transport, scope = inProcess{local}, local.audience+"/.default"
		c.URL = local.authority
		c.Credential.ClientSecret = &clientSecretConfig{
			TenantID: localTenant, ClientID: localClientID, Authority: local.authority, secretText: local.secret,
		}
	}
	roots, err := certPool(w.config.file(c.CAFile))
	if err != nil {
		return fmt.Errorf("caFile: %w", err)
	}
	source, err := w.credential(c.URL, c.Credential, roots, transport)
	if err != nil {
		return fmt.Errorf("credential: %w", err)
	}
	tokens := keyvault.NewTokenCache(source, keyvault.TokenCacheConfig{
		Logger: w.log, TracerProvider: tel.traces, MeterProvider: tel.metrics,
	})
	v.closers = append(v.closers, func() error { tokens.Close(); return nil })
	client, err := keyvault.New(keyvault.Config{
		Vault:          name,
		URL:            c.URL,
		ManagedHSM:     c.Kind == kindManagedHSM,
		Tokens:         tokens,
		Scope:          scope,
		APIVersion:     c.APIVersion,
		RootCAs:        roots,
		Transport:      transport,
		Logger:         w.log,
		TracerProvider: tel.traces,
		MeterProvider:  tel.metrics,
	})
	if err != nil {
		return err
	}
	v.closers = append(v.closers, func() error { client.Close(); return nil })
	v.clients[alias], v.hsm[alias] = client, c.Kind == kindManagedHSM
	return nil
}
