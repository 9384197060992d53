package vaulthttp_test

import (
	"encoding/base64"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
	"github.com/keyward/keyward/broker/localvault"
)

// vaultOfKeys serves the keys of a local vault.
func vaultOfKeys(t *testing.T, s vaulthttp.Config) vault {
	t.Helper()
	dir := t.TempDir()
	store, err := localvault.Open(localvault.Config{
		Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key"), ManagedHSM: s.ManagedHSM,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	if s.Vault, err = broker.VaultName("dev"); err != nil {
		t.Fatal(err)
	}
	s.Keys, s.Authority, s.Resource = store.Keys(), "https://login.example/tenant-1", "https://vault.azure.net"
	if s.Tokens == nil {
		s.Tokens = verifier(token)
	}
	return vault{Handler: vaulthttp.New(s)}
}

func kids(t *testing.T, page map[string]any) (all []string) {
	t.Helper()
	items, ok := page["value"].([]any)
	if !ok {
		t.Fatalf("no list: %v", page)
	}
	for _, item := range items {
		all = append(all, text(item, "kid"))
	}
	return all
}

func TestSimulateSettleKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaultOfKeys(t, vaulthttp.Config{Simulate: vaulthttp.Simulation{Settle: 3 * time.Second}})
		const ec = `{"kty":"EC"}`
		const jwk = `{"key":{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",` +
			`"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}}`
		v.expect(t, "POST", "/keys/k/create", ec, 200, "")
		v.expect(t, "POST", "/keys/other/create", ec, 200, "")
		gone := v.expect(t, "DELETE", "/keys/k", "", 200, "")
		if id := text(gone, "key", "kid"); strings.Count(id, "/") != 5 {
			t.Errorf("the id of a settling delete lacks its version: %s", id)
		}

		time.Sleep(3*time.Second - time.Millisecond)
		v.expect(t, "GET", "/keys/k", "", 404, "KeyNotFound")
		if got := v.expect(t, "GET", "/deletedkeys/K", "", 404, "KeyNotFound"); text(got, "error", "message") != "Deleted Key not found: k" {
			t.Errorf("%v", got)
		}
		for target, body := range map[string]string{
			"POST /keys/k/create": ec, "PUT /keys/k": jwk, "POST /deletedkeys/k/recover": "", "DELETE /deletedkeys/k": "",
		} {
			method, path, _ := strings.Cut(target, " ")
			v.expect(t, method, path, body, 409, "Conflict/ObjectIsBeingDeleted")
		}
		if all := kids(t, v.expect(t, "GET", "/deletedkeys", "", 200, "")); len(all) != 0 {
			t.Errorf("listed before it settled: %v", all)
		}
		v.expect(t, "GET", "/keys/other", "", 200, "")

		time.Sleep(time.Millisecond)
		v.expect(t, "GET", "/deletedkeys/k", "", 200, "")
		v.expect(t, "POST", "/keys/k/create", ec, 409, "Conflict/ObjectIsDeletedButRecoverable")
		if all := kids(t, v.expect(t, "GET", "/deletedkeys", "", 200, "")); len(all) != 1 {
			t.Errorf("listed once it settled: %v", all)
		}
		v.expect(t, "POST", "/deletedkeys/k/recover", "", 200, "")

		const digest = `{"alg":"ES256","value":"AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkKCwwNDg8","digest":"AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkKCwwNDg8"}`
		calls := map[string]string{
			"GET /keys/k": "", "GET /keys/k/versions": "", "PATCH /keys/k": "{}", "DELETE /keys/k": "", "POST /keys/k/backup": "",
			"POST /keys/k/rotate": "", "GET /keys/k/rotationpolicy": "", "PUT /keys/k/rotationpolicy": "{}", "GET /deletedkeys/k": "",
		}
		for _, use := range []string{"sign", "verify", "encrypt", "decrypt", "wrapkey", "unwrapkey"} {
			calls["POST /keys/k/"+use] = digest
		}
		for target, body := range calls {
			method, path, _ := strings.Cut(target, " ")
			v.expect(t, method, path, body, 404, "KeyNotFound")
		}
		v.expect(t, "POST", "/keys/k/create", ec, 409, "Conflict/ObjectIsBeingRecovered")
		v.expect(t, "PUT", "/keys/k", jwk, 409, "Conflict/ObjectIsBeingRecovered")
		if all := kids(t, v.expect(t, "GET", "/keys", "", 200, "")); len(all) != 1 {
			t.Errorf("listed before it settled: %v", all)
		}

		time.Sleep(3 * time.Second)
		v.expect(t, "GET", "/keys/k", "", 200, "")
		v.expect(t, "POST", "/keys/k/sign", digest, 200, "")
		v.expect(t, "POST", "/keys/k/create", ec, 200, "")
		v.expect(t, "DELETE", "/keys/k", "", 200, "")
		time.Sleep(3 * time.Second)
		v.expect(t, "DELETE", "/deletedkeys/k", "", 204, "")
		v.expect(t, "POST", "/keys/k/create", ec, 409, "Conflict/ObjectIsBeingDeleted")
		time.Sleep(3 * time.Second)
		v.expect(t, "POST", "/keys/k/create", ec, 200, "")
	})
}

func TestSimulateThrottleKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaultOfKeys(t, vaulthttp.Config{Simulate: vaulthttp.Simulation{Throttle: true, RetryAfter: 5 * time.Second}})
		call := func(method, target, body string, count int) (refused int) {
			for range count {
				resp, got := v.do(t, method, target+"?api-version=7.4", body)
				if resp.StatusCode == 429 {
					refused++
					if resp.Header.Get("Retry-After") != "5" || text(got, "error", "code") != "Throttled" {
						t.Fatalf("Retry-After %q, %v", resp.Header.Get("Retry-After"), got)
					}
				}
			}
			return refused
		}
		next := func() { time.Sleep(10 * time.Second) }
		if n := call("POST", "/keys/k/create", `{"kty":"EC"}`, 22); n != 2 {
			t.Errorf("%d of 22 creations are refused, want 2", n)
		}
		if n := call("GET", "/keys/k", "", 1); n != 1 {
			t.Error("a get is not refused once the creations took it all")
		}
		next()
		if n := call("POST", "/keys/k/rotate", "", 10) + call("POST", "/keys/none/sign", "{}", 2000); n != 0 {
			t.Errorf("%d of half and half are refused", n)
		}
		if n := call("POST", "/keys/none/sign", "{}", 1); n != 1 {
			t.Error("one more is not refused")
		}
		next()
		if n := call("PUT", "/keys/k", "{}", 303); n != 3 {
			t.Errorf("%d of 303 imports are refused, want 3", n)
		}
	})
}

func TestSimulateEmptyPagesOfKeys(t *testing.T) {
	for label, hsm := range map[string]bool{"a vault": false, "a Managed HSM": true} {
		v := vaultOfKeys(t, vaulthttp.Config{ManagedHSM: hsm, Simulate: vaulthttp.Simulation{EmptyPages: true}})
		for _, name := range []string{"a", "b", "c"} {
			v.expect(t, "POST", "/keys/"+name+"/create", `{"kty":"EC"}`, 200, "")
		}
		pages, all := 0, 0
		for target := "/keys?api-version=7.4&maxresults=2"; target != ""; pages++ {
			_, page := v.do(t, "GET", target, "")
			n := len(kids(t, page))
			if (pages%2 == 0) != (n == 0) {
				t.Errorf("%s: page %d has %d keys", label, pages, n)
			}
			all += n
			_, target, _ = strings.Cut(text(page, "nextLink"), "https://dev.vault.example:443")
			if hsm == strings.Contains(target, "api-version") && target != "" {
				t.Errorf("%s: the link %s", label, target)
			}
		}
		if all != 3 || pages != 4 {
			t.Errorf("%s: %d keys in %d pages", label, all, pages)
		}
	}
}

