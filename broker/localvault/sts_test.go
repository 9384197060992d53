package localvault_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

const (
	tenant         = "5f2a1c7e-0000-4000-8000-000000000001"
	client         = "5f2a1c7e-0000-4000-8000-000000000002"
	clientSecret   = "s3cret~of/the+client=& ü"
	identityHeader = "header-of-the-identity"
	vaultScope     = "https://vault.azure.net/.default"
)

func stsConfig(t *testing.T, authority string) localvault.STSConfig {
	t.Helper()
	return localvault.STSConfig{
		Authority:      authority,
		TenantID:       tenant,
		ClientID:       client,
		ClientSecret:   broker.NewValue(clientSecret),
		IdentityHeader: broker.NewValue(identityHeader),
		KeyFile:        filepath.Join(t.TempDir(), "sts.pem"),
	}
}

func newSTS(t *testing.T, c localvault.STSConfig) *localvault.STS {
	t.Helper()
	s, err := localvault.NewSTS(c)
	must(t, err)
	return s
}

// serveSTS runs a token service over TLS. log is all that it logged.
func serveSTS(t *testing.T, audience string) (s *localvault.STS, server *httptest.Server, log *strings.Builder) {
	t.Helper()
	log = new(strings.Builder)
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(w, r) }))
	server.StartTLS()
	t.Cleanup(server.Close)
	c := stsConfig(t, server.URL)
	c.Audience = audience
	c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s = newSTS(t, c)
	return s, server, log
}

func tokenOptions(scope string) policy.TokenRequestOptions {
	return policy.TokenRequestOptions{Scopes: []string{scope}, EnableCAE: true}
}

func clientOptions(server *httptest.Server) azcore.ClientOptions {
	return azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: server.URL},
		Transport: server.Client(),
		Retry:     policy.RetryOptions{MaxRetries: -1},
	}
}

func TestClientSecretCredential(t *testing.T) {
	s, server, log := serveSTS(t, "")
	credential := func(secret string) (azcore.AccessToken, error) {
		c, err := azidentity.NewClientSecretCredential(tenant, client, secret, &azidentity.ClientSecretCredentialOptions{
			ClientOptions: clientOptions(server), DisableInstanceDiscovery: true,
		})
		must(t, err)
		return c.GetToken(t.Context(), tokenOptions(vaultScope))
	}
	token, err := credential(clientSecret)
	must(t, err)
	if err := s.Verify(t.Context(), token.Token); err != nil {
		t.Errorf("the token is refused: %v", err)
	}
	_, err = credential("wrong")
	if err == nil || !strings.Contains(err.Error(), "AADSTS7000215") {
		t.Errorf("with a wrong secret: %v; want AADSTS7000215", err)
	}
	for _, text := range []string{clientSecret, token.Token, url.QueryEscape(clientSecret)} {
		if strings.Contains(log.String(), text) {
			t.Error("a secret or a token was logged")
		}
	}
}

func TestDiscovery(t *testing.T) {
	_, server, _ := serveSTS(t, "")
	var doc struct {
		Issuer    string   `json:"issuer"`
		Authorize string   `json:"authorization_endpoint"`
		Token     string   `json:"token_endpoint"`
		Keys      string   `json:"jwks_uri"`
		Algs      []string `json:"id_token_signing_alg_values_supported"`
	}
	getJSON(t, server, server.URL+"/"+tenant+"/v2.0/.well-known/openid-configuration", &doc)
	for _, u := range []string{doc.Issuer, doc.Authorize, doc.Token, doc.Keys} {
		if !strings.HasPrefix(u, server.URL+"/"+tenant+"/") {
			t.Errorf("%q is not under the authority and the tenant", u)
		}
	}
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	getJSON(t, server, doc.Keys, &set)
	if len(set.Keys) != 1 || set.Keys[0]["kid"] == "" || set.Keys[0]["alg"] != doc.Algs[0] {
		t.Errorf("keys %v, want one with an id and algorithm %v", set.Keys, doc.Algs)
	}
	if _, ok := set.Keys[0]["d"]; ok {
		t.Error("the private key is published")
	}
}

func getJSON(t *testing.T, server *httptest.Server, from string, into any) {
	t.Helper()
	resp, err := server.Client().Get(from)
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", from, resp.Status)
	}
	must(t, json.NewDecoder(resp.Body).Decode(into))
}

