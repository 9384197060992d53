package keyvault_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestURL(t *testing.T) {
	tests := map[string]string{ // to a word of the error, "" for none
		"https://pay.vault.azure.net":      "",
		"https://pay.vault.azure.net/":     "",
		"https://pay.vault.azure.net:443":  "",
		"https://127.0.0.1:7445":           "",
		"https://[::1]:7445":               "",
		"":                                 "missing",
		"pay.vault.azure.net":              "https://",
		"http://pay.vault.azure.net":       "https://",
		"https://":                         "host",
		"https://:443":                     "host",
		"https://u:hunter2@v.azure.net":    "password",
		"https://v.azure.net/secrets":      "end after the host",
		"https://v.azure.net?a=b":          "end after the host",
		"https://v.azure.net#a":            "end after the host",
		"https://v.azure.net\x00:hunter2@": "cannot be read",
	}
	for url, word := range tests {
		t.Run(url, func(t *testing.T) {
			c, err := keyvault.New(keyvault.Config{URL: url, Tokens: &tokens{}})
			if word == "" {
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
				return
			}
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Fatalf("%v; want a word on %q", err, word)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error quotes the password: %v", err)
			}
		})
	}
	if _, err := keyvault.New(keyvault.Config{URL: "https://pay.vault.azure.net"}); err == nil {
		t.Error("a client without a token source")
	}
}

// What goes over the wire, exactly.
func TestRequests(t *testing.T) {
	var got *http.Request
	var body []byte
	c := newClient(t, keyvault.Config{
		URL: "https://pay.vault.azure.net", APIVersion: "7.4",
		Transport: exchange(func(r *http.Request) (*http.Response, error) {
			got, body = r, nil
			if r.Body != nil {
				var err error
				if body, err = io.ReadAll(r.Body); err != nil {
					return nil, err
				}
			}
			return answer(r), nil
		}),
	})
	name := secretNamed(t, "DB-password")
	pinned, err := name.WithVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	update := func(n broker.Name, u broker.SecretUpdate) func() error {
		return func() error { _, err := c.UpdateSecret(t.Context(), n, u); return err }
	}
	const path = "https://pay.vault.azure.net/secrets/db-password"
	const deletedPath = "https://pay.vault.azure.net/deletedsecrets/db-password"
	tests := map[string]struct {
		act        func() error
		line, body string
	}{
		"get":         {func() error { _, err := c.GetSecret(t.Context(), name); return err }, "GET " + path + "?api-version=7.4", ""},
		"get version": {func() error { _, err := c.GetSecret(t.Context(), pinned); return err }, "GET " + path + "/" + version + "?api-version=7.4", ""},
		"set": {func() error {
			_, err := c.SetSecret(t.Context(), name, broker.NewSecret{Value: broker.NewValue("v")})
			return err
		}, "PUT " + path + "?api-version=7.4", `{"value":"v","attributes":{"enabled":false}}`},
		"delete":              {func() error { _, err := c.DeleteSecret(t.Context(), name); return err }, "DELETE " + path + "?api-version=7.4", ""},
		"update":              {update(name, broker.SecretUpdate{Enabled: new(false)}), "PATCH " + path + "?api-version=7.4", `{"attributes":{"enabled":false}}`},
		"update of a version": {update(pinned, broker.SecretUpdate{ContentType: new("text/plain")}), "PATCH " + path + "/" + version + "?api-version=7.4", `{"contentType":"text/plain"}`},
		"update to nothing": {
			update(name, broker.SecretUpdate{ContentType: new(""), Tags: &map[string]string{}}),
			"PATCH " + path + "?api-version=7.4", `{"contentType":"","tags":{}}`,
		},
		"update to no tags": {
			update(name, broker.SecretUpdate{Tags: new(map[string]string)}),
			"PATCH " + path + "?api-version=7.4", `{"tags":{}}`, // null would leave them
		},
		"update of all": {update(name, broker.SecretUpdate{
			ContentType: new("a"), Tags: &map[string]string{"b": "c"}, Enabled: new(true),
			NotBefore: new(time.Unix(1700000000, 0)), Expires: new(time.Unix(1800000000, 999)),
		}), "PATCH " + path + "?api-version=7.4", `{"contentType":"a","tags":{"b":"c"},"attributes":{"enabled":true,"nbf":1700000000,"exp":1800000000}}`},
		"get deleted": {func() error { _, err := c.GetDeletedSecret(t.Context(), name); return err }, "GET " + deletedPath + "?api-version=7.4", ""},
		"list deleted": {func() error {
			_, err := c.ListDeletedSecrets(t.Context(), vaultName(t), broker.Page{Size: 7})
			return err
		}, "GET https://pay.vault.azure.net/deletedsecrets?api-version=7.4&maxresults=7", ""},
		"recover": {func() error { _, err := c.RecoverSecret(t.Context(), name); return err }, "POST " + deletedPath + "/recover?api-version=7.4", ""},
		"purge":   {func() error { return c.PurgeSecret(t.Context(), name) }, "DELETE " + deletedPath + "?api-version=7.4", ""},
		"backup":  {func() error { _, err := c.BackupSecret(t.Context(), name); return err }, "POST " + path + "/backup?api-version=7.4", ""},
		"restore": {func() error {
			_, err := c.RestoreSecret(t.Context(), vaultName(t), broker.NewValue(")Azure\xff\xfe?"))
			return err
		}, "POST https://pay.vault.azure.net/secrets/restore?api-version=7.4", `{"value":"KUF6dXJl__4_"}`},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			if err := tt.act(); err != nil {
				t.Fatal(err)
			}
			if line := got.Method + " " + got.URL.String(); line != tt.line {
				t.Errorf("%s, want %s", line, tt.line)
			}
			if string(body) != tt.body || (got.Header.Get("Content-Type") != "") != (tt.body != "") {
				t.Errorf("body %q of type %q, want %q", body, got.Header.Get("Content-Type"), tt.body)
			}
			if a := got.Header.Get("Authorization"); a != "Bearer "+testToken {
				t.Error("the token is not in the request")
			}
		})
	}
}

