package keyvault_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

const clientSecret = "client-secret-3f2a"

// entra is a token service as Entra ID is one: discovery, and tokens for a
// client that proves itself with the secret.
type entra struct {
	*httptest.Server
	mu     sync.Mutex
	tokens int
	forms  []map[string][]string
	// fail answers a token request in its stead.
	fail func(w http.ResponseWriter)
}

func newEntra(t *testing.T) *entra {
	t.Helper()
	e := &entra{}
	e.Server = httptest.NewUnstartedServer(e)
	e.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	e.StartTLS()
	t.Cleanup(e.Close)
	return e
}

func (e *entra) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/tenant-1/v2.0/.well-known/openid-configuration":
		base := "https://" + r.Host + "/tenant-1"
		_ = json.NewEncoder(w).Encode(map[string]string{
			"issuer": base + "/v2.0", "authorization_endpoint": base + "/oauth2/v2.0/authorize",
			"token_endpoint": base + "/oauth2/v2.0/token", "jwks_uri": base + "/discovery/v2.0/keys",
		})
	case "/tenant-1/oauth2/v2.0/token":
		e.mu.Lock()
		defer e.mu.Unlock()
		_ = r.ParseForm()
		e.forms = append(e.forms, r.PostForm)
		switch {
		case e.fail != nil:
			e.fail(w)
		case r.PostForm.Get("client_secret") != clientSecret:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided for app app-1. https://aka.ms",`+
				`"error_codes":[7000215],"error_uri":"https://login.microsoftonline.com/error?code=7000215"}`)
		default:
			e.tokens++
			_, _ = fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"token-%d"}`, e.tokens)
		}
	default:
		http.NotFound(w, r)
	}
}

func (e *entra) source(t *testing.T, secret string) keyvault.TokenSource {
	t.Helper()
	s, err := keyvault.ClientSecret(keyvault.ClientSecretConfig{
		TenantID: "tenant-1", ClientID: "app-1", Secret: broker.NewValue(secret),
		Authority: e.URL, RootCAs: rootsOf(e.Server),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestClientSecret(t *testing.T) {
	e := newEntra(t)
	src := e.source(t, clientSecret)
	// The first token would be good for another hour: each call gets a new one
	// all the same.
	for want := range 3 {
		got, err := src.Token(t.Context(), scope, "")
		if err != nil {
			t.Fatal(err)
		}
		if got.Value.Reveal() != fmt.Sprint("token-", want+1) {
			t.Error("the token comes from a cache below ours")
		}
		if life := time.Until(got.Expires); life < 50*time.Minute || life > time.Hour {
			t.Errorf("a life of %v, want an hour", life)
		}
	}
	form := e.forms[0]
	if form["grant_type"][0] != "client_credentials" || form["client_id"][0] != "app-1" || !strings.HasPrefix(form["scope"][0], scope) {
		t.Errorf("the request for a token: %v", form)
	}
	if _, err := src.Token(t.Context(), scope, `{"access_token":{"nbf":{"essential":true,"value":"160"}}}`); err != nil {
		t.Fatal(err)
	}
	if claims := e.forms[3]["claims"]; len(claims) != 1 || !strings.Contains(claims[0], `"nbf"`) || !strings.Contains(claims[0], "CP1") {
		t.Errorf("claims %v, want those of the challenge and the client's capability", claims)
	}
}

func TestRefusedClientSecret(t *testing.T) {
	e := newEntra(t)
	const wrong = "wrong-secret-91c"
	var log bytes.Buffer
	cache := newCache(t, e.source(t, wrong), keyvault.TokenCacheConfig{Logger: debugLog(&log)})
	for range 5 {
		_, err := cache.Token(t.Context(), scope, "")
		wantCode(t, err, broker.CodeVaultAuthentication)
		e := broker.AsError(err)
		if e.Message != "" || e.RetryAfter <= 50*time.Second || e.RetryAfter > time.Minute {
			t.Errorf("message %q, retry after %v; want none, and a minute", e.Message, e.RetryAfter)
		}
		if !strings.Contains(e.Error(), "AADSTS7000215") || !strings.Contains(e.Error(), "check the tenant") {
			t.Errorf("the log does not say what to do: %v", e)
		}
	}
	if n := len(e.forms); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	if s := log.String(); !strings.Contains(s, "AADSTS7000215") || strings.Contains(s, wrong) || strings.Contains(s, e.URL) {
		t.Errorf("the log: %s", s)
	}
}

// Whatever the token service answers, it is an error that holds none of it,
// and nothing is sent elsewhere.
func TestHostileTokenService(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	for label, fail := range map[string]func(http.ResponseWriter){
		"HTML":      func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>"+canary) },
		"no token":  func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"access_token":"","note":"`+canary+`"}`) },
		"not JSON":  func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"access_token":"`+canary) },
		"forbidden": func(w http.ResponseWriter) { w.WriteHeader(403); _, _ = io.WriteString(w, canary) },
		"a redirect": func(w http.ResponseWriter) {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"a huge reply": func(w http.ResponseWriter) {
			for range 100 {
				_, _ = w.Write(bytes.Repeat([]byte(canary), 1000))
			}
		},
	} {
		t.Run(label, func(t *testing.T) {
			e := newEntra(t)
			e.fail = fail
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := e.source(t, clientSecret).Token(ctx, scope, "")
			wantCode(t, err, broker.CodeVaultAuthentication)
			if s := err.Error(); strings.Contains(s, canary) || strings.Contains(s, clientSecret) || strings.Contains(s, "https://") {
				t.Errorf("the error says too much: %s", s)
			}
			if elsewhere.Load() != 0 {
				t.Error("a redirect was followed")
			}
		})
	}
}

