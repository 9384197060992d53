package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"

	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"github.com/keyward/keyward/broker/policy"
)

type serveCmd struct {
	logFlags

	Config string `required:"" placeholder:"FILE" help:"The configuration file, YAML."`
	Check  bool   `help:"Only check the configuration, the policies and the files they name; serve nothing."`
	Online bool   `help:"With --check: also get a token for each vault, list it, and name the permission that is missing."`
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

gRPC is on port 7443, REST on 7444, /livez, /readyz and /metrics on 127.0.0.1:7446. SIGTERM drains. The configuration is read again when
it changes, and on SIGHUP: limits, identity, cache and vaults take effect at once, the rest with the next start; what is wrong takes none.
Traces and metrics go where the OTEL_EXPORTER_OTLP_* variables say.`
}

// Run serves, or checks.
func (c *serveCmd) Run(a *app) error {
	if err := harden(); err != nil {
		return err
	}
	conf, warnings, err := loadConfig(c.Config)
	if err != nil {
		return err
	}
	log := c.logger(a.err)
	for _, w := range warnings {
		log.WarnContext(a.ctx, "configuration", "warning", w)
	}
	w := wiring{config: conf, file: c.Config, env: a.env, log: log}
	if c.Check || c.Online {
		return w.check(a, c.Online)
	}
	limitMemory(a.ctx, a.env, log)
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)
	w.hangUp = hangUp
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
	_, terr := w.openTLS(metricnoop.NewMeterProvider())
	_, kerr := w.pageTokenKey()
	if err := errors.Join(perr, aerr, terr, kerr, w.checkAudit(), w.checkVaults()); err != nil {
		return err
	}
	w.warnOfVaults(a.ctx, engine, nil)
	fmt.Fprintf(a.out, "configuration: ok\npolicies: %d, ok\n", engine.Len())
	if !online {
		return nil
	}
	return w.checkOnline(a, engine)
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
			_, err = w.credential(v.URL, v.Credential, roots, nil)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("vaults.%s: %w", alias, err))
		}
	}
	return errors.Join(errs...)
}
