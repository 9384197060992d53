package localvault

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/subtle"
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
	DefaultAudience  = "https://vault.azure.net"
	defaultTokenLife = time.Hour
	// maxTokenRequest bounds the body of a token request, in bytes.
	maxTokenRequest = 64 << 10

	identityPath = "/msi/token"
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
	// KeyFile holds the key that signs tokens, made with mode 0600 where absent.
	// Empty means a key of this process: its tokens end with it.
	KeyFile string
	// Audience is the resource that tokens are for; "" means DefaultAudience.
	Audience string
	// IdentityHeader is what a client of the managed identity endpoint must send
	// in X-IDENTITY-HEADER. Empty turns that endpoint off.
	IdentityHeader broker.Value
	// TokenLife is how long a token is valid; 0 means an hour.
	TokenLife time.Duration
	// Logger may be nil.
	Logger *slog.Logger
}

// STS is a small security token service that answers as Entra ID does: OpenID
// discovery, the v2.0 token endpoint for a client secret, and App Service's
// managed identity endpoint. All methods may be called concurrently.
type STS struct {
	config STSConfig
	issuer string
	key    *ecdsa.PrivateKey
	keyID  string
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
	key, id, err := loadSigningKey(c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("token service: %w", err)
	}
	c.Authority = u.Scheme + "://" + u.Host
	c.Audience = strings.TrimSuffix(c.Audience, "/")
	return &STS{
		config: c,
		issuer: c.Authority + "/" + c.TenantID + "/v2.0",
		key:    key,
		keyID:  id,
		log:    c.Logger,
	}, nil
}

// route returns the tenant that a path names, and its handler: nil if the path
// is not the token service's.
func (s *STS) route(path string) (tenant, method string, serve http.HandlerFunc) {
	if path == identityPath {
		return s.config.TenantID, http.MethodGet, s.serveIdentity
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
		"token_endpoint_auth_methods_supported": []string{"client_secret_post"},
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
	case !form.Has("client_secret"):
		s.refuse(w, r, errNoSecret)
	case form.Get("client_id") != s.config.ClientID:
		s.refuse(w, r, errClient)
	case !sameSecret(form.Get("client_secret"), s.config.ClientSecret):
		s.refuse(w, r, errSecret)
	case !s.wantsAudience(form.Get("scope")):
		s.refuse(w, r, errScope)
	default:
		token, expires, err := s.mint(time.Now())
		if err != nil {
			s.log.ErrorContext(r.Context(), "a token could not be made", "error", err)
			s.refuse(w, r, errInternal)
			return
		}
		s.log.DebugContext(r.Context(), "made a token for a client secret", "expires", expires)
		life := int(s.config.TokenLife/time.Second) - 1 // as Entra: a second is on the way
		writeJSON(w, http.StatusOK, map[string]any{
			"token_type":     "Bearer",
			"expires_in":     life,
			"ext_expires_in": life,
			"access_token":   token,
		})
	}
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

// isAudience compares with and without a trailing slash, as Entra does.
func (s *STS) isAudience(resource string) bool {
	return strings.TrimSuffix(resource, "/") == s.config.Audience
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
