package vaulthttp_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
)

// simulated is a vault in memory that behaves so.
func simulated(t *testing.T, s vaulthttp.Simulation) vault {
	t.Helper()
	name, err := broker.VaultName("dev")
	if err != nil {
		t.Fatal(err)
	}
	v := vault{store: brokertest.NewSecretStore(name)}
	v.Handler = vaulthttp.New(vaulthttp.Config{
		Vault: name, Secrets: v.store, Tokens: anyOf{token, "another"},
		Authority: "https://login.example/tenant-1", Resource: "https://vault.azure.net", Simulate: s,
	})
	return v
}

// anyOf accepts tokens that begin with one of some texts.
type anyOf []string

func (a anyOf) Verify(_ context.Context, token string) error {
	if !slices.ContainsFunc(a, func(one string) bool { return strings.HasPrefix(token, one) }) {
		return errors.New("another token")
	}
	return nil
}

// expect sends a request and holds the reply to a status and codes.
func (v vault) expect(t *testing.T, method, target, body string, status int, code string) map[string]any {
	t.Helper()
	resp, got := v.do(t, method, target+"?api-version=7.4", body)
	said := text(got, "error", "code")
	if inner := text(got, "error", "innererror", "code"); inner != "" {
		said += "/" + inner
	}
	if resp.StatusCode != status || said != code {
		t.Errorf("%s %s: %d %s, want %d %s", method, target, resp.StatusCode, said, status, code)
	}
	return got
}

func ids(t *testing.T, page map[string]any) (all []string) {
	t.Helper()
	items, ok := page["value"].([]any)
	if !ok {
		t.Fatalf("no list: %v", page)
	}
	for _, item := range items {
		all = append(all, text(item, "id"))
	}
	return all
}

func TestSimulateEmptyPages(t *testing.T) {
	v := simulated(t, vaulthttp.Simulation{EmptyPages: true})
	var want []string
	for i := range 5 {
		name := fmt.Sprint("s", i)
		v.set(t, name, "v")
		want = append(want, "https://dev.vault.example/secrets/"+name)
	}
	v.set(t, "s0", "w")
	for i := range 3 {
		name := fmt.Sprint("x", i)
		v.set(t, name, "v")
		v.expect(t, "DELETE", "/secrets/"+name, "", 200, "")
	}
	for path, count := range map[string]int{"/secrets": 5, "/secrets/s0/versions": 2, "/deletedsecrets/": 3} {
		t.Run(path, func(t *testing.T) {
			var got []string
			pages := 0
			for target := path + "?api-version=7.4&maxresults=2"; target != ""; pages++ {
				resp, page := v.do(t, "GET", target, "")
				all := ids(t, page)
				if resp.StatusCode != 200 || (pages%2 == 0) != (len(all) == 0) || pages > 10 {
					t.Fatalf("page %d: %d %v", pages, resp.StatusCode, page)
				}
				got = append(got, all...)
				u, err := url.Parse(text(page, "nextLink"))
				if err != nil {
					t.Fatal(err)
				}
				target = ""
				if u.Host != "" {
					target = u.RequestURI()
				}
			}
			if len(got) != count || path == "/secrets" && !slices.Equal(got, want) {
				t.Errorf("%v, want %d", got, count)
			}
		})
	}
	if resp, got := v.do(t, "GET", "/secrets?api-version=7.4&maxresults=0", ""); resp.StatusCode != 400 {
		t.Errorf("maxresults=0: %d %v", resp.StatusCode, got)
	}
}

func TestSimulateLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := simulated(t, vaulthttp.Simulation{Latency: 250 * time.Millisecond})
		began := time.Now()
		v.expect(t, "GET", "/secrets/none", "", 404, "SecretNotFound")
		if d := time.Since(began); d != 250*time.Millisecond {
			t.Errorf("answered after %v", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began = time.Now()
		v.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "https://dev.vault.example/secrets", nil))
		if d := time.Since(began); d != 0 {
			t.Errorf("a caller that went away is waited for %v", d)
		}
	})
}