func TestSimulateDenyKeys(t *testing.T) {
	denied := token + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"azp":"app-1"}`)) + ".x"
	tests := map[string]struct{ vault, hsm string }{
		"POST /keys/k/create":         {"keys/create/action", "keys/create"},
		"PUT /keys/k":                 {"keys/import/action", "keys/import/action"},
		"GET /keys/k":                 {"keys/read", "keys/read/action"},
		"GET /keys":                   {"keys/read", "keys/read/action"},
		"GET /keys/k/versions":        {"keys/read", "keys/read/action"},
		"PATCH /keys/k":               {"keys/update/action", "keys/write/action"},
		"DELETE /keys/k":              {"keys/delete", "keys/delete"},
		"GET /deletedkeys":            {"keys/read", "keys/deletedKeys/read/action"},
		"GET /deletedkeys/k":          {"keys/read", "keys/deletedKeys/read/action"},
		"POST /deletedkeys/k/recover": {"keys/recover/action", "keys/deletedKeys/recover/action"},
		"DELETE /deletedkeys/k":       {"keys/purge/action", "keys/deletedKeys/delete"},
		"POST /keys/k/backup":         {"keys/backup/action", "keys/backup/action"},
		"POST /keys/restore":          {"keys/restore/action", "keys/restore/action"},
		"POST /keys/k/rotate":         {"keys/rotate/action", "keys/rotate/action"},
		"GET /keys/k/rotationpolicy":  {"keyrotationpolicies/read", "keys/read/action"},
		"PUT /keys/k/rotationpolicy":  {"keyrotationpolicies/write", "keys/write/action"},
		"POST /keys/k/sign":           {"keys/sign/action", "keys/sign/action"},
		"POST /keys/k//sign":          {"keys/sign/action", "keys/sign/action"},
		"POST /keys/k/verify":         {"keys/verify/action", "keys/verify/action"},
		"POST /keys/k/encrypt":        {"keys/encrypt/action", "keys/encrypt/action"},
		"POST /keys/k/decrypt":        {"keys/decrypt/action", "keys/decrypt/action"},
		"POST /keys/k/wrapkey":        {"keys/wrap/action", "keys/wrap/action"},
		"POST /keys/k/unwrapkey":      {"keys/unwrap/action", "keys/unwrap/action"},
	}
	for label, hsm := range map[string]bool{"a vault": false, "a Managed HSM": true} {
		v := vaultOfKeys(t, vaulthttp.Config{
			ManagedHSM: hsm, Tokens: anyOf{token}, Simulate: vaulthttp.Simulation{Deny: []string{"app-1"}},
		})
		for target, tt := range tests {
			t.Run(label+"/"+target, func(t *testing.T) {
				method, path, _ := strings.Cut(target, " ")
				r := httptest.NewRequestWithContext(t.Context(), method, "https://dev.vault.example"+path+"?api-version=7.4", strings.NewReader("{}"))
				r.Header.Set("Authorization", "Bearer "+denied)
				resp, got := v.send(t, r)
				code, inner, words := "Forbidden", "ForbiddenByRbac", "Action: 'Microsoft.KeyVault/vaults/"+tt.vault+"'\r\n"
				if hsm {
					code, inner, words = "AccessDenied", "", "Not authorized to access Microsoft.KeyVault/managedHsm/"+tt.hsm+" on /keys"
				}
				message := text(got, "error", "message")
				if resp.StatusCode != 403 || text(got, "error", "code") != code || text(got, "error", "innererror", "code") != inner || !strings.Contains(message, words) {
					t.Errorf("%d %v", resp.StatusCode, got)
				}
				if strings.Contains(path, "/k") && !hsm && path[:5] == "/keys" && len(path) > 5 && path != "/keys/restore" && !strings.Contains(message, "/vaults/dev/keys/k'\r\n") {
					t.Errorf("the resource is none: %q", message)
				}
			})
		}
	}
}
