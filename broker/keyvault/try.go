package keyvault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	// tryTimeout bounds one HTTP request and its reply, body included. The
	// caller's deadline bounds them all together.
	tryTimeout = 2 * time.Second
	maxTries   = 3
	// firstBackoff is doubled by each try, and taken between half and whole.
	firstBackoff          = 200 * time.Millisecond
	firstThrottledBackoff = time.Second
)

// reply is what a vault answered, whole.
type reply struct {
	status int
	header http.Header
	body   []byte
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
	defer resp.Body.Close()
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
