// Package vaulthttp serves the REST contract of Azure Key Vault's data plane
// over any broker.SecretStore, broker.KeyStore and broker.CertificateStore, so that
// Key Vault's own clients can use it.
//
// Ids and links echo the authority that the client asked, as Key Vault's do. The
// handler matches raw paths and must be served as it is: http.ServeMux in front
// would redirect some of them.
package vaulthttp

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

const (
	maxBodyLen = 256 << 10
	// maxBackupBodyLen has room for a backup in base64.
	maxBackupBodyLen = 2 << 20
	maxTokenLen      = 16 << 10
	maxEchoLen       = 128
	// region is where a vault on this machine is.
	region   = "local"
	jsonType = "application/json; charset=utf-8"
)

// TokenVerifier judges bearer tokens: signature, audience, expiry. An error
// refuses the token; its text is logged, not told, unless it has Key Vault's
// words as an AKV method. Verify may be called concurrently.
type TokenVerifier interface {
	Verify(ctx context.Context, token string) error
}

// tokenRefusal is an error of a TokenVerifier that says what Key Vault would.
type tokenRefusal interface {
	error
	AKV() string
}

// Config is what a handler serves, and whom.
type Config struct {
	// Vault is the name that the stores know what they keep under.
	Vault broker.Name
	// Secrets, Keys and Certificates: at least one is required. The paths of the
	// others are not found.
	Secrets      broker.SecretStore
	Keys         broker.KeyStore
	Certificates broker.CertificateStore
	// ManagedHSM speaks as a Managed HSM does, which has keys only.
	ManagedHSM bool
	// Tokens judges every request's token. Without it every request is refused.
	Tokens TokenVerifier
	// Authority is the URL of the token service with the tenant as its path, and
	// Resource the audience of tokens: a client without a token is told both. To
	// one that asks NAME.vault.localhost the resource is that domain.
	Authority string
	Resource  string
	// Simulate is what to try a client with.
	Simulate Simulation
	// Logger may be nil.
	Logger *slog.Logger
}

type handler struct {
	Config
	versions     DeletedVersioner // nil if the store is none
	keyVersions  DeletedVersioner // the same
	certVersions DeletedVersioner // the same
	operations   OperationTeller  // the same
	pending      PendingLister    // the same
	asked        []check
}

// New returns a handler. It may serve concurrently.
func New(c Config) http.Handler {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	h := &handler{
		Config: c,
	}
	h.versions, _ = c.Secrets.(DeletedVersioner)
	h.keyVersions, _ = c.Keys.(DeletedVersioner)
	h.certVersions, _ = c.Certificates.(DeletedVersioner)
	h.operations, _ = c.Certificates.(OperationTeller)
	h.pending, _ = c.Certificates.(PendingLister)
	h.asked = h.checks(c.Simulate)
	if c.Simulate.Settle > 0 && c.Secrets != nil {
		h.Secrets = newSettling(c.Secrets, c.Simulate.Settle)
	}
	if c.Simulate.Settle > 0 && c.Keys != nil {
		h.Keys = newSettlingKeys(c.Keys, c.Simulate.Settle)
	}
	if c.Simulate.Settle > 0 && c.Certificates != nil {
		s := newSettlingCertificates(c.Certificates, c.Simulate.Settle)
		h.Certificates = s
		if s.pending != nil {
			h.pending = s
		}
	}
	return h
}

