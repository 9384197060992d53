package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

// onlineTimeout bounds what --check --online asks of each vault.
const onlineTimeout = 15 * time.Second

type serveCmd struct {
	logFlags

	Config string `required:"" placeholder:"FILE" help:"The configuration file, YAML."`
	Check  bool   `help:"Only check the configuration, the policies and the files they name; serve nothing."`
	Online bool   `help:"With --check: also get a token for each vault, and list it."`
}

// Help shows a configuration.
func (*serveCmd) Help() string {
	return `A configuration for one vault, with the least that is needed:

  tls:      {certificate: server.pem, key: server-key.pem, clientCa: ca.pem}
  identity: {mtls: {trustDomain: example.org}}
  policy:   {path: policy/}
  audit:    {path: audit.jsonl}
  vaults:
    pay:
      url: https://pay.vault.azure.net
      credential: {managedIdentity: {}}

gRPC is on port 7443, REST on 7444, /livez, /readyz and /metrics on 127.0.0.1:7446. SIGTERM drains.
Traces and metrics go where the OTEL_EXPORTER_OTLP_* variables say.`
}

// Run serves, or checks.
func (c *serveCmd) Run(a *app) error {
	restrictFiles()
	conf, warnings, err := loadConfig(c.Config)
	if err != nil {
		return err
	}
	log := c.logger(a.err)
	for _, w := range warnings {
		log.WarnContext(a.ctx, "configuration", "warning", w)
	}
	w := wiring{config: conf, env: a.env, log: log}
	if c.Check || c.Online {
		return w.check(a, c.Online)
	}
	ln, err := listen(conf)
	if err != nil {
		return err
	}
	return w.serve(a.ctx, ln)
}

// check reads everything that serve would, and changes nothing.
func (w wiring) check(a *app, online bool) error {
	engine, perr := policy.Load(w.config.file(w.config.Policy.Path))
	_, aerr := w.authenticator()
	_, terr := w.tls()
	_, kerr := w.pageTokenKey()
	if err := errors.Join(perr, aerr, terr, kerr, w.checkAudit(), w.checkVaults()); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "configuration: ok\npolicies: %d, ok\n", engine.Len())
	if !online {
		return nil
	}
	tel, err := newTelemetry(a.ctx, func(string) string { return "" }, w.log)
	if err != nil {
		return err
	}
	defer tel.close(w.log)
	for alias, v := range w.config.Vaults {
		if v.Local != nil { // to open it would change it, and a broker may have it open
			fmt.Fprintf(a.out, "vault %s: embedded, not opened\n", alias)
			delete(w.config.Vaults, alias)
		}
	}
	v, err := w.openVaults(tel)
	if err != nil {
		return err
	}
	defer v.close() //nolint:errcheck // nothing was written
	var failed []error
	for _, alias := range slices.Sorted(maps.Keys(v.clients)) {
		if err := listOne(a.ctx, alias, v.clients[alias]); err != nil {
			failed = append(failed, fmt.Errorf("vault %s: %w", alias, err))
			continue
		}
		fmt.Fprintf(a.out, "vault %s: ok\n", alias)
	}
	return errors.Join(failed...)
}

// checkAudit looks whether the audit log could be opened, without making it.
func (w wiring) checkAudit() error {
	folder := filepath.Dir(w.config.file(w.config.Audit.Path))
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return fmt.Errorf("audit.path: there is no folder %s; make it, for this user alone", folder)
	}
	return nil
}

// checkVaults reads the files and variables that the vaults' access names.
func (w wiring) checkVaults() error {
	var errs []error
	for _, alias := range slices.Sorted(maps.Keys(w.config.Vaults)) {
		v := w.config.Vaults[alias]
		if v.Local != nil {
			continue
		}
		roots, err := certPool(w.config.file(v.CAFile))
		if err == nil {
			_, err = w.credential(v.Credential, roots, nil)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("vaults.%s: %w", alias, err))
		}
	}
	return errors.Join(errs...)
}

func listOne(ctx context.Context, alias string, store broker.SecretStore) error {
	ctx, cancel := context.WithTimeout(ctx, onlineTimeout)
	defer cancel()
	name, err := broker.VaultName(alias)
	if err != nil {
		return err
	}
	_, err = store.ListSecrets(ctx, name, broker.Page{Size: 1})
	return err
}
