package keyvault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
)

const maxTokenReplyLen = 256 << 10

// tokenWire carries the requests of one acquisition, bounds their replies, and
// remembers how the last one went. azidentity's own errors hold whole replies
// and URLs; what failure makes of them is fit for the log.
//
// One goroutine uses it at a time.
type tokenWire struct {
	client *http.Client

	err    error
	status int
	retry  time.Duration
	// reason is the endpoint's error code, as it stands in the reply.
	reason string
}

// Do implements policy.Transporter.
func (w *tokenWire) Do(r *http.Request) (*http.Response, error) {
	w.err, w.status, w.retry, w.reason = nil, 0, 0, ""
	resp, err := w.client.Do(r) //nolint:gosec // the configured authority, or the platform's endpoint
	if err != nil {
		w.err = withoutURL(err)
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenReplyLen+1))
	_ = resp.Body.Close()
	if err == nil && len(body) > maxTokenReplyLen {
		err = fmt.Errorf("a reply of more than %d bytes", maxTokenReplyLen)
	}
	if err != nil {
		w.err = err
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	w.status = resp.StatusCode
	w.retry, _ = retryAfter(resp.Header)
	if w.status != http.StatusOK {
		w.reason = tokenErrorReason(body)
	}
	return resp, nil
}

// failure says what became of the acquisition. cause counts only if nothing was
// sent.
func (w *tokenWire) failure(cause error) *broker.Error {
	e := &broker.Error{Code: broker.CodeVaultAuthentication, RetryAfter: w.retry}
	switch {
	case w.err != nil:
		e.Err = fmt.Errorf("the token endpoint cannot be reached: %w", w.err)
	case w.status == 0:
		e.Err = errors.New("no token could be asked for: " + clip(cause.Error(), maxMessageLen))
	case w.status == http.StatusBadRequest, w.status == http.StatusUnauthorized, w.status == http.StatusForbidden:
		e.RetryAfter = refusedCredential
		e.Err = fmt.Errorf("the token endpoint refuses the credential (%d %s); check the tenant, the client id and the secret or identity", w.status, w.reason)
	case w.status == http.StatusOK:
		e.Err = errors.New("the token endpoint's reply is not usable")
	default:
		e.Err = fmt.Errorf("the token endpoint answered %d %s", w.status, w.reason)
	}
	return e
}

// tokenErrorReason returns the codes of an OAuth error, such as "invalid_client
// AADSTS7000215", without the words, which name tenants and applications.
func tokenErrorReason(body []byte) string {
	var r struct {
		Error string  `json:"error"`
		Codes []int64 `json:"error_codes"`
	}
	if json.Unmarshal(body, &r) != nil {
		return ""
	}
	parts := []string{clip(r.Error, maxCodeLen)}
	for _, c := range r.Codes[:min(len(r.Codes), 3)] {
		parts = append(parts, fmt.Sprintf("AADSTS%d", c))
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}