func TestSimulateClaims(t *testing.T) {
	v := simulated(t, vaulthttp.Simulation{Claims: true})
	with := func(token string) (*http.Response, map[string]any) {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "https://dev.vault.example/secrets?api-version=7.4", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		return v.send(t, r)
	}
	// A bad token is refused as ever, and does not count.
	if resp, _ := with("bad"); resp.StatusCode != 401 || strings.Contains(resp.Header.Get("Www-Authenticate"), "claims") {
		t.Errorf("a bad token: %d %s", resp.StatusCode, resp.Header.Get("Www-Authenticate"))
	}
	for range 2 {
		resp, got := with(token)
		challenge := resp.Header.Get("Www-Authenticate")
		_, claims, _ := strings.Cut(challenge, `, error="insufficient_claims", claims="`)
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(claims, `"`))
		if resp.StatusCode != 401 || err != nil || !json.Valid(decoded) || !strings.Contains(string(decoded), "access_token") ||
			!strings.HasPrefix(challenge, `Bearer authorization="https://login.example/tenant-1", resource=`) || text(got, "error", "code") != "Unauthorized" {
			t.Errorf("%d %s, %v", resp.StatusCode, challenge, got)
		}
	}
	for _, token := range []string{"another", token + "-2"} {
		if resp, got := with(token); resp.StatusCode != 200 {
			t.Errorf("another token: %d %v", resp.StatusCode, got)
		}
	}
}

func TestSimulateDeny(t *testing.T) {
	jwt := func(claims string) string {
		return token + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".x"
	}
	v := simulated(t, vaulthttp.Simulation{Deny: []string{"none", "App-1"}})
	tests := map[string]struct {
		token, method, target string
		words                 []string // none is no denial
	}{
		"by a version 2 token": {
			jwt(`{"azp":"app-1","oid":"o-1","iss":"https://sts.example/"}`), "GET", "/secrets/db",
			[]string{"Caller: appid=app-1;oid=o-1;iss=https://sts.example/\r\n", "Action: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'\r\n", "/vaults/dev/secrets/db'\r\n", "DecisionReason: 'DeniedWithNoValidRBAC'"},
		},
		"by a version 1 token": {jwt(`{"appid":"app-1","sub":"s-1"}`), "GET", "/secrets/db", []string{"appid=app-1;oid=s-1;"}},
		"a list":               {jwt(`{"azp":"app-1"}`), "GET", "/secrets", []string{"secrets/readMetadata/action'", "/vaults/dev'\r\n"}},
		"a set":                {jwt(`{"azp":"app-1"}`), "PUT", "/secrets/db", []string{"secrets/setSecret/action'"}},
		"an update":            {jwt(`{"azp":"app-1"}`), "PATCH", "/secrets/db", []string{"secrets/update/action'"}},
		"a delete":             {jwt(`{"azp":"app-1"}`), "DELETE", "/secrets/db", []string{"secrets/delete'"}},
		"a purge":              {jwt(`{"azp":"app-1"}`), "DELETE", "/deletedsecrets/db", []string{"secrets/purge/action'"}},
		"a recovery":           {jwt(`{"azp":"app-1"}`), "POST", "/deletedsecrets/db/recover", []string{"secrets/recover/action'"}},
		"a backup":             {jwt(`{"azp":"app-1"}`), "POST", "/secrets/db/backup", []string{"secrets/backup/action'"}},
		"a restore":            {jwt(`{"azp":"app-1"}`), "POST", "/secrets/restore", []string{"secrets/restore/action'"}},
		"another application":  {jwt(`{"azp":"app-2"}`), "GET", "/secrets/db", nil},
		"no JWT":               {token, "GET", "/secrets/db", nil},
		"no claims":            {token + ".x.x", "GET", "/secrets/db", nil},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), tt.method, "https://dev.vault.example"+tt.target+"?api-version=7.4", strings.NewReader("{}"))
			r.Header.Set("Authorization", "Bearer "+tt.token)
			resp, got := v.send(t, r)
			if tt.words == nil {
				if resp.StatusCode != 404 {
					t.Errorf("%d %v", resp.StatusCode, got)
				}
				return
			}
			if resp.StatusCode != 403 || text(got, "error", "code") != "Forbidden" || text(got, "error", "innererror", "code") != "ForbiddenByRbac" {
				t.Errorf("%d %v", resp.StatusCode, got)
			}
			for _, words := range tt.words {
				if !strings.Contains(text(got, "error", "message"), words) {
					t.Errorf("%q, want %q in it", text(got, "error", "message"), words)
				}
			}
		})
	}
}
