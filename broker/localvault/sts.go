package localvault

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	// DefaultAudience is Key Vault's own.
	DefaultAudience = "https://vault.azure.net"
	// ManagedHSMAudience is that of Managed HSM.
	ManagedHSMAudience = "https://managedhsm.azure.net"
	defaultTokenLife   = time.Hour
	// maxTokenRequest bounds the body of a token request, in bytes.
	maxTokenRequest = 64 << 10

	identityPath = "/msi/token"
	imdsPath     = "/metadata/identity/oauth2/token"
)

// STSConfig is what a token service is made of.
type STSConfig struct {
	// Authority is the scheme, host and port at which clients reach the service,
	// such as "https://127.0.0.1:7445". Issuer and endpoints are under it.
	Authority string
	// TenantID, ClientID and ClientSecret are the one application it knows.
	TenantID     string
	ClientID     string
	ClientSecret broker.Value
	// Certificates are those whose keys may sign assertions for the application
	// instead of the secret. They have RSA keys.
	Certificates []*x509.Certificate
	// Federated are the identities elsewhere that stand for the application.
	Federated []Federated
	// KeyFile holds the key that signs tokens, made with mode 0600 where absent.
	// Empty means a key of this process: its tokens end with it.
	KeyFile string
	// Audience is the resource that tokens are for; "" means DefaultAudience.
	Audience string
	// IdentityHeader is what a client of the managed identity endpoint must send
	// in X-IDENTITY-HEADER. Empty turns that endpoint off.
	IdentityHeader broker.Value
	// IMDS turns on the identity endpoint of virtual machines. It gives a token to
	// whoever can reach it: nothing secret is asked for there.
	IMDS bool
	// TokenLife is how long a token is valid; 0 means an hour.
	TokenLife time.Duration
	// Logger may be nil.
	Logger *slog.Logger
}

// STS is a small security token service that answers as Entra ID does: OpenID
// discovery, the v2.0 token endpoint for a client secret or an assertion, and the
// managed identity endpoints of App Service and of virtual machines. All methods
// may be called concurrently.
type STS struct {
	config STSConfig
	issuer string
	// domain is what the vault is asked for as by a client that holds it to its
	// challenge: the resource of NAME.vault.localhost at the authority's port.
	domain string
	key    *ecdsa.PrivateKey
	keyID  string
	certs  []certificate
	log    *slog.Logger
}

// NewSTS returns a token service. Tokens of an earlier one with the same
// authority, tenant and key file stay valid.
func NewSTS(c STSConfig) (*STS, error) {
	u, err := url.Parse(c.Authority)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("token service: the authority is %q; want a scheme, host and port such as https://127.0.0.1:7445", c.Authority)
	}
	if c.TenantID == "" || strings.Contains(c.TenantID, "/") || c.ClientID == "" || c.ClientSecret.Len() == 0 {
		return nil, errors.New("token service: a tenant, a client id and a client secret are required")
	}
	if c.Audience == "" {
		c.Audience = DefaultAudience
	}
	if c.TokenLife == 0 {
		c.TokenLife = defaultTokenLife
	}
	if c.TokenLife < 0 {
		return nil, fmt.Errorf("token service: a token cannot live %v", c.TokenLife)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	certs, err := parseCertificates(c.Certificates)
	if err != nil {
		return nil, fmt.Errorf("token service: %w", err)
	}
	if c.Federated, err = checkFederated(c.Federated); err != nil {
		return nil, fmt.Errorf("token service: %w", err)
	}
	key, id, err := loadSigningKey(c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("token service: %w", err)
	}
	c.Authority = u.Scheme + "://" + u.Host
	c.Audience = strings.TrimSuffix(c.Audience, "/")
	return &STS{
		config: c,
		issuer: c.Authority + "/" + c.TenantID + "/v2.0",
		domain: localDomain(u.Port()),
		key:    key,
		keyID:  id,
		certs:  certs,
		log:    c.Logger,
	}, nil
}

// route returns the tenant that a path names, and its handler: nil if the path
// is not the token service's.
func (s *STS) route(path string) (tenant, method string, serve http.HandlerFunc) {
	switch path {
	case identityPath:
		return s.config.TenantID, http.MethodGet, s.serveIdentity
	case imdsPath, imdsPath + "/": // clients have been seen to send either
		return s.config.TenantID, http.MethodGet, s.serveIMDS
	}
	tenant, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch rest {
	case "v2.0/.well-known/openid-configuration":
		return tenant, http.MethodGet, s.serveDiscovery
	case "discovery/v2.0/keys":
		return tenant, http.MethodGet, s.serveKeys
	case "oauth2/v2.0/token":
		return tenant, http.MethodPost, s.serveToken
	}
	return "", "", nil
}

