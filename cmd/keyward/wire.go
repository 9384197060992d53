package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/service"
	"github.com/keyward/keyward/service/authn"
)

// wiring is what a broker process is made from, beside its configuration.
type wiring struct {
	config *config
	file   string           // where config was read, if it was
	hangUp <-chan os.Signal // has the file read at once
	env    func(string) string
	log    *slog.Logger
	// reflection: gRPC reflection, in keyward dev.
	reflection bool
	// ready is called once everything serves.
	ready func()
}

// listeners are where a broker process is reached.
type listeners struct{ grpc, http, admin net.Listener }

func listen(c *config) (listeners, error) {
	var l listeners
	var errs []error
	open := func(what, address string) net.Listener {
		ln, err := listenTCP(what, address)
		if err != nil {
			errs = append(errs, err)
		}
		return ln
	}
	l.grpc = open("grpc", c.GRPC.Address)
	l.http = open("http", c.HTTP.Address)
	l.admin = open("admin", c.Admin.Address)
	if len(errs) > 0 {
		l.close()
		return listeners{}, errors.Join(errs...)
	}
	return l, nil
}

// listenTCP listens, for a part of the process that its error names.
func listenTCP(what, address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: %s is in use by another process; stop that one, or choose another address", what, address)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return ln, nil
}

func (l listeners) close() {
	for _, ln := range []net.Listener{l.grpc, l.http, l.admin} {
		if ln != nil {
			_ = ln.Close()
		}
	}
}

// serve builds the process from the outside in, serves until ctx ends, and
// takes it down from the outside in: calls drain before what they stand on is
// closed.
func (w wiring) serve(ctx context.Context, ln listeners) (err error) {
	defer ln.close()
	tel, err := newTelemetry(ctx, w.env, w.log)
	if err != nil {
		return err
	}
	defer tel.close(w.log)

	auditLog, err := w.openAudit(ctx, tel)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, auditLog.Close()) }()
	policies, err := w.openPolicies(ctx, auditLog, tel)
	if err != nil {
		return err
	}
	defer inBackground(ctx, policies.Run)()

	vaults, err := w.openVaults(ctx, tel)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, vaults.close()) }()
	vaults.warm(ctx)
	core, err := broker.New(broker.Config{
		Vaults:         served(vaults.open),
		Authorizer:     policies,
		Auditor:        auditLog,
		Logger:         w.log,
		TracerProvider: tel.traces,
		MeterProvider:  tel.metrics,
	})
	if err != nil {
		return err
	}
	authenticator, err := w.authenticator()
	if err != nil {
		return err
	}
	files, err := w.openTLS(tel.metrics)
	if err != nil {
		return err
	}
	defer inBackground(ctx, files.run)()
	pageKey, err := w.pageTokenKey()
	if err != nil {
		return err
	}
	server, err := service.New(service.Config{
		Broker:         core,
		Authenticator:  authenticator,
		Limits:         w.config.Limits.limits(),
		TLS:            files.config(),
		PageTokenKey:   pageKey,
		Reflection:     w.reflection,
		DrainNotice:    w.config.Drain.Notice.Duration,
		DrainTimeout:   w.config.Drain.Timeout.Duration,
		Logger:         w.log,
		TracerProvider: tel.traces,
		MeterProvider:  tel.metrics,
	})
	if err != nil {
		return err
	}
	conf, err := w.watchConfig(server, core, vaults, policies)
	if err != nil {
		return err
	}
	defer inBackground(ctx, conf.run)()
	checks := []service.Check{
		{Name: "serving", Ready: func(context.Context) error { return server.Ready() }},
		{Name: "audit", Ready: func(context.Context) error { return auditLog.Err() }},
		{
			Name: "policy", Advisory: true, // the last good set decides
			Ready: func(context.Context) error { return policies.Err() },
			Note: func() string {
				return fmt.Sprintf("%d policies, set %.12s", policies.Engine().Len(), policies.Engine().Hash())
			},
		},
	}
	checks = append(checks, conf.checks()...)
	if err := measureReady(tel.metrics, checks); err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	return w.run(ctx, ln, server, checks, tel)
}

// inBackground runs until stop, which waits for it. It outlasts ctx: what keeps
// files current goes on while calls drain.
func inBackground(ctx context.Context, run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		run(ctx)
		close(done)
	}()
	return func() { cancel(); <-done }
}

// run serves the API and the admin port. The admin port outlasts the drain, so
// that a balancer can see it.
func (w wiring) run(ctx context.Context, ln listeners, server *service.Server, checks []service.Check, tel *telemetry) error {
	admin := &http.Server{
		Handler: service.Admin(service.AdminConfig{
			Checks:  checks,
			Metrics: tel.page,
			Logger:  w.log,
		}),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	adminDone := make(chan error, 1)
	go func() {
		err := admin.Serve(ln.admin)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		} else {
			cancel(err)
		}
		adminDone <- err
	}()
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, ln.grpc, ln.http) }()

	w.log.InfoContext(ctx, "serving", "grpc", ln.grpc.Addr().String(), "http", ln.http.Addr().String(), "admin", ln.admin.Addr().String())
	if w.ready != nil {
		w.ready()
	}
	err := <-served
	_ = admin.Close()
	return errors.Join(err, <-adminDone)
}

// authenticator joins the ways to say who is calling: a bearer token before a
// client certificate.
func (w wiring) authenticator() (authn.Authenticator, error) {
	var chain authn.Chain
	if len(w.config.Identity.JWT) > 0 {
		issuers, err := w.issuers()
		if err != nil {
			return nil, err
		}
		jwt, err := authn.NewJWT(authn.JWTConfig{Issuers: issuers, Logger: w.log})
		if err != nil {
			return nil, err
		}
		chain = append(chain, jwt)
	}
	if m := w.config.Identity.MTLS; m != nil {
		mtls, err := authn.NewMTLS(authn.MTLSConfig{
			TrustDomain: m.TrustDomain,
			DNS:         authn.DNSConfig{Name: m.DNS.Name, Domains: m.DNS.Domains},
		})
		if err != nil {
			return nil, fmt.Errorf("identity.mtls: %w", err)
		}
		chain = append(chain, mtls)
	}
	return chain, nil
}

func (w wiring) pageTokenKey() ([]byte, error) {
	if w.config.PageTokens.KeyFile == "" {
		return nil, nil
	}
	key, err := os.ReadFile(w.config.file(w.config.PageTokens.KeyFile))
	if err != nil {
		return nil, fmt.Errorf("pageTokens.keyFile: %w", err)
	}
	if len(key) < 32 {
		return nil, fmt.Errorf("pageTokens.keyFile: %d bytes, want at least 32 random ones; make it with: head -c 32 /dev/urandom", len(key))
	}
	return key, nil
}
