package vaulthttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
)

const (
	token   = "token-7c1d90e2"
	canary  = "canary-5e9b1f"
	missing = "00000000000000000000000000000000"
)

type verifier string

func (v verifier) Verify(_ context.Context, token string) error {
	if token != string(v) {
		return errors.New("another token")
	}
	return nil
}

type vault struct {
	http.Handler
	store *brokertest.SecretStore
	log   *bytes.Buffer
}

func newVault(t *testing.T) vault {
	t.Helper()
	name, err := broker.VaultName("dev")
	if err != nil {
		t.Fatal(err)
	}
	v := vault{store: brokertest.NewSecretStore(name), log: &bytes.Buffer{}}
	v.Handler = vaulthttp.New(vaulthttp.Config{
		Vault: name, Secrets: v.store, Tokens: verifier(token),
		Authority: "https://login.example/tenant-1", Resource: "https://vault.azure.net",
		Logger: slog.New(slog.NewTextHandler(v.log, nil)),
	})
	return v
}

// do sends a request with the token, and returns the reply and its JSON.
func (v vault) do(t *testing.T, method, target, body string) (*http.Response, map[string]any) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "https://dev.vault.example"+target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	return v.send(t, r)
}

func (v vault) send(t *testing.T, r *http.Request) (*http.Response, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	v.ServeHTTP(w, r)
	resp := w.Result()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if resp.StatusCode == 204 && len(text) == 0 {
		return resp, nil
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%s %s: %d with a body that is no JSON: %s", r.Method, r.URL, resp.StatusCode, text)
	}
	return resp, got
}

func (v vault) set(t *testing.T, name, value string) (version string) {
	t.Helper()
	resp, got := v.do(t, "PUT", "/secrets/"+name+"?api-version=7.4", fmt.Sprintf(`{"value":%q}`, value))
	if resp.StatusCode != 200 {
		t.Fatalf("set: %d %v", resp.StatusCode, got)
	}
	id := text(got, "id")
	return id[strings.LastIndex(id, "/")+1:]
}