// Owns reports whether a request's path is the token service's. No path of Key
// Vault's contract is.
func (s *STS) Owns(path string) bool {
	_, _, serve := s.route(path)
	return serve != nil
}

// ServeHTTP implements http.Handler.
func (s *STS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	tenant, method, serve := s.route(r.URL.Path)
	switch {
	case serve == nil:
		http.NotFound(w, r)
	case r.Method != method:
		h.Set("Allow", method)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case !strings.EqualFold(tenant, s.config.TenantID):
		s.refuse(w, r, errWrongTenant)
	default:
		r.Body = http.MaxBytesReader(w, r.Body, maxTokenRequest)
		serve(w, r)
	}
}

func (s *STS) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	base := s.config.Authority + "/" + s.config.TenantID
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                s.issuer,
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{string(signingAlgorithm)},
		"scopes_supported":                      []string{"openid", "profile", "offline_access"},
	})
}

// serveToken is the v2.0 token endpoint.
func (s *STS) serveToken(w http.ResponseWriter, r *http.Request) {
	// Parameters in the URL would end in logs on the way; only the body counts.
	if err := r.ParseForm(); err != nil {
		s.refuse(w, r, errBadForm)
		return
	}
	form := r.PostForm
	for _, name := range []string{"grant_type", "client_id", "scope"} {
		if form.Get(name) == "" {
			s.refuse(w, r, missingParameter(name))
			return
		}
	}
	switch {
	case form.Get("grant_type") != "client_credentials":
		s.refuse(w, r, errGrant)
	case !form.Has("client_secret") && !form.Has("client_assertion"):
		s.refuse(w, r, errNoSecret)
	case form.Get("client_id") != s.config.ClientID:
		s.refuse(w, r, errClient)
	case !s.wantsAudience(form.Get("scope")):
		s.refuse(w, r, errScope)
	default:
		if refusal := s.authenticate(form); refusal != nil {
			s.refuse(w, r, *refusal)
			return
		}
		token, expires, err := s.mint(time.Now())
		if err != nil {
			s.log.ErrorContext(r.Context(), "a token could not be made", "error", err)
			s.refuse(w, r, errInternal)
			return
		}
		s.log.DebugContext(r.Context(), "made a token for the application", "expires", expires)
		life := int(s.config.TokenLife/time.Second) - 1 // as Entra: a second is on the way
		writeJSON(w, http.StatusOK, map[string]any{
			"token_type":     "Bearer",
			"expires_in":     life,
			"ext_expires_in": life,
			"access_token":   token,
		})
	}
}

// authenticate judges the credential in a token request, nil being good.
func (s *STS) authenticate(form url.Values) *stsError {
	switch {
	case form.Has("client_secret"):
		if !sameSecret(form.Get("client_secret"), s.config.ClientSecret) {
			return &errSecret
		}
		return nil
	case form.Get("client_assertion_type") != assertionType:
		return &errAssertionType
	}
	return s.checkAssertion(form.Get("client_assertion"), time.Now())
}

// wantsAudience reports whether a scope asks for the audience, and for no other
// resource.
func (s *STS) wantsAudience(scope string) bool {
	found := false
	for one := range strings.FieldsSeq(scope) {
		switch one {
		case "openid", "offline_access", "profile":
			continue
		}
		resource, ok := strings.CutSuffix(one, "/.default")
		if !ok || !s.isAudience(resource) {
			return false
		}
		found = true
	}
	return found
}

// localDomain is the resource of vaults on this machine.
func localDomain(port string) string {
	if port != "" {
		port = ":" + port
	}
	return "https://vault.localhost" + port
}

// isAudience compares with and without a trailing slash, as Entra does. The
// vault's domain on this machine stands for the audience: the token is the same.
func (s *STS) isAudience(resource string) bool {
	resource = strings.TrimSuffix(resource, "/")
	return resource == s.config.Audience || resource == s.domain
}

// sameSecret compares in a time that tells neither the length nor a prefix.
func sameSecret(got string, want broker.Value) bool {
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone, and nobody left to tell
}
