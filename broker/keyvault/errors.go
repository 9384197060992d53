package keyvault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	// soon is when to come back after a failure of which nobody knows how long
	// it lasts.
	soon = time.Second
	// settling is how long Key Vault takes to finish a delete or a recovery:
	// 3 seconds in the median of what was recorded, 51 at most.
	settling = 5 * time.Second
	// granting is when to come back after a refusal: Azure takes minutes to
	// spread a new role assignment.
	granting = 30 * time.Second

	maxRetryAfter = time.Minute
	maxMessageLen = 300
	maxCodeLen    = 64
)

// meanings is what a vault's refusal means to the caller. The first row that
// fits counts; an empty code fits any. What no row fits is the vault's fault:
// VAULT_UNAVAILABLE.
var meanings = []struct {
	status int
	code   string
	inner  string
	means  broker.Code
	retry  time.Duration
}{
	{status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField},
	{status: http.StatusUnauthorized, means: broker.CodeVaultAuthentication, retry: granting},
	{status: http.StatusForbidden, inner: InnerSecretDisabled, means: broker.CodeSecretDisabled},
	{status: http.StatusForbidden, means: broker.CodeVaultAuthentication, retry: granting},
	{status: http.StatusNotFound, code: ErrorSecretNotFound, means: broker.CodeSecretNotFound},
	{status: http.StatusConflict, inner: InnerDeleted, means: broker.CodeSecretSoftDeleted},
	{status: http.StatusConflict, inner: InnerBeingDeleted, means: broker.CodeSecretInTransition, retry: settling},
	{status: http.StatusConflict, inner: InnerBeingRecovered, means: broker.CodeSecretInTransition, retry: settling},
	{status: http.StatusTooManyRequests, means: broker.CodeVaultThrottled, retry: soon},
}

// refusal returns what a reply other than 200 means. quote allows the vault's
// words into the log: they may repeat what was sent, so not after a set.
func refusal(r reply, quote bool) *broker.Error {
	b := errorBody(r.body)
	inner := ""
	if b.Inner != nil {
		inner = b.Inner.Code
	}
	e := &broker.Error{Code: broker.CodeVaultUnavailable, RetryAfter: soon}
	for _, m := range meanings {
		if m.status == r.status && (m.code == "" || m.code == b.Code) && (m.inner == "" || m.inner == inner) {
			e.Code, e.RetryAfter = m.means, m.retry
			break
		}
	}
	if e.Code == broker.CodeBadField {
		e.Message = "the vault refuses one of the request's fields"
	}
	text := fmt.Sprintf("the vault answered %d", r.status)
	if b.Code != "" {
		text += " " + clip(b.Code, maxCodeLen)
	}
	if inner != "" {
		text += "/" + clip(inner, maxCodeLen)
	}
	if id := r.header.Get("X-Ms-Request-Id"); id != "" {
		text += ", request " + clip(id, maxCodeLen)
	}
	if quote && b.Message != "" {
		text += ": " + clip(b.Message, maxMessageLen)
	}
	e.Err = errors.New(text)
	return e
}

// errorBody returns what body says, or nothing if it is no error of Key
// Vault's: a proxy's page of HTML, for example.
func errorBody(body []byte) ErrorBody {
	var r ErrorReply
	if json.Unmarshal(body, &r) != nil {
		return ErrorBody{}
	}
	return r.Error
}

// clip makes a vault's text fit for a line of the log: one line, no URLs, at
// most n bytes.
func clip(s string, n int) string {
	words := strings.Fields(strings.ToValidUTF8(s[:min(len(s), 4*n)], ""))
	for i, w := range words {
		if strings.Contains(w, "://") {
			words[i] = "[url]"
		}
	}
	s = strings.Join(words, " ")
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

// unavailable wraps a failure to get any reply.
func unavailable(err error) *broker.Error {
	return &broker.Error{Code: broker.CodeVaultUnavailable, RetryAfter: soon, Err: withoutURL(err)}
}

// unusable is a reply that is not what was asked for. It is never a result.
func unusable(err error) *broker.Error {
	return &broker.Error{Code: broker.CodeVaultUnavailable, RetryAfter: soon, Err: fmt.Errorf("unusable reply: %w", err)}
}

// withoutURL takes the URL out of net/http's errors: it holds the vault's
// address and the secret's name.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// retryAfter returns what the reply's Retry-After asks for, within 0 to 60 s.
func retryAfter(h http.Header) (time.Duration, bool) {
	v := h.Get("Retry-After")
	if v == "" {
		return 0, false
	}
	var d time.Duration
	if secs, err := strconv.ParseInt(v, 10, 64); err == nil {
		d = time.Duration(min(max(secs, 0), int64(maxRetryAfter/time.Second))) * time.Second
	} else if t, err := http.ParseTime(v); err == nil {
		d = time.Until(t)
	} else {
		return 0, false
	}
	return min(max(d, 0), maxRetryAfter), true
}
