package keyvault

import (
	"bytes"
	"cmp"
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
	// tryTimeout bounds one HTTP request and its reply, body included, of a call
	// that says nothing else. The caller's deadline bounds them all together.
	tryTimeout = 2 * time.Second
	maxTries   = 3
	// firstBackoff is doubled by each try, and taken between half and whole.
	firstBackoff          = 200 * time.Millisecond
	firstThrottledBackoff = time.Second
)

// repeat says when a call may be tried again.
type repeat int

const (
	// never: nobody knows what a failed call did, and another would do more.
	never repeat = iota
	// ifThrottled: a throttled call was refused before it did anything.
	ifThrottled
	// ifFailed: twice does what once does.
	ifFailed
)

// reply is what a vault answered, whole.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send gets a reply of success, trying again where that is harmless.
func (c *Client) send(ctx context.Context, k call) (reply, *broker.Error) {
	c.gate.called()
	waits := gateWaits{telemetry: c.telemetry}
	var before *broker.Error // what became of the try before
	for try := 1; ; try++ {
		p, refused := c.gate.enter(ctx, shareOf(k.operation))
		waits.add(ctx, p, refused)
		if refused != nil {
			if before != nil && refused.RetryAfter > 0 {
				before.RetryAfter = refused.RetryAfter
				return reply{}, before
			}
			return reply{}, refused
		}
		r, failed, again, closed := c.attempt(ctx, k, try, p)
		if failed == nil {
			return r, nil
		}
		if !again {
			return reply{}, failed
		}
		throttled, broken := failed.Code == broker.CodeVaultThrottled, false
		wait, asked := retryAfter(r.header)
		switch {
		case throttled:
			wait = closed
		case closed > 0:
			wait, broken = max(wait, closed), true
		case !asked:
			wait = backoff(try, false)
		}
		failed.RetryAfter = max(wait, soon)
		deadline, bounded := ctx.Deadline()
		if try == maxTries || broken || (bounded && time.Until(deadline) <= wait) {
			return reply{}, failed
		}
		if !c.gate.again() {
			waits.refuse(ctx, gateRetries)
			return reply{}, failed
		}
		c.log.DebugContext(ctx, "the vault's call is tried again", "operation", k.operation, "wait", wait, "error", failed)
		// Who was throttled waits at the gate, for a turn among the others.
		if !throttled && !sleep(ctx, wait) {
			return reply{}, broker.AsError(ctx.Err())
		}
		before = failed
	}
}

// attempt is one try, and tells the gate what came of it. closed is how long the
// gate is closed for then.
func (c *Client) attempt(ctx context.Context, k call, try int, p pass) (r reply, failed *broker.Error, again bool, closed time.Duration) {
	v := verdictUnknown
	defer func() {
		wait, asked := retryAfter(r.header)
		closed = c.gate.came(p, v, wait, asked)
	}()
	r, err := c.authorized(ctx, k, try)
	v = verdictOf(ctx, k, p, r, err)
	failed, again = c.judge(ctx, k, r, err)
	return r, failed, again, closed
}

// verdictOf says what a try tells of the vault.
func verdictOf(ctx context.Context, k call, p pass, r reply, err error) verdict {
	_, ours := errors.AsType[*broker.Error](err)
	switch {
	case ours && r.status == 0:
		return verdictUnknown // no token, or a reply that was no use
	case errors.Is(ctx.Err(), context.Canceled) && err != nil:
		return verdictUnknown
	case ctx.Err() != nil && err != nil:
		// It had less than its time. A vault that says nothing for most of that
		// fails all the same, but where a call takes long by its nature.
		took := time.Since(p.began)
		if p.probe && took >= probeHungAfter || k.timeout == 0 && took >= hungAfter {
			return verdictFailed
		}
		return verdictUnknown
	case err != nil:
		return verdictFailed
	}
	switch r.status {
	case http.StatusTooManyRequests:
		return verdictThrottled
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return verdictFailed
	}
	return verdictAnswered
}

// judge says what a try came to: nothing wrong, or an error, and whether to try
// again.
func (c *Client) judge(ctx context.Context, k call, r reply, err error) (failed *broker.Error, again bool) {
	done := cmp.Or(k.done, http.StatusOK)
	switch {
	case ctx.Err() != nil && err != nil:
		return broker.AsError(ctx.Err()), false
	case err != nil:
		if e, ok := errors.AsType[*broker.Error](err); ok {
			return e, false
		}
		return unavailable(err), k.repeat == ifFailed
	case r.status == done:
		return nil, false
	}
	failed = refusal(k, r)
	switch r.status {
	case http.StatusTooManyRequests:
		return failed, k.repeat >= ifThrottled
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return failed, k.repeat == ifFailed
	}
	return failed, false
}

// authorized sends a request with a token. If the vault refuses the token, it
// is sent once more with a new one: a request refused so has done nothing.
func (c *Client) authorized(ctx context.Context, k call, try int) (reply, error) {
	token, err := c.tokens.Token(ctx, c.scope, "")
	if err != nil {
		unasked := *tokenError(err)
		unasked.Unasked = true
		return reply{}, &unasked
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

// exchange sends one request and reads its reply, within the call's time for it.
func (c *Client) exchange(ctx context.Context, k call, try int, token Token) (r reply, err error) {
	began := time.Now()
	defer func() { c.telemetry.tried(ctx, k, try, r.status, began) }()
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(k.timeout, tryTimeout))
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
		return reply{}, errTooLong(k, resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, k.limit+1))
	if err != nil {
		return reply{}, err
	}
	if int64(len(text)) > k.limit {
		return reply{}, errTooLong(k, resp.StatusCode)
	}
	return reply{status: resp.StatusCode, header: resp.Header, body: text}, nil
}

func errTooLong(k call, status int) *broker.Error {
	if status == http.StatusOK && k.tooLong != nil {
		return k.tooLong
	}
	return unusable(fmt.Errorf("longer than %d bytes", k.limit))
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
