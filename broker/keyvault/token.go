package keyvault

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/keyward/keyward/broker"
)

const instrumentation = "github.com/keyward/keyward/broker/keyvault"

// Token is a bearer token.
type Token struct {
	// Value shows as "[redacted]" when it is printed.
	Value broker.Value
	// Expires is when the token ends.
	Expires time.Time
}

// TokenSource yields a bearer token for a scope. claims is a claims challenge
// of the vault, as JSON, or "": with claims, the token must be a new one.
// Token may be called concurrently.
//
// An error that is a *broker.Error with a RetryAfter asks not to be called
// before that time; at most a minute of it is honoured.
type TokenSource interface {
	Token(ctx context.Context, scope, claims string) (Token, error)
}

// TokenRenewer is a TokenSource that can be told that a token was refused
// before its time. Renew returns another token if one can be had: callers who
// were refused the same token share one acquisition. It returns refused itself
// if another was asked for only just now: it is no use to send it again.
type TokenRenewer interface {
	TokenSource
	Renew(ctx context.Context, scope, claims string, refused Token) (Token, error)
}

// TokenCacheConfig is what a TokenCache reports to. Each may be nil.
type TokenCacheConfig struct {
	Logger         *slog.Logger
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
}

// TokenCache is a TokenSource that remembers the tokens of another and renews
// them before anyone has to wait.
//
// A valid token is one atomic read away. From a tenth of its life on it is
// renewed in the background, detached from every caller, and so an outage of
// the token endpoint is felt only if it outlasts the rest. An attempt that
// fails is repeated after a growing, jittered wait of at most a minute; it
// fails no call while the token is valid. Without a valid token all callers
// wait for one shared acquisition, and if that fails, they and those after
// them get its error until the next attempt is due. A credential that was
// refused is tried once a minute.
//
// Without calls, a token that ended is not renewed: an idle process with a bad
// credential asks for nothing. All methods may be called concurrently.
type TokenCache struct {
	source    TokenSource
	log       *slog.Logger
	tracer    trace.Tracer
	refreshes metric.Int64Counter

	leases sync.Map // scope to *lease
	// closed ends when Close is called, and running tells when the last
	// acquisition has.
	closed  context.Context //nolint:containedctx // the cache's own life, not a call's
	cancel  context.CancelFunc
	running sync.WaitGroup
}

var _ TokenRenewer = (*TokenCache)(nil)

// NewTokenCache returns a cache over source, which is required. Close ends its
// work.
func NewTokenCache(source TokenSource, c TokenCacheConfig) *TokenCache {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.TracerProvider == nil {
		c.TracerProvider = tracenoop.NewTracerProvider()
	}
	if c.MeterProvider == nil {
		c.MeterProvider = metricnoop.NewMeterProvider()
	}
	refreshes, err := c.MeterProvider.Meter(instrumentation).Int64Counter("keyward.token.refreshes",
		metric.WithDescription("Tokens asked for, by scope and result."))
	if err != nil {
		c.Logger.Error("tokens will not be counted", "error", err)
		refreshes = metricnoop.Int64Counter{}
	}
	closed, cancel := context.WithCancel(context.Background())
	return &TokenCache{
		source:    source,
		log:       c.Logger,
		tracer:    c.TracerProvider.Tracer(instrumentation),
		refreshes: refreshes,
		closed:    closed,
		cancel:    cancel,
	}
}

// Token implements TokenSource. With claims, the token held now counts as
// refused.
func (c *TokenCache) Token(ctx context.Context, scope, claims string) (Token, error) {
	l := c.lease(scope)
	if claims == "" {
		return l.token(ctx)
	}
	var refused Token
	if t := l.current.Load(); t != nil {
		refused = *t
	}
	return l.renew(ctx, claims, refused)
}

// Renew implements TokenRenewer.
func (c *TokenCache) Renew(ctx context.Context, scope, claims string, refused Token) (Token, error) {
	return c.lease(scope).renew(ctx, claims, refused)
}

// Close ends all renewals and waits for those under way. Tokens that are still
// valid are served after it; new ones are not asked for.
func (c *TokenCache) Close() {
	c.cancel()
	c.leases.Range(func(_, l any) bool {
		l.(*lease).stop() //nolint:forcetypeassert // nothing else is stored
		return true
	})
	c.running.Wait()
}

func (c *TokenCache) lease(scope string) *lease {
	l, ok := c.leases.Load(scope)
	if !ok {
		l, _ = c.leases.LoadOrStore(scope, &lease{cache: c, scope: scope})
	}
	return l.(*lease) //nolint:forcetypeassert // nothing else is stored
}

// acquire asks the source, and tells of the outcome.
func (c *TokenCache) acquire(ctx context.Context, scope, claims string) (Token, error) {
	ctx, span := c.tracer.Start(ctx, "keyvault AcquireToken", trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	t, err := c.source.Token(ctx, scope, claims)
	if err == nil && !t.Expires.After(time.Now()) {
		err = errors.New("the token endpoint gave a token that has expired; compare the clocks")
	}
	result := "ok"
	if err != nil {
		result = "error"
		markFailed(span, tokenError(err))
	}
	c.refreshes.Add(ctx, 1, metric.WithAttributes(attribute.String("scope", scope), attribute.String("result", result)))
	return t, err
}

// tokenError gives a failure to get a token the code it has for callers.
func tokenError(err error) *broker.Error {
	if e, ok := errors.AsType[*broker.Error](err); ok {
		return e
	}
	return &broker.Error{Code: broker.CodeVaultAuthentication, Err: withoutURL(err)}
}