func TestScope(t *testing.T) {
	tests := map[string]string{
		"https://pay.vault.azure.net":          "https://vault.azure.net/.default",
		"https://PAY.VAULT.AZURE.NET:443":      "https://vault.azure.net/.default",
		"https://pay.vault.azure.cn":           "https://vault.azure.cn/.default",
		"https://pay.vault.usgovcloudapi.net":  "https://vault.usgovcloudapi.net/.default",
		"https://pay.managedhsm.azure.net":     "https://managedhsm.azure.net/.default",
		"https://127.0.0.1:7445":               "https://vault.azure.net/.default",
		"https://vault.azure.net.evil.example": "https://vault.azure.net/.default",
	}
	for url, want := range tests {
		t.Run(url, func(t *testing.T) {
			src := &scopes{}
			c := newClient(t, keyvault.Config{
				URL: url, Tokens: src,
				Transport: exchange(func(*http.Request) (*http.Response, error) { return respond(200, bundle("db")), nil }),
			})
			if _, err := c.GetSecret(t.Context(), secretNamed(t, "db")); err != nil {
				t.Fatal(err)
			}
			if src.last != want {
				t.Errorf("scope %s, want %s", src.last, want)
			}
		})
	}
}

// The vault refuses a token that was good before, and names a scope and a
// tenant of its own liking. All callers share one new token, asked for as ever.
func TestChallenge(t *testing.T) {
	const claims = `{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}`
	encoded := base64.StdEncoding.EncodeToString([]byte(claims))
	const elsewhere = `Bearer authorization="https://evil.example/tenant", resource="https://evil.example"`
	tests := map[string]struct{ challenge, claims string }{
		"with claims":   {elsewhere + `, error="insufficient_claims", claims="` + encoded + `"`, claims},
		"revoked":       {elsewhere, ""},
		"no words":      {"", ""},
		"malformed":     {elsewhere + `, error="insufficient_claims", claims="***"`, ""},
		"another error": {elsewhere + `, error="invalid_token", claims="` + encoded + `"`, ""},
		"no error":      {elsewhere + `, claims="` + encoded + `"`, ""},
		"5 KiB of them": {elsewhere + `, error="insufficient_claims", claims="` +
			base64.StdEncoding.EncodeToString([]byte(`"`+strings.Repeat("a", 5<<10)+`"`)) + `"`, ""},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			var refused atomic.Int64
			url, roots := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer token-2" {
					refused.Add(1)
					w.Header().Set("Www-Authenticate", tt.challenge)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				_, _ = fmt.Fprint(w, bundle("db"))
			}), true)
			src := &scopes{}
			c := newClient(t, keyvault.Config{URL: url, RootCAs: roots, Tokens: newCache(t, src, keyvault.TokenCacheConfig{})})
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					if _, err := c.GetSecret(t.Context(), secretNamed(t, "db")); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if src.n != 2 || src.claims != tt.claims || src.last != scope {
				t.Errorf("%d requests, the last for %s with claims %q; want 2, %s, %q", src.n, src.last, src.claims, scope, tt.claims)
			}
			if n := refused.Load(); n == 0 || n > 50 {
				t.Errorf("%d requests were refused, want 1 to 50", n)
			}
		})
	}
}

