// Package keyvault speaks the REST contract of Azure Key Vault's data plane.
//
// A Client is a broker.SecretStore, a broker.KeyStore and a broker.CertificateStore
// over one vault: Azure's, a Managed HSM, which has keys only, or whatever speaks
// the same contract, such as a handler of package vaulthttp. It gets its tokens
// from a TokenSource, best a TokenCache over one of the credentials here:
//
//	secret, err := keyvault.ClientSecret(keyvault.ClientSecretConfig{…})
//	tokens := keyvault.NewTokenCache(secret, keyvault.TokenCacheConfig{})
//	defer tokens.Close()
//	vault, err := keyvault.New(keyvault.Config{Vault: pay, URL: "https://pay.vault.azure.net", Tokens: tokens})
//	defer vault.Close()
//
// The client trusts a vault with nothing but its secrets. It follows no
// redirect, takes neither scope nor tenant from a challenge, reads no more of a
// reply than a legal one can have, and takes a reply that is not what was asked
// for as a failure, never as a result.
package keyvault

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/keyward/keyward/broker"
)

const (
	maxReplyLen = 256 << 10
	maxListLen  = 1 << 20
)

// Config says which vault, and how to get in.
type Config struct {
	// Vault is the alias, for spans, metrics and the log.
	Vault broker.Name
	// URL is the vault's: https, a host, perhaps a port, and nothing else.
	URL string
	// Tokens is required.
	Tokens TokenSource
	// ManagedHSM: URL is that of a Managed HSM. It has keys only.
	ManagedHSM bool
	// Scope is what tokens are asked for. Empty means that of the cloud which
	// URL's host belongs to, and the public one's where it belongs to none.
	Scope string
	// APIVersion is DefaultAPIVersion if empty.
	APIVersion string
	// Budget bounds how much the vault is asked for.
	Budget Budget
	// RootCAs verify the vault; nil means the system's.
	RootCAs *x509.CertPool
	// Transport replaces the pooled one, for a vault in this process. RootCAs
	// has no effect then.
	Transport http.RoundTripper
	// Logger, TracerProvider and MeterProvider may be nil.
	Logger         *slog.Logger
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
}

// Client is one vault's secrets, keys and certificates, over REST. All methods may be called
// concurrently.
//
// A call is tried again only where that is harmless and may help: a read, a
// backup or an update after a throttling, a failure of the vault or of the
// connection; a delete, a recovery or a purge after a throttling only, because
// it may have happened; a set or a restore never, nor what makes a key or a
// certificate or a version of one. A use of a key changes nothing, and is as a read. Every wait fits the caller's
// deadline, or the call fails at once and says in RetryAfter how long it would
// have been.
//
// Calls pass a gate, which holds them to the Budget, and back while the vault
// throttles or fails: the interactive first (broker.Errand), and principals in
// turn. Who cannot pass before its deadline is told CodeVaultThrottled or
// CodeVaultUnavailable at once.
//
// A delete and a recovery settle after Key Vault has answered. Until then the
// Client answers CodeSecretInTransition, CodeKeyInTransition or
// CodeCertificateInTransition where the vault has found nothing, for the changes
// that it made itself; what others change, it does not know.
type Client struct {
	origin     url.URL
	scope      string
	apiVersion string
	managedHSM bool
	tokens     TokenSource
	http       *http.Client
	gate       *gate
	watched    metric.Registration // of the gate
	moves      *moves
	log        *slog.Logger
	telemetry  *telemetry
}

var (
	_ broker.SecretStore = (*Client)(nil)
	_ broker.KeyStore    = (*Client)(nil)

	_ broker.CertificateStore = (*Client)(nil)
)

