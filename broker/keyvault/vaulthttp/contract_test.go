package vaulthttp_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
	"github.com/keyward/keyward/broker/localvault"
)

// newLocalVault is the contract over a vault in a file.
func newLocalVault(t *testing.T, c localvault.Config, s vaulthttp.Config) vault {
	t.Helper()
	dir := t.TempDir()
	c.Path, c.KeyFile = filepath.Join(dir, "vault.db"), filepath.Join(dir, "vault.key")
	store, err := localvault.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	if s.Vault, err = broker.VaultName("dev"); err != nil {
		t.Fatal(err)
	}
	s.Secrets, s.Authority, s.Resource = store.Secrets(), "https://login.example/tenant-1", "https://vault.azure.net"
	if s.Tokens == nil {
		s.Tokens = verifier(token)
	}
	return vault{Handler: vaulthttp.New(s)}
}

func TestAPIVersions(t *testing.T) {
	v := newLocalVault(t, localvault.Config{}, vaulthttp.Config{})
	v.set(t, "db", canary)
	v.set(t, "gone", canary)
	v.do(t, "DELETE", "/secrets/gone?api-version=7.4", "")
	tests := map[string]struct {
		served, days bool
	}{
		"7.0": {true, false}, "7.1": {true, true}, "7.2": {true, true}, "7.3": {true, true}, "7.4": {true, true}, "7.5": {true, true},
		"7.6": {true, true}, "2025-07-01": {true, true}, "2026-04-01": {true, true},
		"7.4-preview.1": {true, true}, "2026-07-01-preview": {true, true},
		"2016-10-01": {}, "6.9": {}, "7.7": {}, "7": {}, "2025-07-01-preview": {}, "": {},
	}
	for version, tt := range tests {
		t.Run(version, func(t *testing.T) {
			for _, target := range []string{"/secrets/db", "/deletedsecrets/gone", "/secrets", "/deletedsecrets", "/secrets/db/versions"} {
				resp, got := v.do(t, "GET", target+"?api-version="+version, "")
				if !tt.served {
					if resp.StatusCode != 400 || text(got, "error", "code") != "BadParameter" {
						t.Errorf("GET %s: %d %v", target, resp.StatusCode, got)
					}
					continue
				}
				if items, ok := got["value"].([]any); ok && len(items) == 1 {
					got = map[string]any{"attributes": at(items[0], "attributes")}
				}
				if resp.StatusCode != 200 || text(got, "attributes", "recoveryLevel") == "" || (at(got, "attributes", "recoverableDays") != nil) != tt.days {
					t.Errorf("GET %s: %d %v", target, resp.StatusCode, got)
				}
			}
		})
	}
}

// Clients that can send no other method say it in a header.
func TestMethodOverride(t *testing.T) {
	tests := map[string]struct {
		method, header, says, target, body string
		status                             int
	}{
		"a get":             {"POST", "X-HTTP-METHOD", "GET", "/secrets/db", "", 200},
		"in lower case":     {"POST", "x-http-method", "get", "/secrets/db", "", 200},
		"the other header":  {"POST", "X-HTTP-REQUEST", "GET", "/secrets/db", "", 200},
		"a set":             {"POST", "X-HTTP-METHOD", "PUT", "/secrets/db", `{"value":"v"}`, 200},
		"an update":         {"POST", "X-HTTP-REQUEST", "PATCH", "/secrets/db", `{}`, 200},
		"a delete":          {"POST", "X-HTTP-METHOD", "DELETE", "/secrets/db", "", 200},
		"a post":            {"POST", "X-HTTP-METHOD", "POST", "/secrets/db/backup", "", 200},
		"restore, a secret": {"POST", "X-HTTP-METHOD", "GET", "/secrets/restore", "", 404},
		"no such method":    {"POST", "X-HTTP-METHOD", "MERGE", "/secrets/db", "", 405},
		"not on a get":      {"GET", "X-HTTP-METHOD", "DELETE", "/secrets/db", "", 200},
		"none":              {"POST", "X-Other", "GET", "/secrets/db", "", 405},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			v := newVault(t)
			v.set(t, "db", canary)
			r := httptest.NewRequestWithContext(t.Context(), tt.method, "https://dev.vault.example"+tt.target+"?api-version=7.4", strings.NewReader(tt.body))
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set(tt.header, tt.says)
			resp, got := v.send(t, r)
			if resp.StatusCode != tt.status {
				t.Errorf("%d %v, want %d", resp.StatusCode, got, tt.status)
			}
			if tt.says == "GET" && tt.target == "/secrets/restore" && !strings.Contains(text(got, "error", "message"), "(name/id) restore was") {
				t.Errorf("message %v", got)
			}
			if deletes := v.store.Calls(brokertest.DeleteSecret); deletes > 0 != (label == "a delete") {
				t.Errorf("%d deletes", deletes)
			}
		})
	}
	t.Run("without a token", func(t *testing.T) {
		v := newVault(t)
		r := httptest.NewRequestWithContext(t.Context(), "POST", "https://dev.vault.example/secrets/db?api-version=7.4", nil)
		r.Header.Set("X-HTTP-METHOD", "GET")
		if resp, _ := v.send(t, r); resp.StatusCode != 401 {
			t.Errorf("%d, want 401", resp.StatusCode)
		}
	})
}