// A set is replayed with its body: refused with 401, it has done nothing.
func TestChallengeReplaysASet(t *testing.T) {
	var bodies []string
	c := newClient(t, keyvault.Config{
		URL: "https://pay.vault.azure.net", Tokens: newCache(t, &scopes{}, keyvault.TokenCacheConfig{}),
		Transport: exchange(func(r *http.Request) (*http.Response, error) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			bodies = append(bodies, string(b))
			if r.Header.Get("Authorization") != "Bearer token-2" {
				return respond(401, ""), nil
			}
			return respond(200, bundle("db")), nil
		}),
	})
	if _, err := c.SetSecret(t.Context(), secretNamed(t, "db"), broker.NewSecret{Value: broker.NewValue("v")}); err != nil {
		t.Fatal(err)
	}
	if len(bodies) != 2 || bodies[0] != bodies[1] || !strings.Contains(bodies[0], `"value":"v"`) {
		t.Errorf("bodies %q, want two alike", bodies)
	}
}

// A vault that refuses whatever it is shown gets two requests, not a loop.
func TestChallengeWithoutEnd(t *testing.T) {
	var calls int
	src := &scopes{}
	c := newClient(t, keyvault.Config{
		URL: "https://pay.vault.azure.net", Tokens: newCache(t, src, keyvault.TokenCacheConfig{}),
		Transport: exchange(func(*http.Request) (*http.Response, error) {
			calls++
			return respond(401, `{"error":{"code":"Unauthorized","message":"AKV10022: Invalid audience."}}`), nil
		}),
	})
	for range 20 {
		_, err := c.GetSecret(t.Context(), secretNamed(t, "db"))
		wantCode(t, err, broker.CodeVaultAuthentication)
	}
	if calls != 21 || src.n != 2 {
		t.Errorf("%d calls and %d tokens, want 21 and 2", calls, src.n)
	}
}

// An HTTP/1.1 vault gets more connections than one that multiplexes.
func TestConnections(t *testing.T) {
	const callers = 20
	for label, tt := range map[string]struct {
		http2       bool
		least, most int
	}{"HTTP/2": {true, 1, 4}, "HTTP/1.1": {false, callers, 64}} {
		t.Run(label, func(t *testing.T) {
			var mu sync.Mutex
			peers := make(map[string]bool)
			var inside sync.WaitGroup
			inside.Add(callers)
			var warm atomic.Bool
			url, roots := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				peers[r.RemoteAddr] = true
				mu.Unlock()
				if warm.Load() {
					// All callers are inside at once, or the test hangs.
					inside.Done()
					inside.Wait()
				}
				_, _ = fmt.Fprint(w, bundle("db"))
			}), tt.http2)
			c := newClient(t, keyvault.Config{URL: url, RootCAs: roots})
			name := secretNamed(t, "db")
			if _, err := c.GetSecret(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			clear(peers)
			warm.Store(true)
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					if _, err := c.GetSecret(t.Context(), name); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if len(peers) < tt.least || len(peers) > tt.most {
				t.Errorf("%d connections, want %d to %d", len(peers), tt.least, tt.most)
			}
		})
	}
}

// scopes is a source that remembers what it was asked for.
type scopes struct {
	mu           sync.Mutex
	n            int
	last, claims string
}

func (s *scopes) Token(_ context.Context, scope, claims string) (keyvault.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.last, s.claims = scope, claims
	return tokenOf(fmt.Sprint("token-", s.n), time.Hour), nil
}