// New returns a Client. It does not call the vault.
func New(c Config) (*Client, error) {
	origin, err := parseOrigin(c.URL)
	if err != nil {
		return nil, err
	}
	if c.Tokens == nil {
		return nil, errors.New("keyvault: a token source is required")
	}
	if c.Scope == "" {
		c.Scope = scopeFor(origin.Hostname(), c.ManagedHSM)
	}
	if c.APIVersion == "" {
		c.APIVersion = DefaultAPIVersion
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.TracerProvider == nil {
		c.TracerProvider = tracenoop.NewTracerProvider()
	}
	if c.MeterProvider == nil {
		c.MeterProvider = metricnoop.NewMeterProvider()
	}
	tel, err := newTelemetry(c.Vault, c.TracerProvider, c.MeterProvider)
	if err != nil {
		return nil, fmt.Errorf("keyvault: %w", err)
	}
	if c.Transport == nil {
		connections, err := newPoolTelemetry(tel, c.MeterProvider)
		if err != nil {
			return nil, fmt.Errorf("keyvault: %w", err)
		}
		c.Transport = newPool(c.RootCAs, patient, connections)
	}
	_, azure := IsManagedHSM(origin.Hostname())
	bucket, err := c.Budget.bucket(azure, c.ManagedHSM)
	if err != nil {
		return nil, err
	}
	gate := newGate(bucket)
	watched, err := tel.watchGate(c.MeterProvider.Meter(instrumentation), gate)
	if err != nil {
		return nil, fmt.Errorf("keyvault: %w", err)
	}
	return &Client{
		gate:       gate,
		watched:    watched,
		origin:     origin,
		scope:      c.Scope,
		apiVersion: c.APIVersion,
		managedHSM: c.ManagedHSM,
		tokens:     c.Tokens,
		http: &http.Client{
			Transport: c.Transport,
			// A redirect is a reply like any other, and an error: following one
			// would send the token to whoever it names.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		moves:     newMoves(),
		log:       c.Logger.With("vault", c.Vault.VaultAlias()),
		telemetry: tel,
	}, nil
}

// Close closes the connections, and ends what the metrics show of the vault now.
// Calls fail after it, and those that are under way may.
func (c *Client) Close() {
	if p, ok := c.http.Transport.(*pool); ok {
		p.close()
	}
	c.http.CloseIdleConnections()
	if err := c.watched.Unregister(); err != nil {
		otel.Handle(err)
	}
}

// call is one operation of a vault.
type call struct {
	// operation is its name in spans and metrics.
	operation string
	method    string
	path      string
	// query is what goes beside api-version, encoded.
	query string
	body  []byte
	// repeat is when the call may be tried again.
	repeat repeat
	// keys, certificates: it is about these, not secrets.
	keys         bool
	certificates bool
	// timeout bounds one try; 0 is tryTimeout.
	timeout time.Duration
	// done is the status of success; 0 is 200.
	done int
	// limit is the most bytes of a reply to read, and tooLong what a longer one
	// means; nil is that it is unusable.
	limit   int64
	tooLong *broker.Error
}

// invoke performs a call, and converts the reply from the wire's type to the
// broker's. An error of convert says that the reply is not what was asked for.
func invoke[W, T any](ctx context.Context, c *Client, k call, convert func(W) (T, error)) (T, error) {
	var v, none T
	err := c.perform(ctx, k, func(body []byte) error {
		var w W
		// encoding/json would put replacement characters for bytes that are no
		// UTF-8, and quotes its input in errors.
		if !utf8.Valid(body) || json.Unmarshal(body, &w) != nil {
			return errors.New("not the JSON that was asked for")
		}
		var err error
		v, err = convert(w)
		return err
	})
	if err != nil {
		return none, err
	}
	return v, nil
}

// perform performs a call, and gives use the body of the reply, which is
// cleared afterwards. An error of use says that it is not what was asked for.
func (c *Client) perform(ctx context.Context, k call, use func(body []byte) error) error {
	failed := c.telemetry.within(ctx, k, func(ctx context.Context) *broker.Error {
		r, failed := c.send(ctx, k)
		if failed != nil {
			return failed
		}
		// The reply may hold a value. What was decoded from it is a copy.
		defer clear(r.body)
		if err := use(r.body); err != nil {
			return unusable(err)
		}
		return nil
	})
	if failed != nil {
		return failed
	}
	return nil
}