// The version's segment of a path may be left out in more than one way.
func TestVersionSegment(t *testing.T) {
	v := newLocalVault(t, localvault.Config{}, vaulthttp.Config{})
	v.set(t, "db", "old")
	version := v.set(t, "db", canary)
	for _, path := range []string{"/secrets/db", "/secrets/db/", "/secrets/db//", "/secrets/db/" + version, "/secrets/db/" + version + "/"} {
		for _, method := range []string{http.MethodGet, http.MethodPatch} {
			resp, got := v.do(t, method, path+"?api-version=7.4", "{}")
			if resp.StatusCode != 200 || text(got, "id") != "https://dev.vault.example/secrets/db/"+version {
				t.Errorf("%s %s: %d %v", method, path, resp.StatusCode, got)
			}
		}
	}
	for _, path := range []string{"/secrets/db///", "/secrets//db", "/deletedsecrets/db//", "/secrets/db//versions"} {
		if resp, _ := v.do(t, "GET", path+"?api-version=7.4", ""); resp.StatusCode < 400 {
			t.Errorf("GET %s: %d", path, resp.StatusCode)
		}
	}
}

// A reply about one deleted secret names its latest version, a list does not.
func TestDeletedID(t *testing.T) {
	v := newLocalVault(t, localvault.Config{}, vaulthttp.Config{})
	v.set(t, "db", "old")
	id := "https://dev.vault.example/secrets/db"
	versioned := id + "/" + v.set(t, "db", canary)
	for _, method := range []string{"DELETE /secrets/db", "GET /deletedsecrets/db"} {
		verb, path, _ := strings.Cut(method, " ")
		if _, got := v.do(t, verb, path+"?api-version=7.4", ""); text(got, "id") != versioned {
			t.Errorf("%s: %v", method, got)
		}
	}
	_, page := v.do(t, "GET", "/deletedsecrets?api-version=7.4", "")
	if items, ok := page["value"].([]any); !ok || len(items) != 1 || text(items[0], "id") != id {
		t.Errorf("list: %v", page)
	}
}

// What a vault keeps for how long is told with each secret, and held to.
func TestRecoveryLevel(t *testing.T) {
	tests := map[string]struct {
		config localvault.Config
		level  string
		days   float64
		purge  int
	}{
		"as it is":            {localvault.Config{}, "Recoverable+Purgeable", 90, 204},
		"a week":              {localvault.Config{RetentionDays: 7}, "CustomizedRecoverable+Purgeable", 7, 204},
		"protected":           {localvault.Config{PurgeProtection: true}, "Recoverable", 90, 403},
		"protected for weeks": {localvault.Config{RetentionDays: 21, PurgeProtection: true}, "CustomizedRecoverable", 21, 403},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			v := newLocalVault(t, tt.config, vaulthttp.Config{})
			v.set(t, "db", canary)
			_, got := v.do(t, "DELETE", "/secrets/db?api-version=7.4", "")
			if text(got, "attributes", "recoveryLevel") != tt.level || at(got, "attributes", "recoverableDays") != tt.days {
				t.Errorf("%v, want %s for %v days", got, tt.level, tt.days)
			}
			deleted, _ := at(got, "deletedDate").(float64)
			if purges, ok := at(got, "scheduledPurgeDate").(float64); !ok || purges-deleted != tt.days*24*3600 {
				t.Errorf("purged %v seconds after the delete", purges-deleted)
			}
			resp, got := v.do(t, "DELETE", "/deletedsecrets/db?api-version=7.4", "")
			if resp.StatusCode != tt.purge {
				t.Fatalf("purge: %d %v", resp.StatusCode, got)
			}
			if tt.purge == 403 && (text(got, "error", "code") != "Forbidden" || at(got, "error", "innererror") != nil ||
				!strings.HasSuffix(text(got, "error", "message"), "\r\nVault: dev;location=local")) {
				t.Errorf("purge: %v", got)
			}
			if resp, _ := v.do(t, "DELETE", "/deletedsecrets/none?api-version=7.4", ""); resp.StatusCode != 404 {
				t.Errorf("a purge of none: %d", resp.StatusCode)
			}
			if resp, _ := v.do(t, "GET", "/deletedsecrets/db?api-version=7.4", ""); (resp.StatusCode == 200) != (tt.purge == 403) {
				t.Errorf("after the purge: %d", resp.StatusCode)
			}
		})
	}
}

