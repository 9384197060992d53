package keyvault

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
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

// What the client is told where the code's standard words would say too little.
const (
	fieldRefused   = "the vault refuses one of the request's fields"
	notABackup     = "this is no backup of a secret that this vault can restore"
	backupTooLarge = "the backup is larger than 1 MiB, and could not be restored through the broker; back it up at the vault"
	purgeProtected = "the vault protects deleted secrets from being purged; it removes this one when its time is over"
	nameInUse      = "a secret has this name, or was purged a moment ago; delete and purge it, or try again in a minute"
)

// meaning is what a vault's refusal means to the caller. An empty operation or
// code fits any.
type meaning struct {
	operation string
	status    int
	code      string
	inner     string
	// bare: an inner code would mean something else.
	bare  bool
	means broker.Code
	retry time.Duration
	field string
	words string
}

// meanings are those of all refusals: the first row that fits counts. What no
// row fits is the vault's fault: VAULT_UNAVAILABLE.
var meanings = []meaning{
	{operation: restoreSecret, status: http.StatusBadRequest, code: ErrorMalformedBackup, means: broker.CodeBadField, field: "blob", words: notABackup},
	{operation: restoreSecret, status: http.StatusBadRequest, code: ErrorMalformedBackupHSM, means: broker.CodeBadField, field: "blob", words: notABackup},
	{operation: restoreSecret, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "blob", words: notABackup},
	{status: http.StatusBadRequest, code: ErrorBackupTooLarge, means: broker.CodeValueTooLarge, field: "name", words: backupTooLarge},
	{status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, words: fieldRefused},
	{status: http.StatusUnauthorized, means: broker.CodeVaultAuthentication, retry: granting},
	{status: http.StatusForbidden, inner: InnerSecretDisabled, means: broker.CodeSecretDisabled},
	{status: http.StatusForbidden, inner: InnerSecretManaged, means: broker.CodeCertificateManaged},
	{status: http.StatusForbidden, inner: InnerKeyManaged, means: broker.CodeCertificateManaged},
	{operation: purgeSecret, status: http.StatusForbidden, code: ErrorForbidden, bare: true, means: broker.CodeNotSupported, words: purgeProtected},
	{status: http.StatusForbidden, means: broker.CodeVaultAuthentication, retry: granting},
	{status: http.StatusNotFound, code: ErrorSecretNotFound, means: broker.CodeSecretNotFound},
	{status: http.StatusConflict, inner: InnerDeleted, means: broker.CodeSecretSoftDeleted},
	{status: http.StatusConflict, inner: InnerBeingDeleted, means: broker.CodeSecretInTransition, retry: settling},
	{status: http.StatusConflict, inner: InnerBeingRecovered, means: broker.CodeSecretInTransition, retry: settling},
	// A purge settles too, after its reply, and until then the name is in use.
	{operation: restoreSecret, status: http.StatusConflict, code: ErrorConflict, bare: true, means: broker.CodeSecretExists, words: nameInUse},
	{status: http.StatusTooManyRequests, means: broker.CodeVaultThrottled, retry: soon},
}

// refusal returns what a reply to k other than success means. The vault's words
// go into the log only if k has no body: they may repeat what was sent.
func refusal(k call, r reply) *broker.Error {
	b := errorBody(r.body)
	inner := ""
	if b.Inner != nil {
		inner = b.Inner.Code
	}
	e := &broker.Error{Code: broker.CodeVaultUnavailable, RetryAfter: soon}
	rows := meanings
	switch {
	case k.keys:
		rows = slices.Concat(keyMeanings, meanings)
	case k.certificates:
		rows = slices.Concat(certificateMeanings, meanings)
	}
	for _, m := range rows {
		if (m.operation == "" || m.operation == k.operation) && m.status == r.status && (m.code == "" || m.code == b.Code) &&
			(m.inner == "" || m.inner == inner) && (!m.bare || inner == "") {
			e.Code, e.RetryAfter, e.Field, e.Message = m.means, m.retry, m.field, m.words
			break
		}
	}
	refused := &RefusedError{
		Status: r.status, Code: clip(b.Code, maxCodeLen), Inner: clip(inner, maxCodeLen),
		Detail:     tokenComplaint.FindString(b.Message),
		Permission: cmp.Or(firstGroup(dataAction, b.Message), firstGroup(policyLacks, b.Message)),
		request:    clip(r.header.Get("X-Ms-Request-Id"), maxCodeLen),
	}
	if k.body == nil {
		refused.message = clip(b.Message, maxMessageLen)
	}
	e.Err = refused
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
