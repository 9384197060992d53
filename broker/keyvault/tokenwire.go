package keyvault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
)

var errForeignEndpoint = errors.New("the authority names an endpoint of another host, or one without TLS, which is not asked")

const maxTokenReplyLen = 256 << 10

// TokenError is why no token could be had: the cause of a broker.Error with
// CodeVaultAuthentication. It is for the log and for who keeps the
// configuration, never for a client of the broker.
type TokenError struct {
	// Status is that of the token endpoint's last reply, 0 without one.
	Status int
	// Reason is the endpoint's codes, such as "invalid_client AADSTS7000215".
	Reason string
	// Advice says what to do about it.
	Advice string

	what  string
	cause error // of the network
}

// Error says what happened, and what to do.
func (e *TokenError) Error() string {
	s := e.what
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	if e.Advice != "" {
		s += "; " + e.Advice
	}
	return s
}

// Unwrap returns why the endpoint could not be reached, if it was that.
func (e *TokenError) Unwrap() error { return e.cause }

// tokenWire carries the requests of one acquisition, bounds their replies, and
// remembers how the last one went. azidentity's own errors hold whole replies
// and URLs; what failure makes of them is fit for the log.
//
// One goroutine uses it at a time.
type tokenWire struct {
	kind credentialKind
	// authority, if any, is where all requests must go: the token service's own
	// discovery document could name another place for the credential.
	authority string
	client    *http.Client

	err    error
	status int
	retry  time.Duration
	said   tokenRefusal
}

// tokenRefusal is what an endpoint's refusal says, as far as it is of use.
type tokenRefusal struct {
	// reason is the codes, without the words, which name tenants and
	// applications.
	reason string
	// codes are Entra's own.
	codes []string
	// noIdentity: the platform has no such identity for this host.
	noIdentity bool
}

func (w *tokenWire) forget() { w.err, w.status, w.retry, w.said = nil, 0, 0, tokenRefusal{} }

// Do implements policy.Transporter.
func (w *tokenWire) Do(r *http.Request) (*http.Response, error) {
	w.forget()
	if w.authority != "" && !sameAuthority(r.URL, w.authority) {
		w.err = errForeignEndpoint
		return nil, w.err
	}
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
		w.said = refusalOf(body)
	}
	return resp, nil
}

// failure says what became of the acquisition. Of cause, which may hold whole
// replies, it uses only what came of no reply.
func (w *tokenWire) failure(cause error) *broker.Error {
	e := &TokenError{Status: w.status, Reason: w.said.reason}
	out := &broker.Error{Code: broker.CodeVaultAuthentication, RetryAfter: w.retry, Err: e}
	switch {
	case w.kind == kindAzureCLI:
		// az speaks for itself, and to the user.
		text := cause.Error()
		e.Reason = strings.Join(entraCode.FindAllString(text, 1), "")
		e.what = "no token from az"
		if e.Reason != "" {
			e.what += " (" + e.Reason + ")"
		}
		e.Advice = adviceOnCLI(text)
	case w.kind == kindDefault && len(w.said.codes) == 0:
		e.what = "no credential of the default chain gives a token"
		e.Advice = adviceOnDefault
	case w.err != nil:
		e.what, e.cause = "the token endpoint cannot be reached", w.err
		e.Advice = adviceUnreached(w.kind)
	case w.status == 0:
		e.what = "no token could be asked for: " + clip(cause.Error(), maxMessageLen)
	case w.status == http.StatusOK:
		e.what = "the token endpoint's reply is not usable"
	default:
		e.what = strings.TrimRight(fmt.Sprintf("the token endpoint answered %d %s", w.status, w.said.reason), " ")
		if w.refused() {
			out.RetryAfter = refusedCredential
			e.what = strings.TrimRight(fmt.Sprintf("the token endpoint refuses the credential: %d %s", w.status, w.said.reason), " ")
		}
		e.Advice = adviceOnRefusal(w.kind, w.refused(), w.said)
	}
	return out
}

// refused reports whether the endpoint's answer will be the same next time.
func (w *tokenWire) refused() bool {
	return w.status == http.StatusBadRequest || w.status == http.StatusUnauthorized || w.status == http.StatusForbidden
}

var (
	entraCode = regexp.MustCompile(`AADSTS[0-9]{4,8}`)
	// oauthCode is what an error's code looks like; anything else is words.
	oauthCode = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)
)

// refusalOf reads an error of Entra's, of IMDS or of App Service.
func refusalOf(body []byte) tokenRefusal {
	var r struct {
		Error       string  `json:"error"`
		Description string  `json:"error_description"`
		Codes       []int64 `json:"error_codes"`
		Message     string  `json:"message"`
	}
	if json.Unmarshal(body, &r) != nil {
		return tokenRefusal{}
	}
	var t tokenRefusal
	for _, c := range r.Codes[:min(len(r.Codes), 3)] {
		t.codes = append(t.codes, fmt.Sprintf("AADSTS%d", c))
	}
	if len(t.codes) == 0 {
		t.codes = entraCode.FindAllString(r.Description, 1)
	}
	reason := slices.Clone(t.codes)
	if oauthCode.MatchString(r.Error) {
		reason = slices.Insert(reason, 0, r.Error)
	}
	t.reason = strings.Join(reason, " ")
	words := strings.ToLower(r.Description + " " + r.Message)
	t.noIdentity = strings.Contains(words, "identity not found") || strings.Contains(words, "managed identity") ||
		strings.Contains(words, "user-assigned identity")
	return t
}
