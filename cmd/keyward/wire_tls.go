package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// tlsEvery is how often the files are read. A change takes effect with the
// second look that finds it, so that a file half written never does.
const tlsEvery = time.Second

// tlsFiles are the server's certificate, its key and the clients' CA as they are
// on the disk. What is wrong there takes no effect.
type tlsFiles struct {
	certificate, key, clientCA string

	log     *slog.Logger
	reloads metric.Int64Counter
	current atomic.Pointer[tls.Config]

	// Of run alone: what the last look saw, and what was last made of it.
	seen, judged [sha256.Size]byte
}

// openTLS reads the files. They stay as they are until run.
func (w wiring) openTLS(mp metric.MeterProvider) (*tlsFiles, error) {
	f := &tlsFiles{
		certificate: w.config.file(w.config.TLS.Certificate),
		key:         w.config.file(w.config.TLS.Key),
		clientCA:    w.config.file(w.config.TLS.ClientCA),
		log:         w.log,
	}
	f.seen = f.digest()
	f.judged = f.seen
	c, err := f.read()
	if err != nil {
		return nil, err
	}
	f.current.Store(c)
	return f, f.measure(mp.Meter("github.com/keyward/keyward/cmd/keyward"))
}

func (f *tlsFiles) measure(m metric.Meter) error {
	var err1, err2 error
	f.reloads, err1 = m.Int64Counter("keyward.tls.reloads",
		metric.WithDescription("Changes of the TLS files, by result: ok, or refused."))
	_, err2 = m.Int64ObservableGauge("keyward.tls.certificate.expiry", metric.WithUnit("s"),
		metric.WithDescription("When the server's certificate ends, in Unix time."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(f.current.Load().Certificates[0].Leaf.NotAfter.Unix())
			return nil
		}))
	return errors.Join(err1, err2)
}

// config is for a server that takes each connection by the files as they are
// then.
func (f *tlsFiles) config() *tls.Config {
	c := f.current.Load().Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return f.current.Load(), nil }
	return c
}

// run looks at the files until ctx ends.
func (f *tlsFiles) run(ctx context.Context) {
	tick := time.NewTicker(tlsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.look(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (f *tlsFiles) look(ctx context.Context) {
	now := f.digest()
	quiet := now == f.seen
	f.seen = now
	if !quiet || now == f.judged {
		return
	}
	c, err := f.read()
	if f.digest() != now {
		return // it changes while we look
	}
	f.judged = now
	result := "ok"
	if err != nil {
		result = "refused"
		f.log.ErrorContext(ctx, "changed TLS files are refused; those before stay in use", "error", err)
	} else {
		f.current.Store(c)
		f.log.InfoContext(ctx, "TLS files were reloaded", "expires", c.Certificates[0].Leaf.NotAfter)
	}
	f.reloads.Add(ctx, 1, metric.WithAttributes(attribute.String("result", result)))
}

// digest is a hash of the files' bytes.
func (f *tlsFiles) digest() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, path := range []string{f.certificate, f.key, f.clientCA} {
		if path == "" {
			continue
		}
		text, err := os.ReadFile(path)
		_, _ = fmt.Fprintf(h, "%d:%v:", len(text), err)
		_, _ = h.Write(text)
	}
	h.Sum(sum[:0])
	return sum
}

func (f *tlsFiles) read() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(f.certificate, f.key)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	clients, err := certPool(f.clientCA)
	if err != nil {
		return nil, fmt.Errorf("tls.clientCa: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: clients, MinVersion: tls.VersionTLS13}, nil
}

// certPool reads a PEM file of certificates; no file is no pool.
func certPool(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("no PEM certificate in %s", path)
	}
	return pool, nil
}