// Times of a secret are for its readers to heed: the vault serves it.
func TestExpiredIsServed(t *testing.T) {
	for label, attributes := range map[string]string{"expired": `{"exp":1000000000}`, "not yet valid": `{"nbf":4000000000}`} {
		t.Run(label, func(t *testing.T) {
			v := newLocalVault(t, localvault.Config{}, vaulthttp.Config{})
			v.do(t, "PUT", "/secrets/db?api-version=7.4", `{"value":"`+canary+`","attributes":`+attributes+`}`)
			if resp, got := v.do(t, "GET", "/secrets/db?api-version=7.4", ""); resp.StatusCode != 200 || text(got, "value") != canary {
				t.Errorf("%d %v", resp.StatusCode, got)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	tags := func(n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(`"t%d":"v"`, i)
		}
		return `{"value":"v","tags":{` + strings.Join(all, ",") + `}}`
	}
	x := func(n int) string { return strings.Repeat("x", n) }
	tests := map[string]struct {
		name, body string
		status     int
	}{
		"the largest value":  {"db", `{"value":"` + x(25_600) + `"}`, 200},
		"a larger one":       {"db", `{"value":"` + x(25_601) + `"}`, 400},
		"bytes, not letters": {"db", `{"value":"` + strings.Repeat("ü", 12_801) + `"}`, 400},
		"an escaped value":   {"db", `{"value":"` + strings.Repeat("\\u0078", 25_600) + `"}`, 200},
		"an empty value":     {"db", `{"value":""}`, 200},
		"the longest type":   {"db", `{"value":"v","contentType":"` + strings.Repeat("ü", 255) + `"}`, 200},
		"a longer one":       {"db", `{"value":"v","contentType":"` + x(256) + `"}`, 400},
		"the most tags":      {"db", tags(15), 200},
		"one more":           {"db", tags(16), 400},
		"the longest tag":    {"db", `{"value":"v","tags":{"` + x(512) + `":"` + x(512) + `"}}`, 200},
		"a longer tag name":  {"db", `{"value":"v","tags":{"` + x(513) + `":""}}`, 400},
		"a longer tag value": {"db", `{"value":"v","tags":{"a":"` + x(513) + `"}}`, 400},
		"the longest name":   {x(127), `{"value":"v"}`, 200},
		"a longer name":      {x(128), `{"value":"v"}`, 400},
		"digits and dashes":  {"-0-", `{"value":"v"}`, 200},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			v := newLocalVault(t, localvault.Config{}, vaulthttp.Config{})
			resp, got := v.do(t, "PUT", "/secrets/"+tt.name+"?api-version=7.4", tt.body)
			if resp.StatusCode != tt.status || tt.status == 400 && text(got, "error", "code") != "BadParameter" {
				t.Errorf("%d, want %d", resp.StatusCode, tt.status)
			}
		})
	}
}

func TestRequestIDs(t *testing.T) {
	v := newVault(t)
	for sent, want := range map[string]string{"": "", "an-id": "an-id", strings.Repeat("x", 200): ""} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "https://dev.vault.example/secrets?api-version=7.4", nil)
		r.Header.Set("X-Ms-Client-Request-Id", sent)
		resp, _ := v.send(t, r)
		if got := resp.Header.Get("X-Ms-Client-Request-Id"); got != want || len(resp.Header.Get("X-Ms-Request-Id")) != 36 {
			t.Errorf("%q echoes as %q", sent, got)
		}
	}
}