// request is one request that was let in.
type request struct {
	*http.Request
	query      url.Values
	apiVersion string
	route      route
	managedHSM bool
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	wait(r.Context(), h.Simulate.Latency)
	header := w.Header()
	header.Set("Cache-Control", "no-cache")
	header.Set("Strict-Transport-Security", "max-age=31536000;includeSubDomains")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Ms-Keyvault-Region", region)
	header.Set("X-Ms-Keyvault-Service-Version", "1.9.0.0")
	header.Set("X-Ms-Request-Id", newRequestID())
	if id := r.Header.Get("X-Ms-Client-Request-Id"); id != "" && len(id) <= maxEchoLen {
		header.Set("X-Ms-Client-Request-Id", id)
	}
	r = overridden(r)
	v, err := h.serve(r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	if v == nil {
		if h.ManagedHSM {
			header.Set("Content-Type", jsonType)
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	made, ok := v.(reply)
	if !ok {
		made = reply{status: http.StatusOK, body: v}
	}
	maps.Copy(header, made.header)
	h.write(w, made.status, made.body)
}

// reply is a success that has more than a body.
type reply struct {
	status int
	header http.Header
	body   any
}

// serve performs a request and returns the body of the reply, nil for none, or a
// reply.
//
// The token comes first, before the body is read: a client's first request has
// neither, and asks for the challenge.
func (h *handler) serve(r *http.Request) (any, error) {
	token, err := h.authenticate(r)
	if err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badParameter("The query string is malformed.")
	}
	if h.ManagedHSM && query.Has("$skiptoken") && !query.Has("api-version") {
		// The links of a Managed HSM name none.
		query.Set("api-version", apiVersions[len(apiVersions)-1])
	}
	version, err := apiVersionOf(query)
	if err != nil {
		return nil, err
	}
	rt, err := h.match(r)
	if err != nil {
		return nil, err
	}
	req := request{Request: r, query: query, apiVersion: version, route: rt, managedHSM: h.ManagedHSM}
	for _, ask := range h.asked {
		if err := ask(call{request: req, token: token}); err != nil {
			return nil, err
		}
	}
	act := rt.act
	if rt.lists && h.Simulate.EmptyPages {
		act = emptyFirst(act)
	}
	return act(h, r.Context(), req)
}

// authenticate returns the request's token, which is good.
func (h *handler) authenticate(r *http.Request) (string, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", &refusal{
			status: http.StatusUnauthorized, code: keyvault.ErrorUnauthorized,
			message: "AKV10000: Request is missing a Bearer or PoP token.",
		}
	}
	err := errors.New("no token verifier is configured, or the token is too long")
	if h.Tokens != nil && len(token) <= maxTokenLen {
		err = h.Tokens.Verify(r.Context(), token)
	}
	if err != nil {
		message := "Error validating token."
		if e, ok := errors.AsType[tokenRefusal](err); ok {
			message = e.AKV()
		}
		return "", &refusal{
			status: http.StatusUnauthorized, code: keyvault.ErrorUnauthorized,
			message: message, cause: err,
		}
	}
	return token, nil
}

// overridden returns r with the method that a POST says it stands for: Key
// Vault knows two headers for clients that can send no other method.
func overridden(r *http.Request) *http.Request {
	if r.Method != http.MethodPost {
		return r
	}
	for _, header := range []string{"X-HTTP-METHOD", "X-HTTP-REQUEST"} {
		if method := r.Header.Get(header); method != "" {
			other := *r
			other.Method = strings.ToUpper(method)
			return &other
		}
	}
	return r
}

// origin is where ids and links lead: the authority that the client asked.
func (r request) origin() string { return "https://" + r.Host }

// readBody returns the body, of at most limit bytes.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case err != nil:
		return nil, &refusal{
			status: http.StatusBadRequest, code: keyvault.ErrorBadParameter,
			message: "The request body could not be read.", cause: err,
		}
	case int64(len(body)) > limit:
		return nil, &refusal{
			status: http.StatusRequestEntityTooLarge, code: keyvault.ErrorBadParameter,
			message: "The request body is too large.", cause: errors.New("the body is longer than any legal one"),
		}
	}
	return body, nil
}

func (h *handler) write(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err == nil && h.ManagedHSM {
		body, err = alphabetical(body)
	}
	if err != nil {
		// Nothing here fails to encode; were it so, an empty 500 tells no value.
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client went away
}

// alphabetical returns JSON with the members of all objects in the order of their
// names, as a Managed HSM writes them.
func alphabetical(body []byte) ([]byte, error) {
	defer clear(body)
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return json.Marshal(v) // which sorts the keys of maps
}

func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// shorten bounds what an error repeats of a request.
func shorten(s string) string {
	if len(s) > maxEchoLen {
		s = s[:maxEchoLen] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