func TestTokenEndpoint(t *testing.T) {
	s := newSTS(t, stsConfig(t, "https://127.0.0.1:7445"))
	good := url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {client},
		"client_secret": {clientSecret},
		"scope":         {vaultScope + " openid offline_access profile"},
		"claims":        {`{"access_token":{"xms_cc":{"values":["CP1"]}}}`},
	}
	with := func(pairs ...string) func(*http.Request) {
		return func(r *http.Request) {
			form := maps.Clone(good)
			for i := 0; i < len(pairs); i += 2 {
				if form.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
					form.Del(pairs[i])
				}
			}
			r.Body = io.NopCloser(strings.NewReader(form.Encode()))
		}
	}
	tests := map[string]struct {
		change func(*http.Request)
		status int
		oauth  string // "" is a token
		code   int
	}{
		"good":                    {with(), 200, "", 0},
		"scope alone":             {with("scope", vaultScope), 200, "", 0},
		"scope with a slash":      {with("scope", "https://vault.azure.net//.default"), 200, "", 0},
		"query beside the form":   {func(r *http.Request) { with()(r); r.URL.RawQuery = "client-request-id=1" }, 200, "", 0},
		"tenant in upper case":    {func(r *http.Request) { with()(r); r.URL.Path = "/" + strings.ToUpper(tenant) + "/oauth2/v2.0/token" }, 200, "", 0},
		"wrong secret":            {with("client_secret", "wrong"), 401, "invalid_client", 7000215},
		"part of the secret":      {with("client_secret", clientSecret[:5]), 401, "invalid_client", 7000215},
		"no secret":               {with("client_secret", ""), 401, "invalid_client", 7000216},
		"assertion of no type":    {with("client_secret", "", "client_assertion", "x.y.z"), 400, "invalid_request", 90013},
		"wrong client":            {with("client_id", "other"), 400, "unauthorized_client", 700016},
		"no client":               {with("client_id", ""), 400, "invalid_request", 900144},
		"password grant":          {with("grant_type", "password"), 400, "unsupported_grant_type", 70003},
		"no grant":                {with("grant_type", ""), 400, "invalid_request", 900144},
		"no scope":                {with("scope", ""), 400, "invalid_request", 900144},
		"another resource":        {with("scope", "https://management.azure.com/.default"), 400, "invalid_scope", 70011},
		"two resources":           {with("scope", vaultScope+" https://management.azure.com/.default"), 400, "invalid_scope", 70011},
		"a resource that is more": {with("scope", "https://vault.azure.net.example.org/.default"), 400, "invalid_scope", 70011},
		"no resource":             {with("scope", "openid profile"), 400, "invalid_scope", 70011},
		"wrong tenant":            {func(r *http.Request) { with()(r); r.URL.Path = "/other/oauth2/v2.0/token" }, 400, "invalid_request", 90002},
		"form in the query": {
			func(r *http.Request) { r.URL.RawQuery = good.Encode(); r.Body = http.NoBody },
			400, "invalid_request", 900144,
		},
		"not a form": {
			func(r *http.Request) { with()(r); r.Header.Set("Content-Type", "application/json") },
			400, "invalid_request", 900144,
		},
		"broken escapes": {func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("grant_type=%zz")) }, 400, "invalid_request", 90013},
		"a body too long": {
			func(r *http.Request) {
				r.Body = io.NopCloser(io.MultiReader(strings.NewReader(good.Encode()+"&x="), strings.NewReader(strings.Repeat("x", 1<<20))))
			},
			400, "invalid_request", 90013,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/"+tenant+"/oauth2/v2.0/token", http.NoBody)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
			r.Header.Set("client-request-id", "6c340c8c-14c7-4197-bd71-f510287fba40")
			tt.change(r)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			var body struct {
				Token       string `json:"access_token"`
				Type        string `json:"token_type"`
				ExpiresIn   int    `json:"expires_in"`
				Error       string `json:"error"`
				Description string `json:"error_description"`
				Codes       []int  `json:"error_codes"`
				Trace       string `json:"trace_id"`
				Correlation string `json:"correlation_id"`
			}
			must(t, json.Unmarshal(w.Body.Bytes(), &body))
			if w.Code != tt.status || body.Error != tt.oauth {
				t.Fatalf("%d %q, want %d %q", w.Code, body.Error, tt.status, tt.oauth)
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q", got)
			}
			if tt.oauth == "" {
				if err := s.Verify(t.Context(), body.Token); err != nil {
					t.Errorf("the token is refused: %v", err)
				}
				if body.Type != "Bearer" || body.ExpiresIn != 3599 {
					t.Errorf("a %q for %d seconds; want a Bearer for 3599", body.Type, body.ExpiresIn)
				}
				return
			}
			if body.Token != "" {
				t.Error("a refusal carries a token")
			}
			if len(body.Codes) != 1 || body.Codes[0] != tt.code || !strings.HasPrefix(body.Description, fmt.Sprintf("AADSTS%d: ", tt.code)) {
				t.Errorf("codes %v, %q; want AADSTS%d", body.Codes, body.Description, tt.code)
			}
			if body.Correlation != "6c340c8c-14c7-4197-bd71-f510287fba40" || len(body.Trace) != 36 {
				t.Errorf("correlation %q, trace %q", body.Correlation, body.Trace)
			}
		})
	}
}