func TestCredentialConfig(t *testing.T) {
	good := keyvault.ClientSecretConfig{TenantID: "tenant-1", ClientID: "app-1", Secret: broker.NewValue(clientSecret)}
	for label, change := range map[string]func(*keyvault.ClientSecretConfig){
		"no tenant":          func(c *keyvault.ClientSecretConfig) { c.TenantID = "" },
		"no client":          func(c *keyvault.ClientSecretConfig) { c.ClientID = "" },
		"no secret":          func(c *keyvault.ClientSecretConfig) { c.Secret = broker.Value{} },
		"a malformed tenant": func(c *keyvault.ClientSecretConfig) { c.TenantID = "a/b" },
		"http":               func(c *keyvault.ClientSecretConfig) { c.Authority = "http://login.example" },
		"no host":            func(c *keyvault.ClientSecretConfig) { c.Authority = "https://" },
	} {
		t.Run(label, func(t *testing.T) {
			c := good
			change(&c)
			if _, err := keyvault.ClientSecret(c); err == nil || strings.Contains(err.Error(), clientSecret) {
				t.Errorf("%v; want an error without the secret", err)
			}
		})
	}
	if _, err := keyvault.ClientSecret(good); err != nil {
		t.Error(err)
	}
}

func TestManagedIdentity(t *testing.T) {
	var query string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.RawQuery
		if r.Header.Get("X-Identity-Header") != "header-1" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"mi-token","expires_on":"%d","resource":"https://vault.azure.net","token_type":"Bearer"}`,
			time.Now().Add(24*time.Hour).Unix())
	}))
	t.Cleanup(s.Close)
	t.Setenv("IDENTITY_ENDPOINT", s.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "header-1")
	// azidentity keeps a managed identity's tokens for the process: a name of its
	// own for each run.
	id := rand.Text()
	src, err := keyvault.ManagedIdentity(keyvault.ManagedIdentityConfig{ClientID: id})
	if err != nil {
		t.Fatal(err)
	}
	got, err := src.Token(t.Context(), scope, "")
	if err != nil {
		t.Fatal(err)
	}
	if got.Value.Reveal() != "mi-token" || time.Until(got.Expires) < 23*time.Hour {
		t.Errorf("a token until %v", got.Expires)
	}
	if !strings.Contains(query+"&", "resource=https%3A%2F%2Fvault.azure.net&") ||
		!strings.Contains(query, "client_id="+id) {
		t.Errorf("the query %s lacks the resource or the identity", query)
	}
}

// The metadata endpoint is never asked through a proxy. net/http reads the
// environment once, hence the process of its own.
func TestManagedIdentityUsesNoProxy(t *testing.T) {
	if os.Getenv("HTTP_PROXY") != "" && os.Getenv("IDENTITY_HEADER") == "of-the-proxy-test" {
		src, err := keyvault.ManagedIdentity(keyvault.ManagedIdentityConfig{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = src.Token(ctx, scope, "")
		wantCode(t, err, broker.CodeVaultAuthentication)
		return
	}
	var reached atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(proxy.Close)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestManagedIdentityUsesNoProxy$")
	// 0.0.0.0 is this machine, but for net/http not an address that goes past
	// every proxy.
	cmd.Env = append(os.Environ(), "HTTP_PROXY="+proxy.URL, "NO_PROXY=", "no_proxy=",
		"IDENTITY_ENDPOINT=http://0.0.0.0:1/msi/token", "IDENTITY_HEADER=of-the-proxy-test")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("the proxy saw %d requests", n)
	}
}
