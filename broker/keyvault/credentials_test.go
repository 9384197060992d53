package keyvault_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
	// encodings are those that were asked for.
	encodings []string
	// fail answers a token request in its stead.
	fail func(w http.ResponseWriter)
	// proves judges a request's proof; nil takes the secret.
	proves func(form url.Values) bool
	// tokenEndpoint, if any, is what discovery names instead of our own.
	tokenEndpoint string
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
		if e.tokenEndpoint != "" {
			_ = json.NewEncoder(w).Encode(map[string]string{
				"issuer": base + "/v2.0", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "token_endpoint": e.tokenEndpoint,
			})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{
			"issuer": base + "/v2.0", "authorization_endpoint": base + "/oauth2/v2.0/authorize",
			"token_endpoint": base + "/oauth2/v2.0/token", "jwks_uri": base + "/discovery/v2.0/keys",
		})
	case "/tenant-1/oauth2/v2.0/token":
		e.mu.Lock()
		defer e.mu.Unlock()
		_ = r.ParseForm()
		e.forms = append(e.forms, r.PostForm)
		e.encodings = append(e.encodings, r.Header.Values("Accept-Encoding")...)
		switch {
		case e.fail != nil:
			e.fail(w)
		case e.proves != nil && !e.proves(r.PostForm),
			e.proves == nil && r.PostForm.Get("client_secret") != clientSecret:
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
		if !strings.Contains(e.Error(), "AADSTS7000215") || !strings.Contains(e.Error(), "configure the secret's value") {
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

// What the log is told of a token service that cannot be reached has neither
// its address nor the tenant in it.
func TestUnreachableTokenService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, err := keyvault.ClientSecret(keyvault.ClientSecretConfig{
			TenantID: "tenant-1", ClientID: "app-1", Secret: broker.NewValue(clientSecret), Authority: "https://login.example",
			Transport: exchange(func(*http.Request) (*http.Response, error) { return reset() }),
		})
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		cache := newCache(t, src, keyvault.TokenCacheConfig{Logger: debugLog(&log)})
		_, err = cache.Token(t.Context(), scope, "")
		wantCode(t, err, broker.CodeVaultAuthentication)
		for _, said := range []string{err.Error(), log.String()} {
			if !strings.Contains(said, "cannot be reached: connection reset by peer") {
				t.Errorf("it does not say why: %s", said)
			}
			if strings.Contains(strings.ReplaceAll(said, scope, ""), "://") || strings.Contains(said, "tenant-1") {
				t.Errorf("it says too much: %s", said)
			}
		}
	})
}

// Whatever the token service answers, it is an error that holds none of it,
// and nothing is sent elsewhere.
// A discovery document that names an endpoint elsewhere, or one without TLS,
// gets no byte of a secret there.
func TestHostileDiscovery(t *testing.T) {
	var reached atomic.Int64
	note := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	other, plain := httptest.NewTLSServer(note), httptest.NewServer(note)
	t.Cleanup(other.Close)
	t.Cleanup(plain.Close)
	for label, endpoint := range map[string]string{"another host": other.URL + "/token", "without TLS": plain.URL + "/token"} {
		t.Run(label, func(t *testing.T) {
			e := newEntra(t)
			e.tokenEndpoint = endpoint
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := e.source(t, clientSecret).Token(ctx, scope, "")
			wantCode(t, err, broker.CodeVaultAuthentication)
			if !strings.Contains(err.Error(), "endpoint of another host") || strings.Contains(err.Error(), "://") {
				t.Errorf("got %v", err)
			}
			if n := reached.Load(); n != 0 {
				t.Errorf("%d requests reached it", n)
			}
		})
	}
}

// azidentity would take the region's name for the beginning of another host.
func TestARegionalAuthorityIsRefused(t *testing.T) {
	t.Setenv("AZURE_REGIONAL_AUTHORITY_NAME", "elsewhere")
	_, err := keyvault.ClientSecret(keyvault.ClientSecretConfig{TenantID: "tenant-1", ClientID: "app-1", Secret: broker.NewValue(clientSecret)})
	if err == nil || !strings.Contains(err.Error(), "AZURE_REGIONAL_AUTHORITY_NAME") {
		t.Errorf("a client secret: %v", err)
	}
	if _, err := keyvault.Default(keyvault.DefaultConfig{}); err == nil || !strings.Contains(err.Error(), "AZURE_REGIONAL_AUTHORITY_NAME") {
		t.Errorf("the default chain: %v", err)
	}
}

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
		"a huge reply with a token": func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"padding":"`+strings.Repeat(canary, 1<<20/len(canary))+`","token_type":"Bearer","expires_in":3599,"access_token":"token"}`)
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
