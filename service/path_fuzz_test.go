package service_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/keyvault"
	cedar "github.com/keyward/keyward/broker/policy"
	"github.com/keyward/keyward/service"
	"github.com/keyward/keyward/service/authn"
)

// pathPolicies permit some names and forbid one of them.
const pathPolicies = `
@id("p") permit (principal, action in [Action::"getSecret", Action::"setSecret"], resource)
when { resource.name like "p*" };
@id("k") permit (principal, action in [Action::"getKey", Action::"getCertificate"], resource)
when { resource.name like "p*" };
@id("not-prod") forbid (principal, action, resource == Secret::"vaults/dev/secrets/prod");
`

// restToVault is all that lies between a REST path and the vault's: the gateway,
// real policies, the cache and the client of Key Vault. It remembers what the
// last call decided, and what it asked the vault for.
type restToVault struct {
	h       http.Handler
	decided []broker.Request // in order, those allowed
	denied  int
	asked   []string // "GET /secrets/db"
}

type everybody struct{}

func (everybody) Authenticate(context.Context, authn.Credentials) (broker.Principal, error) {
	return broker.Principal{ID: "fuzz"}, nil
}

type oneToken struct{}

func (oneToken) Token(context.Context, string, string) (keyvault.Token, error) {
	return keyvault.Token{Value: broker.NewValue("t"), Expires: time.Now().Add(time.Hour)}, nil
}

type vaultFunc func(*http.Request) *http.Response

