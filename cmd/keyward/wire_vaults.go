package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
	"github.com/keyward/keyward/broker/localvault"
)

// vaults are those of a process, by alias, as the configuration in effect has them.
// But for what closes them, one goroutine at a time uses them.
type vaults struct {
	wiring
	tel  *telemetry
	open map[string]*openVault

	// retired is closed once those that were taken away are closed. They wait for the
	// calls in them, but not behind closing.
	retired <-chan struct{}
	closing chan struct{}
}

// openVault is one vault's client, and the caches over it.
type openVault struct {
	*vaultClient
	kept   cacheConfig // what the caches were made by
	served broker.Vault
	caches []interface{ Close() }
}

// vaultClient is a Key Vault client, and what it stands on.
type vaultClient struct {
	*keyvault.Client
	config  vaultConfig    // what it was made by
	closers []func() error // in the order of opening
}

func (c *vaultClient) close() error {
	var errs []error
	for _, closer := range slices.Backward(c.closers) {
		errs = append(errs, closer())
	}
	return errors.Join(errs...)
}

// openVaults opens those of the configuration.
func (w wiring) openVaults(ctx context.Context, tel *telemetry) (*vaults, error) {
	none := make(chan struct{})
	close(none)
	v := &vaults{wiring: w, tel: tel, retired: none, closing: make(chan struct{})}
	var err error
	v.open, err = v.opened(ctx, w.config)
	return v, err
}

// opened returns the vaults that c asks for: those that are open already as they
// are, and others. Nothing is opened if it fails.
func (v *vaults) opened(ctx context.Context, c *config) (map[string]*openVault, error) {
	all := make(map[string]*openVault, len(c.Vaults))
	for _, alias := range slices.Sorted(maps.Keys(c.Vaults)) {
		o, err := v.vault(ctx, alias, c)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("vaults.%s: %w", alias, err), closeBut(all, v.open))
		}
		all[alias] = o
	}
	return all, nil
}

func (v *vaults) vault(ctx context.Context, alias string, c *config) (*openVault, error) {
	want := c.Vaults[alias]
	kept := cacheConfig{Kept: want.Cache.or(c.Cache.Kept), PublicKeys: c.Cache.PublicKeys}
	want.Cache = keptConfig{} // of no concern to the client
	o := v.open[alias]
	switch {
	case o == nil || !reflect.DeepEqual(o.config, want):
		client, err := v.client(ctx, alias, want)
		if err != nil {
			return nil, err
		}
		return v.cached(alias, client, kept), nil
	case !reflect.DeepEqual(o.kept, kept):
		return v.cached(alias, o.vaultClient, kept), nil
	}
	return o, nil
}

// client opens one vault: client over token cache over credential. An embedded
// one differs by its transport alone.
func (v *vaults) client(ctx context.Context, alias string, c vaultConfig) (_ *vaultClient, err error) {
	name, err := broker.VaultName(alias)
	if err != nil {
		return nil, err
	}
	made := &vaultClient{config: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, made.close())
		}
	}()
	var (
		transport http.RoundTripper
		scope     string // that of the URL
	)
	if c.Local != nil {
		local, err := v.embedded(ctx, name, c)
		if err != nil {
			return nil, err
		}
		made.closers = append(made.closers, local.store.Close)
		transport, scope = inProcess{local}, local.audience+"/.default"
		c.URL = local.authority
		c.Credential.ClientSecret = &clientSecretConfig{
			TenantID: localTenant, ClientID: localClientID, Authority: local.authority, secretText: local.secret,
		}
	}
	roots, err := certPool(v.config.file(c.CAFile))
	if err != nil {
		return nil, fmt.Errorf("caFile: %w", err)
	}
	source, err := v.credential(c.URL, c.Credential, roots, transport)
	if err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	tokens := keyvault.NewTokenCache(source, keyvault.TokenCacheConfig{
		Logger: v.log, TracerProvider: v.tel.traces, MeterProvider: v.tel.metrics,
	})
	made.closers = append(made.closers, func() error { tokens.Close(); return nil })
	made.Client, err = keyvault.New(keyvault.Config{
		Vault:          name,
		URL:            c.URL,
		ManagedHSM:     c.Kind == kindManagedHSM,
		Tokens:         tokens,
		Scope:          scope,
		APIVersion:     c.APIVersion,
		Budget:         c.Limits.budget(),
		RootCAs:        roots,
		Transport:      transport,
		Logger:         v.log,
		TracerProvider: v.tel.traces,
		MeterProvider:  v.tel.metrics,
	})
	if err != nil {
		return nil, err
	}
	made.closers = append(made.closers, func() error { made.Close(); return nil })
	return made, nil
}

