// Package keyvault speaks the REST contract of Azure Key Vault's data plane.
//
// A Client is a broker.SecretStore over one vault: Azure's, or whatever speaks
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
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/keyward/keyward/broker"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

const (
	// tryTimeout bounds one HTTP request and its reply, body included. The
	// caller's deadline bounds them all together.
	tryTimeout = 2 * time.Second
	maxTries   = 3
	// firstBackoff is doubled by each try, and taken between half and whole.
	firstBackoff          = 200 * time.Millisecond
	firstThrottledBackoff = time.Second

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
	// Scope is what tokens are asked for. Empty means that of the cloud which
	// URL's host belongs to, and the public one's where it belongs to none.
	Scope string
	// APIVersion is DefaultAPIVersion if empty.
	APIVersion string
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

// Client is one vault's secrets, over REST. All methods may be called
// concurrently.
//
// A call is tried again only where that is harmless and may help: a read after
// a throttling, a failure of the vault or of the connection; a delete after a
// throttling only, because it may have happened; a set never. Every wait fits
// the caller's deadline, or the call fails at once and says in RetryAfter how
// long it would have been.
type Client struct {
	origin     url.URL
	scope      string
	apiVersion string
	tokens     TokenSource
	http       *http.Client
	log        *slog.Logger
	telemetry  *telemetry
}

var _ broker.SecretStore = (*Client)(nil)

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
		c.Scope = scopeFor(origin.Hostname())
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
		c.Transport = newPool(c.RootCAs, tel.opened)
	}
	return &Client{
		origin:     origin,
		scope:      c.Scope,
		apiVersion: c.APIVersion,
		tokens:     c.Tokens,
		http: &http.Client{
			Transport: c.Transport,
			// A redirect is a reply like any other, and an error: following one
			// would send the token to whoever it names.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		log:       c.Logger.With("vault", c.Vault.VaultAlias()),
		telemetry: tel,
	}, nil
}

// Close closes the connections that no call is using.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call is one operation of a vault.
type call struct {
	// operation is its name in spans and metrics.
	operation string
	method    string
	path      string
	// query is what goes beside api-version, encoded.
	query string
	body  []byte
	// limit is the most bytes of a reply to read.
	limit int64
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

// invoke performs a call, and converts the reply from the wire's type to the
// broker's. An error of convert says that the reply is not what was asked for.
func invoke[W, T any](ctx context.Context, c *Client, k call, convert func(W) (T, error)) (T, error) {
	ctx, span := c.telemetry.start(ctx, k)
	defer span.End()
	v, err := result(ctx, c, k, convert)
	if err != nil {
		markFailed(span, err)
		return v, err
	}
	return v, nil
}

func result[W, T any](ctx context.Context, c *Client, k call, convert func(W) (T, error)) (T, *broker.Error) {
	var none T
	r, failed := c.send(ctx, k)
	if failed != nil {
		return none, failed
	}
	// The reply may hold a value. What was decoded from it is a copy.
	defer clear(r.body)
	var w W
	// encoding/json would put replacement characters for bytes that are no
	// UTF-8, and quotes its input in errors.
	if !utf8.Valid(r.body) || json.Unmarshal(r.body, &w) != nil {
		return none, unusable(errors.New("not the JSON that was asked for"))
	}
	v, err := convert(w)
	if err != nil {
		return none, unusable(err)
	}
	return v, nil
}

// send gets a reply of 200, trying again where that is harmless.
func (c *Client) send(ctx context.Context, k call) (reply, *broker.Error) {
	for try := 1; ; try++ {
		r, err := c.authorized(ctx, k, try)
		failed, again := c.judge(ctx, k, r, err)
		if failed == nil {
			return r, nil
		}
		if !again {
			return reply{}, failed
		}
		wait, asked := retryAfter(r.header)
		if !asked {
			wait = backoff(try, failed.Code == broker.CodeVaultThrottled)
		}
		failed.RetryAfter = max(wait, soon)
		deadline, bounded := ctx.Deadline()
		if try == maxTries || (bounded && time.Until(deadline) <= wait) {
			return reply{}, failed
		}
		c.log.DebugContext(ctx, "the vault's call is tried again", "operation", k.operation, "wait", wait, "error", failed)
		if !sleep(ctx, wait) {
			return reply{}, broker.AsError(ctx.Err())
		}
	}
}

// judge says what a try came to: nothing wrong, or an error, and whether to try
// again.
func (c *Client) judge(ctx context.Context, k call, r reply, err error) (failed *broker.Error, again bool) {
	idempotent := k.method == http.MethodGet
	switch {
	case ctx.Err() != nil && err != nil:
		return broker.AsError(ctx.Err()), false
	case err != nil:
		if e, ok := errors.AsType[*broker.Error](err); ok {
			return e, false
		}
		return unavailable(err), idempotent
	case r.status == http.StatusOK:
		return nil, false
	}
	failed = refusal(r, k.body == nil)
	switch r.status {
	case http.StatusTooManyRequests:
		// It was refused before it did anything.
		return failed, idempotent || k.method == http.MethodDelete
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return failed, idempotent
	}
	return failed, false
}

// authorized sends a request with a token. If the vault refuses the token, it
// is sent once more with a new one: a request refused so has done nothing.
func (c *Client) authorized(ctx context.Context, k call, try int) (reply, error) {
	token, err := c.tokens.Token(ctx, c.scope, "")
	if err != nil {
		return reply{}, tokenError(err)
	}
	r, err := c.exchange(ctx, k, try, token)
	if err != nil || r.status != http.StatusUnauthorized {
		return r, err
	}
	claims := claimsOf(r.header)
	var fresh Token
	if renewer, ok := c.tokens.(TokenRenewer); ok {
		fresh, err = renewer.Renew(ctx, c.scope, claims, token)
	} else {
		fresh, err = c.tokens.Token(ctx, c.scope, claims)
	}
	if err != nil {
		return reply{}, tokenError(err)
	}
	if fresh.Value == token.Value {
		return r, nil
	}
	return c.exchange(ctx, k, try, fresh)
}

// exchange sends one request and reads its reply, within tryTimeout.
func (c *Client) exchange(ctx context.Context, k call, try int, token Token) (r reply, err error) {
	began := time.Now()
	defer func() { c.telemetry.tried(ctx, k, try, r.status, began) }()
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()

	u := c.origin
	u.Path = k.path
	u.RawQuery = "api-version=" + url.QueryEscape(c.apiVersion)
	if k.query != "" {
		u.RawQuery += "&" + k.query
	}
	var body io.Reader
	if k.body != nil {
		body = bytes.NewReader(k.body)
	}
	req, err := http.NewRequestWithContext(ctx, k.method, u.String(), body)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+token.Value.Reveal())
	req.Header.Set("User-Agent", "keyward")
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	propagate(ctx, req.Header)

	resp, err := c.http.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read as far as it is wanted
	if resp.ContentLength > k.limit {
		return reply{}, errTooLarge(k.limit)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, k.limit+1))
	if err != nil {
		return reply{}, err
	}
	if int64(len(text)) > k.limit {
		return reply{}, errTooLarge(k.limit)
	}
	return reply{status: resp.StatusCode, header: resp.Header, body: text}, nil
}

func errTooLarge(limit int64) *broker.Error {
	return unusable(fmt.Errorf("longer than %d bytes", limit))
}

func backoff(try int, throttled bool) time.Duration {
	d := firstBackoff
	if throttled {
		d = firstThrottledBackoff
	}
	d <<= try - 1
	return d/2 + rand.N(d/2) //nolint:gosec // a spread, not a secret
}

// sleep waits for d. It returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
