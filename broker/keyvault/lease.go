package keyvault

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	// acquireTimeout bounds one acquisition, which no caller's deadline does.
	acquireTimeout = 20 * time.Second
	// maxBackoff is the longest wait between two attempts, and maxBackoffIdle
	// that while callers are being turned away.
	maxBackoff     = time.Minute
	maxBackoffIdle = 10 * time.Second
	// minRenewal keeps a very short-lived token from being renewed in a loop.
	minRenewal = time.Second
	// sameAgain is how long a source that gave the same token is left alone.
	sameAgain = time.Minute
	// refusedAgain is how long a renewal after a refusal rules out another for
	// the same reason: a vault that refuses every token must not become a flood
	// at the token endpoint.
	refusedAgain = 10 * time.Second
)

// lease is the life of one scope's token.
type lease struct {
	cache   *TokenCache
	scope   string
	current atomic.Pointer[Token]

	mu sync.Mutex
	// under is the acquisition under way, of which there is at most one.
	under *acquisition
	// failed is how the last acquisition failed, nil if it did not, and fails
	// how many did in a row. No other begins before retryAt.
	failed  *broker.Error
	fails   int
	retryAt time.Time
	// renewal begins the next early renewal.
	renewal *time.Timer
	// refusedAt and refusedFor are when and for which claims the last renewal
	// after a refusal began.
	refusedAt  time.Time
	refusedFor string
}

// acquisition is one request for a token, and who asked waits for done.
type acquisition struct {
	done  chan struct{}
	token Token
	err   error
}

func (a *acquisition) wait(ctx context.Context) (Token, error) {
	select {
	case <-a.done:
		return a.token, a.err
	case <-ctx.Done():
		return Token{}, broker.AsError(ctx.Err())
	}
}

// valid returns the current token, or nil if there is none or it has ended.
func (l *lease) valid() *Token {
	if t := l.current.Load(); t != nil && time.Now().Before(t.Expires) {
		return t
	}
	return nil
}

// token returns the current token, or waits for one.
func (l *lease) token(ctx context.Context) (Token, error) {
	if t := l.valid(); t != nil {
		return *t, nil
	}
	l.mu.Lock()
	if t := l.valid(); t != nil {
		l.mu.Unlock()
		return *t, nil
	}
	a, err := l.join(ctx, "")
	l.mu.Unlock()
	if err != nil {
		return Token{}, err
	}
	return a.wait(ctx)
}

// renew returns a token other than refused, if one can be had.
func (l *lease) renew(ctx context.Context, claims string, refused Token) (Token, error) {
	for {
		l.mu.Lock()
		if t := l.valid(); t != nil && t.Value != refused.Value {
			l.mu.Unlock()
			return *t, nil
		}
		if a := l.under; a != nil {
			// Whoever asked may have asked without the claims: look again at what
			// came of it.
			l.mu.Unlock()
			if _, err := a.wait(ctx); err != nil {
				return Token{}, err
			}
			continue
		}
		if claims == l.refusedFor && !l.refusedAt.IsZero() && time.Since(l.refusedAt) < refusedAgain {
			l.mu.Unlock()
			return refused, nil
		}
		a, err := l.join(ctx, claims)
		if err == nil {
			l.refusedAt, l.refusedFor = time.Now(), claims
		}
		l.mu.Unlock()
		if err != nil {
			return Token{}, err
		}
		return a.wait(ctx)
	}
}

// join returns the acquisition under way, or begins one, or says why none may
// begin yet. The caller holds l.mu.
func (l *lease) join(ctx context.Context, claims string) (*acquisition, error) {
	if l.under != nil {
		return l.under, nil
	}
	if wait := time.Until(l.retryAt); l.failed != nil && wait > 0 {
		e := *l.failed
		e.RetryAfter = wait
		return nil, &e
	}
	if l.cache.closed.Err() != nil {
		return nil, &broker.Error{Code: broker.CodeVaultAuthentication, Err: errors.New("the token cache is closed")}
	}
	a := &acquisition{done: make(chan struct{})}
	l.under = a
	l.cache.running.Go(func() { l.run(ctx, a, claims) })
	return a, nil
}

// run performs an acquisition, whether or not the caller who began it stays.
func (l *lease) run(ctx context.Context, a *acquisition, claims string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), acquireTimeout)
	defer cancel()
	defer context.AfterFunc(l.cache.closed, cancel)()

	t, err := l.cache.acquire(ctx, l.scope, claims)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.under = nil
	if err != nil {
		a.err = l.failure(ctx, tokenError(err))
	} else {
		a.token = l.success(t)
	}
	close(a.done)
}

// success takes a token over. The caller holds l.mu.
func (l *lease) success(t Token) Token {
	now := time.Now()
	life := t.Expires.Sub(now)
	// Counted on the monotonic clock from here on, which no step of the wall
	// clock moves.
	t.Expires = now.Add(life)
	l.failed, l.fails = nil, 0
	if old := l.valid(); old != nil && old.Value == t.Value {
		// A source with a cache of its own. That is no error, and asking again
		// at once would not help.
		l.schedule(max(life/10, sameAgain))
		return *old
	}
	l.current.Store(&t)
	// Spread, so that replicas that began together do not stay together.
	early := max(life/10, 0)
	l.schedule(max(early+rand.N(early/10+1), minRenewal)) //nolint:gosec // a spread, not a secret
	return t
}

// failure notes when the next attempt may begin. The caller holds l.mu.
func (l *lease) failure(ctx context.Context, e *broker.Error) *broker.Error {
	l.fails++
	most := maxBackoff
	t := l.valid()
	if t == nil {
		most = maxBackoffIdle
	}
	wait := min(time.Second<<min(l.fails-1, 6), most)
	wait = wait/2 + rand.N(wait/2+1) //nolint:gosec // a spread, not a secret
	if t != nil {
		// Not past the token's end: from there on, callers are turned away until
		// the next attempt.
		wait = min(wait, max(time.Until(t.Expires), time.Second))
	}
	wait = max(wait, min(e.RetryAfter, maxBackoff))
	l.retryAt = time.Now().Add(wait)
	failed := *e
	failed.RetryAfter = wait
	l.failed = &failed

	switch {
	case l.cache.closed.Err() != nil:
	case t == nil:
		l.cache.log.ErrorContext(ctx, "no token for the vault could be had; calls fail until one can",
			"scope", l.scope, "retry", wait, "error", e)
	default:
		l.cache.log.WarnContext(ctx, "the vault's token could not be renewed; the one held is still valid",
			"scope", l.scope, "expires", t.Expires, "retry", wait, "error", e)
		l.schedule(wait)
	}
	return l.failed
}

// schedule begins a renewal after d, unless the token has ended by then: from
// there on, callers ask. The caller holds l.mu.
func (l *lease) schedule(d time.Duration) {
	if l.renewal != nil {
		l.renewal.Stop()
	}
	if t := l.valid(); t == nil || time.Until(t.Expires) <= d || l.cache.closed.Err() != nil {
		return
	}
	l.renewal = time.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		// An error says that somebody else has just tried, or that nobody shall.
		_, _ = l.join(context.Background(), "")
	})
}

// stop ends the renewals. The cache is closed already, so that none begins
// after it.
func (l *lease) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewal != nil {
		l.renewal.Stop()
	}
}