// embedded opens a vault in this process, unless it is open: one that was taken
// away a moment ago is waited for.
func (v *vaults) embedded(ctx context.Context, name broker.Name, c vaultConfig) (*localVault, error) {
	path := v.config.file(c.Local.Path)
	for alias, o := range v.open {
		if l := o.config.Local; l != nil && filepath.Clean(v.config.file(l.Path)) == filepath.Clean(path) {
			return nil, fmt.Errorf("local: %s is in use as the vault %q; it takes the next start to use it otherwise", c.Local.Path, alias)
		}
	}
	select {
	case <-v.retired:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return openEmbedded(name, localvault.Config{
		Path: path, KeyFile: v.config.file(c.Local.KeyFile),
		ManagedHSM: c.Kind == kindManagedHSM, Logger: v.log,
	})
}

// warm connects to the client's vault, until it is closed. A vault that is down
// delays nobody: it is said, and the calls to it find out for themselves.
func (c *vaultClient) warm(ctx context.Context, alias string, log *slog.Logger) {
	if c.config.Local != nil {
		return // in this process
	}
	stop := inBackground(ctx, func(ctx context.Context) {
		if err := c.Warm(ctx); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "the vault could not be reached ahead of the first call", "vault", alias, "error", err)
		}
	})
	c.closers = append(c.closers, func() error { stop(); return nil })
}

// warm connects to all vaults at once.
func (v *vaults) warm(ctx context.Context) {
	for alias, o := range v.open {
		o.warm(ctx, alias, v.log)
	}
}

// served are the stores of all.
func served(all map[string]*openVault) map[string]broker.Vault {
	out := make(map[string]broker.Vault, len(all))
	for alias, o := range all {
		out[alias] = o.served
	}
	return out
}

// use puts what opened has returned in the place of those before, which are closed
// once the calls in them have ended.
func (v *vaults) use(ctx context.Context, core *broker.Broker, next map[string]*openVault) error {
	released, err := core.SetVaults(served(next))
	if err != nil {
		return errors.Join(err, closeBut(next, v.open))
	}
	before, earlier, retired := v.open, v.retired, make(chan struct{})
	v.open, v.retired = next, retired
	for alias, o := range next {
		if b := before[alias]; b == nil || b.vaultClient != o.vaultClient {
			o.warm(ctx, alias, v.log)
		}
	}
	go func() {
		defer close(retired)
		<-earlier
		select {
		case <-released:
		case <-v.closing:
		}
		if err := closeBut(before, next); err != nil {
			v.log.WarnContext(ctx, "a vault that was taken away could not be closed", "error", err)
		}
	}()
	return nil
}

// closeBut closes what of all is not used by others too.
func closeBut(all, others map[string]*openVault) error {
	var errs []error
	for alias, o := range all {
		other := others[alias]
		if other == o {
			continue
		}
		for _, cache := range o.caches {
			cache.Close()
		}
		if other == nil || other.vaultClient != o.vaultClient {
			errs = append(errs, o.close())
		}
	}
	return errors.Join(errs...)
}

func (v *vaults) close() error {
	close(v.closing)
	<-v.retired
	return closeBut(v.open, nil)
}