// at follows keys into nested objects.
func at(v any, path ...string) any {
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

func text(v any, path ...string) string {
	s, ok := at(v, path...).(string)
	if !ok {
		return ""
	}
	return s
}

func TestChallenge(t *testing.T) {
	v := newVault(t)
	for label, authorization := range map[string]string{
		"no token": "", "another scheme": "Basic " + token, "no text": "Bearer ",
		"another token": "Bearer other", "a huge token": "Bearer " + strings.Repeat("x", 20<<10),
	} {
		t.Run(label, func(t *testing.T) {
			// The body is not read: the first request of Azure's clients has none.
			r := httptest.NewRequestWithContext(t.Context(), "PUT", "https://dev.vault.example/secrets/db?api-version=7.4", unreadable{t})
			if authorization != "" {
				r.Header.Set("Authorization", authorization)
			}
			resp, got := v.send(t, r)
			if resp.StatusCode != 401 || text(got, "error", "code") != "Unauthorized" {
				t.Errorf("%d %v", resp.StatusCode, got)
			}
			const want = `Bearer authorization="https://login.example/tenant-1", resource="https://vault.azure.net"`
			if c := resp.Header.Get("Www-Authenticate"); c != want {
				t.Errorf("challenge %s, want %s", c, want)
			}
			if authorization == "" && text(got, "error", "message") != "AKV10000: Request is missing a Bearer or PoP token." {
				t.Errorf("message %v", got)
			}
		})
	}
	if v.store.Calls(brokertest.SetSecret) != 0 {
		t.Error("the store was asked")
	}
	if strings.Contains(v.log.String(), token) || strings.Contains(v.log.String(), "xxxx") {
		t.Error("the log holds a token")
	}

	open := vaulthttp.New(vaulthttp.Config{Secrets: v.store})
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "https://dev.vault.example/secrets/db?api-version=7.4", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	open.ServeHTTP(w, r)
	if w.Code != 401 {
		t.Errorf("without a verifier: %d, want 401", w.Code)
	}
}

type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestBundle(t *testing.T) {
	v := newVault(t)
	resp, set := v.do(t, "PUT", "/secrets/DB?api-version=7.4",
		`{"value":"`+canary+`","contentType":"text/plain","tags":{"a":"b"},"attributes":{"nbf":1700000000,"exp":1800000000}}`)
	if resp.StatusCode != 200 || text(set, "value") != canary {
		t.Fatalf("%d %v", resp.StatusCode, set)
	}
	id := text(set, "id")
	if !strings.HasPrefix(id, "https://dev.vault.example/secrets/db/") || len(id) != len("https://dev.vault.example/secrets/db/")+32 {
		t.Errorf("id %q", id)
	}
	if at(set, "attributes", "enabled") != true || at(set, "attributes", "nbf") != 1.7e9 || at(set, "attributes", "exp") != 1.8e9 ||
		at(set, "attributes", "recoverableDays") == nil || text(set, "contentType") != "text/plain" || text(set, "tags", "a") != "b" {
		t.Errorf("%v", set)
	}
	version := id[len(id)-32:]
	// All the shapes that clients send the version's segment in.
	for _, target := range []string{
		"/secrets/db?api-version=7.4", "/secrets/db/?api-version=7.4", "/secrets/DB/?api%2Dversion=7.4",
		"/secrets/db/" + version + "?api-version=2026-04-01", "/secrets/db/" + strings.ToUpper(version) + "?api-version=7.0",
	} {
		resp, got := v.do(t, "GET", target, "")
		if resp.StatusCode != 200 || text(got, "value") != canary || text(got, "id") != id {
			t.Errorf("GET %s: %d %v", target, resp.StatusCode, got)
		}
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", "Content-Type": "application/json; charset=utf-8",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"Strict-Transport-Security", "X-Ms-Request-Id", "X-Ms-Keyvault-Region", "X-Ms-Keyvault-Service-Version"} {
		if resp.Header.Get(name) == "" {
			t.Errorf("no %s", name)
		}
	}

	resp, deleted := v.do(t, "DELETE", "/secrets/db?api-version=7.4", "")
	if resp.StatusCode != 200 || text(deleted, "recoveryId") != "https://dev.vault.example/deletedsecrets/db" ||
		at(deleted, "deletedDate") == nil || at(deleted, "scheduledPurgeDate") == nil || at(deleted, "value") != nil {
		t.Errorf("delete: %d %v", resp.StatusCode, deleted)
	}
}

func TestErrors(t *testing.T) {
	v := newVault(t)
	version := v.set(t, "db", canary)
	v.set(t, "gone", canary)
	v.do(t, "DELETE", "/secrets/gone?api-version=7.4", "")
	if resp, got := v.do(t, "PUT", "/secrets/off?api-version=7.4", `{"value":"v","attributes":{"enabled":false}}`); resp.StatusCode != 200 {
		t.Fatal(got)
	}
	big := `{"value":"` + strings.Repeat("x", broker.MaxValueLen+1) + `"}`
	manyTags := `{"tags":{"0":""`
	for i := range broker.MaxTags {
		manyTags += fmt.Sprintf(`,"%d":""`, i+1)
	}
	manyTags += "}}"
	tests := map[string]struct {
		method, target, body string
		status               int
		code, inner          string
		words                string
	}{
		"no api-version":      {"GET", "/secrets/db", "", 400, "BadParameter", "", "api-version"},
		"an unknown version":  {"GET", "/secrets/db?api-version=1.0", "", 400, "BadParameter", "", "The specified version (1.0) is not recognized. Consider using the latest supported version (2026-04-01)."},
		"a malformed query":   {"GET", "/secrets/db?api-version=7.4&%zz", "", 400, "BadParameter", "", ""},
		"missing":             {"GET", "/secrets/none?api-version=7.4", "", 404, "SecretNotFound", "", "A secret with (name/id) none was not found"},
		"a missing version":   {"GET", "/secrets/db/" + missing + "?api-version=7.4", "", 404, "SecretNotFound", "", ""},
		"versions of none":    {"GET", "/secrets/none/versions?api-version=7.4", "", 404, "SecretNotFound", "", "(name/id) none was"},
		"delete of none":      {"DELETE", "/secrets/none?api-version=7.4", "", 404, "SecretNotFound", "", ""},
		"disabled":            {"GET", "/secrets/off?api-version=7.4", "", 403, "Forbidden", "SecretDisabled", ""},
		"soft-deleted":        {"PUT", "/secrets/gone?api-version=7.4", `{"value":"v"}`, 409, "Conflict", "ObjectIsDeletedButRecoverable", "Secret gone is"},
		"a bad name":          {"GET", "/secrets/a_b?api-version=7.4", "", 400, "BadParameter", "", "The request URI contains an invalid name: a_b"},
		"dots":                {"GET", "/secrets/..?api-version=7.4", "", 400, "BadParameter", "", "invalid name: .."},
		"an escaped slash":    {"GET", "/secrets/db%2fversions?api-version=7.4", "", 400, "BadParameter", "", "invalid name"},
		"a long name":         {"GET", "/secrets/" + strings.Repeat("a", 128) + "?api-version=7.4", "", 400, "BadParameter", "", "invalid name"},
		"a bad version":       {"GET", "/secrets/db/latest?api-version=7.4", "", 400, "BadParameter", "", "invalid version"},
		"no update":           {"PATCH", "/secrets/db?api-version=7.4", "", 400, "BadParameter", "", "properties"},
		"an update of none":   {"PATCH", "/secrets/none?api-version=7.4", "{}", 404, "SecretNotFound", "", "(name/id) none was"},
		"an update's tags":    {"PATCH", "/secrets/db?api-version=7.4", manyTags, 400, "BadParameter", "", "15 tags"},
		"an update's type":    {"PATCH", "/secrets/db?api-version=7.4", `{"contentType":"` + strings.Repeat("x", 256) + `"}`, 400, "BadParameter", "", "255"},
		"an update, not UTF8": {"PATCH", "/secrets/db?api-version=7.4", "{\"contentType\":\"\xff\"}", 400, "BadParameter", "", ""},
		"no deleted secret":   {"GET", "/deletedsecrets/db?api-version=7.4", "", 404, "SecretNotFound", "", "Deleted Secret not found: db"},
		"a recovery of none":  {"POST", "/deletedsecrets/none/recover?api-version=7.4", "", 404, "SecretNotFound", "", "Deleted Secret not found: none"},
		"a purge of none":     {"DELETE", "/deletedsecrets/NONE?api-version=7.4", "", 404, "SecretNotFound", "", "Deleted Secret not found: none"},
		"a bad deleted name":  {"GET", "/deletedsecrets/a_b?api-version=7.4", "", 400, "BadParameter", "", "invalid name: a_b"},
		"a deleted version":   {"GET", "/deletedsecrets/gone/" + version + "?api-version=7.4", "", 404, "NotFound", "", ""},
		"a get of recover":    {"GET", "/deletedsecrets/gone/recover?api-version=7.4", "", 405, "MethodNotAllowed", "", ""},
		"a set of a deleted":  {"PUT", "/deletedsecrets/gone?api-version=7.4", `{"value":"v"}`, 405, "MethodNotAllowed", "", ""},
		"a backup of none":    {"POST", "/secrets/none/backup?api-version=7.4", "", 404, "SecretNotFound", "", "(name/id) none was"},
		"a get of backup":     {"GET", "/secrets/db/backup?api-version=7.4", "", 405, "MethodNotAllowed", "", ""},
		"a secret restore":    {"GET", "/secrets/restore?api-version=7.4", "", 404, "SecretNotFound", "", "(name/id) restore was"},
		"no backup":           {"POST", "/secrets/restore?api-version=7.4", "", 400, "Malformed backup blob", "", "Malformed"},
		"a backup, no blob":   {"POST", "/secrets/restore?api-version=7.4", `{"value":""}`, 400, "Malformed backup blob", "", ""},
		"a backup, no base64": {"POST", "/secrets/restore?api-version=7.4", `{"value":"` + canary + `*"}`, 400, "Malformed backup blob", "", ""},
		"a foreign backup":    {"POST", "/secrets/restore?api-version=7.4", `{"value":"KUF6dXJl"}`, 400, "Malformed backup blob", "", ""},
		"a huge backup":       {"POST", "/secrets/restore?api-version=7.4", strings.Repeat(" ", 3<<20), 413, "BadParameter", "", ""},
		"no name":             {"PUT", "/secrets/?api-version=7.4", `{"value":"v"}`, 405, "MethodNotAllowed", "", "HTTP PUT not allowed"},
		"a foreign method":    {"POST", "/secrets/db?api-version=7.4", "{}", 405, "MethodNotAllowed", "", "HTTP POST not allowed"},
		"a set of a version":  {"PUT", "/secrets/db/" + version + "?api-version=7.4", `{"value":"v"}`, 405, "MethodNotAllowed", "", ""},
		"another collection":  {"GET", "/keys?api-version=7.4", "", 404, "NotFound", "", ""},
		"too deep":            {"GET", "/secrets/db/versions/x?api-version=7.4", "", 404, "NotFound", "", ""},
		"a double slash":      {"GET", "//secrets/db?api-version=7.4", "", 404, "NotFound", "", ""},
		"no body":             {"PUT", "/secrets/db?api-version=7.4", "", 400, "BadParameter", "", ""},
		"no value":            {"PUT", "/secrets/db?api-version=7.4", `{"tags":{}}`, 400, "BadParameter", "", `"value"`},
		"a number as value":   {"PUT", "/secrets/db?api-version=7.4", `{"value":1}`, 400, "BadParameter", "", ""},
		"bytes, not UTF-8":    {"PUT", "/secrets/db?api-version=7.4", "{\"value\":\"\xff\"}", 400, "BadParameter", "", ""},
		"a large value":       {"PUT", "/secrets/db?api-version=7.4", big, 400, "BadParameter", "", "25600"},
		"a huge body":         {"PUT", "/secrets/db?api-version=7.4", strings.Repeat(" ", 300<<10), 413, "BadParameter", "", ""},
		"maxresults 0":        {"GET", "/secrets?api-version=7.4&maxresults=0", "", 400, "BadParameter", "", "maxresults"},
		"maxresults 26":       {"GET", "/secrets?api-version=7.4&maxresults=26", "", 400, "BadParameter", "", "maxresults"},
		"maxresults x":        {"GET", "/secrets/db/versions?api-version=7.4&maxresults=x", "", 400, "BadParameter", "", "maxresults"},
		"a malformed token":   {"GET", "/secrets?api-version=7.4&$skiptoken=***", "", 400, "BadParameter", "", "skiptoken"},
		"a script as version": {"GET", "/secrets/db?api-version=<script>", "", 400, "BadParameter", "", ""},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			resp, got := v.do(t, tt.method, tt.target, tt.body)
			if resp.StatusCode != tt.status || text(got, "error", "code") != tt.code || text(got, "error", "innererror", "code") != tt.inner {
				t.Errorf("%d %v, want %d %s/%s", resp.StatusCode, got, tt.status, tt.code, tt.inner)
			}
			if !strings.Contains(text(got, "error", "message"), tt.words) {
				t.Errorf("message %q, want %q in it", text(got, "error", "message"), tt.words)
			}
		})
	}
	if strings.Contains(v.log.String(), canary) {
		t.Error("the log holds a value")
	}
}