func TestOwns(t *testing.T) {
	s := newSTS(t, stsConfig(t, "https://127.0.0.1:7445"))
	tests := map[string]bool{
		"/" + tenant + "/v2.0/.well-known/openid-configuration": true,
		"/" + tenant + "/discovery/v2.0/keys":                   true,
		"/" + tenant + "/oauth2/v2.0/token":                     true,
		"/other/oauth2/v2.0/token":                              true, // to be told that the tenant is wrong
		"/msi/token":                                            true,
		"/metadata/identity/oauth2/token":                       true,
		"/metadata/identity/oauth2/token/":                      true,
		"/metadata/identity/oauth2/token//":                     false,
		"/":                                                     false,
		"/secrets":                                              false,
		"/secrets/msi/token":                                    false,
		"/secrets/oauth2/0123456789abcdef0123456789abcdef":      false,
		"/keys/n//sign":                                         false,
		"/" + tenant + "/oauth2/v2.0/token/":                    false,
		"//" + tenant + "/oauth2/v2.0/token":                    false,
	}
	for path, want := range tests {
		if got := s.Owns(path); got != want {
			t.Errorf("Owns(%q) = %v", path, got)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "https://127.0.0.1:7445/", http.NoBody)
		r.URL.Path = path
		if s.ServeHTTP(w, r); !want && w.Code != http.StatusNotFound {
			t.Errorf("%q, which is not the service's, is answered with %d", path, w.Code)
		}
	}
}

func TestNewSTSRefuses(t *testing.T) {
	tests := map[string]struct {
		spoil func(*localvault.STSConfig)
		want  string
	}{
		"plain http":     {func(c *localvault.STSConfig) { c.Authority = "http://127.0.0.1:7445" }, "authority"},
		"a path":         {func(c *localvault.STSConfig) { c.Authority += "/sts" }, "authority"},
		"no authority":   {func(c *localvault.STSConfig) { c.Authority = "" }, "authority"},
		"no tenant":      {func(c *localvault.STSConfig) { c.TenantID = "" }, "required"},
		"no client":      {func(c *localvault.STSConfig) { c.ClientID = "" }, "required"},
		"no secret":      {func(c *localvault.STSConfig) { c.ClientSecret = broker.Value{} }, "required"},
		"a life below 0": {func(c *localvault.STSConfig) { c.TokenLife = -1 }, "cannot live"},
		"a broken key": {
			func(c *localvault.STSConfig) { _ = os.WriteFile(c.KeyFile, []byte("-----BEGIN X-----"), 0o600) },
			"remove it",
		},
		"a key open to all": {
			func(c *localvault.STSConfig) {
				_ = os.WriteFile(c.KeyFile, nil, 0o600)
				_ = os.Chmod(c.KeyFile, 0o604)
			},
			"chmod 600",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := stsConfig(t, "https://127.0.0.1:7445")
			tt.spoil(&c)
			if _, err := localvault.NewSTS(c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want it to say %q", err, tt.want)
			}
		})
	}
}