func (f vaultFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

func newRESTToVault(f *testing.F) *restToVault {
	f.Helper()
	w := &restToVault{}
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.cedar"), []byte(pathPolicies), 0o600); err != nil {
		f.Fatal(err)
	}
	engine, err := cedar.Load(dir)
	if err != nil {
		f.Fatal(err)
	}
	vault, err := broker.VaultName("dev")
	if err != nil {
		f.Fatal(err)
	}
	client, err := keyvault.New(keyvault.Config{Vault: vault, URL: "https://vault.example", Tokens: oneToken{}, Transport: vaultFunc(w.answer)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(client.Close)
	b, err := broker.New(broker.Config{
		Vaults: map[string]broker.Vault{"dev": {
			Secrets: broker.NewSecretCache(client, broker.SecretCacheConfig{TTL: time.Hour}), Keys: client, Certificates: client,
		}},
		Authorizer: brokertest.AuthorizerFunc(func(ctx context.Context, r broker.Request) (broker.Decision, error) {
			d, err := engine.Authorize(ctx, r)
			if d.Allowed && err == nil {
				w.decided = append(w.decided, r)
			} else {
				w.denied++
			}
			return d, err
		}),
		Auditor: nowhere{},
	})
	if err != nil {
		f.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	s, err := service.New(service.Config{
		Broker: b, Authenticator: everybody{},
		TLS: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{{}}, PrivateKey: key}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	w.h = service.Gateway(s)
	return w
}

type nowhere struct{}

func (nowhere) Record(context.Context, broker.Event) error { return nil }

// answer is the vault's: each secret has its own path as its value.
func (w *restToVault) answer(r *http.Request) *http.Response {
	path := r.URL.EscapedPath()
	w.asked = append(w.asked, r.Method+" "+path)
	status, body := http.StatusNotFound, `{"error":{"code":"SecretNotFound","message":"x"}}`
	if object, version, pinned := strings.Cut(strings.TrimPrefix(path, "/secrets/"), "/"); strings.HasPrefix(path, "/secrets/") {
		if !pinned {
			version = strings.Repeat("0", 32)
		}
		text, _ := json.Marshal(map[string]any{
			"id": "https://vault.example/secrets/" + object + "/" + version, "value": path, "attributes": map[string]any{"enabled": true},
		})
		status, body = http.StatusOK, string(text)
	}
	return &http.Response{
		StatusCode: status, ProtoMajor: 2, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1,
	}
}

// call returns what the gateway answers.
func (w *restToVault) call(req *http.Request) *httptest.ResponseRecorder {
	w.decided, w.denied, w.asked = nil, 0, nil
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, req)
	return rec
}

// plainPath is a secret's path without any escape.
var plainPath = regexp.MustCompile(`^/v1/vaults/dev/secrets/([0-9A-Za-z-]{1,127})$`)

var versionInPath = regexp.MustCompile(`/versions/([0-9a-f]{32})$`)

// FuzzPath: whatever the path, the vault is asked for exactly what was allowed:
// a permission for n leads to /secrets/n, a denial nowhere. A name and its
// upper-case spelling are decided alike, and are one entry of the cache.
func FuzzPath(f *testing.F) {
	for _, p := range []string{
		"/v1/vaults/dev/secrets/pay", "/v1/vaults/dev/secrets/PAY", "/v1/vaults/dev/secrets/prod", "/v1/vaults/dev/secrets/Prod", "/v1/vaults/dev/secrets/db",
		"/v1/vaults/dev/secrets/..", "/v1/vaults/dev/secrets/p%2fb", "/v1/vaults/dev/secrets/p/../prod", "/v1/vaults/dev/secrets/%2e%2e",
		"/v1/vaults/dev/secrets/p%00", "/v1/vaults/dev/secrets/%70rod", "/v1/vaults/dev/secrets/%50ay", "/v1/vaults/dev/secrets/p\u017f", "/v1/vaults/dev/secrets/\u212aey",
		"//", "*", "/v1/vaults/dev/secrets/pay/versions/%30", "/v1/vaults/dev/secrets/pay/versions/0123456789abcdef0123456789abcdef",
		"/v1/vaults/dev/secrets/%", "/v1/vaults/dev/secrets/p%252fb", "/v1/vaults/dev/secrets/pay?x=1#y", "/v1/vaults/dev/secrets/pay?version=1", "/v1/vaults/dev%2fsecrets/pay",
		"/v1/vaults/dev/secrets/pay;prod", "/v1/vaults/dev/secrets/pay%3bx", "/v1/vaults/dev/secrets/pay:x", "/v1/vaults/dev/keys/pay", "/v1/vaults/dev/certificates/Pay",
		"/v1/vaults/dev/secrets/p\\..\\prod", "/v1/vaults/DEV/secrets/pay", "/V1/vaults/dev/secrets/pay", "/v1/vaults/dev/secrets/pay/", "/v1//vaults/dev/secrets/pay",
	} {
		f.Add("GET", p)
	}
	f.Add("PUT", "/v1/vaults/dev/secrets/pay:x")
	f.Add("POST", "/v1/vaults/dev/secrets/pay:set")
	w := newRESTToVault(f)
	f.Fuzz(func(t *testing.T, method, path string) {
		if !strings.HasPrefix(path, "/") {
			t.Skip()
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "https://keyward"+path, strings.NewReader(`{"value":"x"}`))
		if err != nil {
			t.Skip()
		}
		if method == http.MethodGet {
			req.Body = http.NoBody
		}
		req.RemoteAddr = "127.0.0.1:1"
		rec := w.call(req)
		if rec.Code == http.StatusInternalServerError || rec.Header().Get("Content-Type") != "application/json" && !strings.HasPrefix(path, "/docs") {
			t.Errorf("%s %q: %d %s", method, path, rec.Code, rec.Body)
		}
		w.wantAskedAsAllowed(t, method, path, req.URL.Path)
		if plain := plainPath.FindStringSubmatch(path); plain != nil && method == http.MethodGet {
			w.wantOneName(t, plain[1], rec)
		}
	})
}

// wantAskedAsAllowed wants each call of the vault to be the one that a decision
// allowed, for a name that the path spells but for case.
func (w *restToVault) wantAskedAsAllowed(t *testing.T, method, path, decoded string) {
	t.Helper()
	var allowed []string
	for _, r := range w.decided {
		n := r.Resource
		verb := map[broker.Action]string{broker.ActionSetSecret: "PUT"}[r.Action]
		if verb == "" {
			verb = "GET"
		}
		// A permission is for all versions; which one, the path says.
		upstream := verb + " /" + string(n.Kind()) + "/" + n.ObjectName()
		if version := versionInPath.FindStringSubmatch(decoded); version != nil {
			upstream += "/" + version[1]
		}
		allowed = append(allowed, upstream)
		if n.ObjectName() == "" || strings.ContainsFunc(n.ObjectName(), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }) {
			t.Errorf("%s %q was decided for %q", method, path, n)
		}
		if n.String() == "vaults/dev/secrets/prod" {
			t.Errorf("%s %q was allowed for what is forbidden", method, path)
		}
		if spelt, want := foldASCII(decoded), foldASCII("/v1/"+n.String()); !strings.HasPrefix(spelt, want) {
			t.Errorf("%s %q was decided for %q", method, path, n)
		}
	}
	for _, asked := range w.asked {
		if !slices.Contains(allowed, asked) {
			t.Errorf("%s %q asked the vault for %q, and allowed was %q", method, path, asked, allowed)
		}
	}
	if w.denied > 0 && len(w.asked) > 0 {
		t.Errorf("%s %q was denied, and asked the vault for %q", method, path, w.asked)
	}
}

// wantOneName wants a name and its upper-case spelling to be one: the same
// decision, the same answer, the same entry of the cache.
func (w *restToVault) wantOneName(t *testing.T, object string, first *httptest.ResponseRecorder) {
	t.Helper()
	name := foldASCII(object)
	wantStatus := http.StatusForbidden
	if strings.HasPrefix(name, "p") && name != "prod" {
		wantStatus = http.StatusOK
	}
	if first.Code != wantStatus {
		t.Fatalf("%q: %d %s, want %d", object, first.Code, first.Body, wantStatus)
	}
	for _, spelling := range []string{strings.ToUpper(object), name} {
		rec := w.call(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://keyward/v1/vaults/dev/secrets/"+spelling, nil))
		if rec.Code != wantStatus || len(w.asked) > 0 {
			t.Errorf("%q after %q: %d, asked the vault for %q", spelling, object, rec.Code, w.asked)
		}
		var got, was struct{ Value string }
		if json.Unmarshal(rec.Body.Bytes(), &got) != nil || json.Unmarshal(first.Body.Bytes(), &was) != nil || got != was {
			t.Errorf("%q: %s, and %q: %s", spelling, rec.Body, object, first.Body)
		}
		if wantStatus == http.StatusOK && got.Value != "/secrets/"+name {
			t.Errorf("%q is served from %q", spelling, got.Value)
		}
	}
}

// foldASCII lowers ASCII alone: what Unicode takes for a letter's other case is
// none of a name's.
func foldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