// What goes wrong in the store is told by kind only.
func TestStoreErrors(t *testing.T) {
	tests := map[broker.Code]int{
		broker.CodeVaultThrottled: 429, broker.CodeSecretInTransition: 409, broker.CodeVaultUnavailable: 503,
		broker.CodePolicyDenied: 403, broker.CodeDeadlineExceeded: 504, broker.CodeNotSupported: 501, broker.CodeInternal: 500, "NEW": 500,
	}
	for code, status := range tests {
		t.Run(string(code), func(t *testing.T) {
			v := newVault(t)
			v.store.SetHook(func(context.Context, string, broker.Name) error {
				return &broker.Error{Code: code, RetryAfter: 1500 * time.Millisecond, Err: errors.New(canary)}
			})
			resp, got := v.do(t, "GET", "/secrets/db?api-version=7.4", "")
			if resp.StatusCode != status || resp.Header.Get("Retry-After") != "2" || text(got, "error", "message") == "" {
				t.Errorf("%d, Retry-After %q: %v", resp.StatusCode, resp.Header.Get("Retry-After"), got)
			}
			if strings.Contains(fmt.Sprint(got), canary) {
				t.Error("the client is told the cause")
			}
		})
	}
}

func TestPaging(t *testing.T) {
	v := newVault(t)
	var want []string
	for i := range 5 {
		name := fmt.Sprint("s", i)
		v.set(t, name, "v")
		want = append(want, "https://dev.vault.example/secrets/"+name)
	}
	var versions []string
	for range 4 {
		versions = append(versions, "https://dev.vault.example/secrets/s0/"+v.set(t, "s0", "v"))
	}
	for path, want := range map[string][]string{"/secrets": want, "/secrets/s0/versions": nil} {
		t.Run(path, func(t *testing.T) {
			var got []string
			target := path + "?api-version=7.4&maxresults=2"
			for range 10 {
				resp, page := v.do(t, "GET", target, "")
				if resp.StatusCode != 200 {
					t.Fatalf("%d %v", resp.StatusCode, page)
				}
				items, ok := page["value"].([]any)
				if !ok || len(items) > 2 {
					t.Fatalf("items: %v", page)
				}
				for _, item := range items {
					got = append(got, text(item, "id"))
					if at(item, "value") != nil {
						t.Error("a list holds a value")
					}
				}
				link, there := page["nextLink"]
				if !there {
					t.Fatal("no nextLink: the last page has null")
				}
				if link == nil {
					break
				}
				prefix := "https://dev.vault.example:443" + path + "?api-version=7.4&$skiptoken="
				if !strings.HasPrefix(text(page, "nextLink"), prefix) || !strings.HasSuffix(text(page, "nextLink"), "&maxresults=2") {
					t.Fatalf("nextLink %v", link)
				}
				u, err := url.Parse(text(page, "nextLink"))
				if err != nil {
					t.Fatal(err)
				}
				target = u.RequestURI()
			}
			if want == nil {
				if !slices.IsSorted(got) || len(got) != 5 {
					t.Errorf("versions %v, want 5 by id", got)
				}
				for _, id := range versions {
					if !slices.Contains(got, id) {
						t.Errorf("%s is missing", id)
					}
				}
			} else if !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}
