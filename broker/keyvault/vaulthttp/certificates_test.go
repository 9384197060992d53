package vaulthttp_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
	"github.com/keyward/keyward/broker/localvault"
)

// newCertificateVault is a local vault with all three kinds.
func newCertificateVault(t *testing.T, s vaulthttp.Simulation) vault {
	t.Helper()
	dir := t.TempDir()
	store, err := localvault.Open(localvault.Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	name, err := broker.VaultName("dev")
	if err != nil {
		t.Fatal(err)
	}
	return vault{Handler: vaulthttp.New(vaulthttp.Config{
		Vault: name, Secrets: store.Secrets(), Keys: store.Keys(), Certificates: store.Certificates(), Tokens: anyOf{token},
		Authority: "https://login.example/tenant-1", Resource: "https://vault.azure.net", Simulate: s,
	})}
}

const (
	policyOfSelf = `{"policy":{"issuer":{"name":"Self"},"x509_props":{"subject":"CN=c","sans":{"dns_names":["c.example"],"uris":["spiffe://c"],"ipAddresses":["127.0.0.1"]}},` +
		`"key_props":{"kty":"EC","crv":"P-256"}},"preserveCertOrder":true}`
	policyOfUnknown = `{"policy":{"issuer":{"name":"Unknown"},"x509_props":{"subject":"CN=u"},"key_props":{"kty":"EC","crv":"P-256"}}}`
)

// create begins to make a certificate.
func (v vault) create(t *testing.T, name, body string) map[string]any {
	t.Helper()
	resp, got := v.do(t, "POST", "/certificates/"+name+"/create?api-version=2025-07-01", body)
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("create %s: %d %v", name, resp.StatusCode, got)
	}
	return got
}

// What the replies of a certificate's making say beside their body.
func TestCertificateHeaders(t *testing.T) {
	v := newCertificateVault(t, vaulthttp.Simulation{})
	const at = "https://dev.vault.example/certificates/u"
	resp, got := v.do(t, "POST", "/certificates/U/create?api-version=7.4", policyOfUnknown)
	location := regexp.MustCompile(`^` + regexp.QuoteMeta(at) + `/pending\?api-version=7\.4&request_id=[0-9a-f]{32}$`)
	if resp.StatusCode != 202 || !location.MatchString(resp.Header.Get("Location")) || resp.Header.Get("Retry-After") != "10" ||
		!strings.HasSuffix(resp.Header.Get("Location"), text(got, "request_id")) || text(got, "id") != at+"/pending" {
		t.Errorf("create: %d %v %v", resp.StatusCode, resp.Header, got)
	}
	for _, line := range []string{"GET", "PATCH", "DELETE"} {
		resp, got := v.do(t, line, "/certificates/u/pending?api-version=7.4", `{"cancellation_requested":false}`)
		if wait := resp.Header.Get("Retry-After"); resp.StatusCode != 200 || text(got, "status") != "inProgress" || (wait == "10") != (line == "GET") {
			t.Errorf("%s: %d, Retry-After %q, %v", line, resp.StatusCode, wait, got)
		}
	}

	csr, err := base64.StdEncoding.DecodeString(text(v.create(t, "u", policyOfUnknown), "csr"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, authority, err := signRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"x5c": [][]byte{leaf, authority}})
	if err != nil {
		t.Fatal(err)
	}
	resp, got = v.do(t, "POST", "/certificates/u/pending/merge?api-version=7.4", string(body))
	if resp.StatusCode != 201 || resp.Header.Get("Location") != at+"?api-version=7.4" || text(got, "cer") != base64.StdEncoding.EncodeToString(leaf) {
		t.Errorf("merge: %d %v %v", resp.StatusCode, resp.Header, got)
	}
	resp, got = v.do(t, "GET", "/certificates/u/pending?api-version=7.4", "")
	if resp.Header.Get("Retry-After") != "" || text(got, "status") != "completed" || text(got, "target") != at {
		t.Errorf("completed: %v %v", resp.Header, got)
	}
}

// Fields that are younger than the version are neither heeded nor told.
func TestCertificateAPIVersions(t *testing.T) {
	for version, want := range map[string]struct{ days, order, names bool }{
		"7.0": {}, "7.1": {days: true}, "7.5": {days: true}, "7.6": {days: true, order: true},
		"2025-07-01": {true, true, true}, "2026-04-01": {true, true, true}, "2026-07-01-preview": {true, true, true},
	} {
		t.Run(version, func(t *testing.T) {
			v := newCertificateVault(t, vaulthttp.Simulation{})
			do := func(method, target, body string) map[string]any {
				t.Helper()
				resp, got := v.do(t, method, target+"?api-version="+version, body)
				if resp.StatusCode > 202 {
					t.Fatalf("%s %s: %d %v", method, target, resp.StatusCode, got)
				}
				return got
			}
			wantOrder := func(got map[string]any) {
				t.Helper()
				order, told := got["preserveCertOrder"]
				if told != want.order || want.order && order != true {
					t.Errorf("the order is %v", order)
				}
			}
			wantOrder(do("POST", "/certificates/c/create", policyOfSelf))
			wantOrder(do("GET", "/certificates/c/pending", ""))
			got := do("GET", "/certificates/c", "")
			wantOrder(got)
			for _, policy := range []any{got["policy"], do("GET", "/certificates/c/policy", "")} {
				_, uris := at(policy, "x509_props", "sans", "uris").([]any)
				_, addresses := at(policy, "x509_props", "sans", "ipAddresses").([]any)
				if uris != want.names || addresses != want.names || at(policy, "x509_props", "sans", "dns_names") == nil {
					t.Errorf("the names are %v", at(policy, "x509_props", "sans"))
				}
			}
			if (at(got, "attributes", "recoverableDays") != nil) != want.days {
				t.Errorf("the attributes are %v", got["attributes"])
			}
			wantOrder(do("DELETE", "/certificates/c", ""))
			wantOrder(do("GET", "/deletedcertificates/c", ""))
			items, _ := do("GET", "/deletedcertificates", "")["value"].([]any)
			if len(items) != 1 || (at(items[0], "attributes", "recoverableDays") != nil) != want.days || text(items[0], "attributes", "recoveryLevel") == "" {
				t.Errorf("a deleted item: %v", items)
			}
			if _, subject := items[0].(map[string]any)["subject"]; subject {
				t.Error("a deleted item has a subject")
			}
		})
	}
}

// What is refused, and in which words.
func TestCertificateErrors(t *testing.T) {
	tests := map[string]struct {
		method, target, body string
		status               int
		code, inner, words   string
	}{
		"no certificate":       {"GET", "/certificates/none", "", 404, "CertificateNotFound", "", "(name/id) none was not found"},
		"no deleted one":       {"GET", "/deletedcertificates/none", "", 404, "CertificateNotFound", "", "Deleted Certificate not found: none"},
		"no policy":            {"GET", "/certificates/none/policy", "", 404, "CertificateNotFound", "", ""},
		"no operation":         {"GET", "/certificates/none/pending", "", 404, "PendingCertificateNotFound", "", "Pending certificate not found: none"},
		"nothing to end":       {"DELETE", "/certificates/none/pending", "", 404, "PendingCertificateNotFound", "", ""},
		"nothing to cancel":    {"PATCH", "/certificates/none/pending", "{}", 404, "PendingCertificateNotFound", "", ""},
		"no issuer":            {"GET", "/certificates/issuers/none", "", 404, "CertificateIssuerNotFound", "", "Issuer not found"},
		"a new issuer":         {"PUT", "/certificates/issuers/ca", `{"provider":"x"}`, 501, "NotSupported", "", "Self"},
		"another issuer":       {"PATCH", "/certificates/issuers/ca", `{}`, 501, "NotSupported", "", "Self"},
		"an issuer less":       {"DELETE", "/certificates/issuers/ca", "", 501, "NotSupported", "", "Self"},
		"no JSON":              {"POST", "/certificates/c/create", "{", 400, "BadParameter", "", ""},
		"no policy to make":    {"POST", "/certificates/new/create", "{}", 400, "BadParameter", "", ""},
		"nothing to import":    {"POST", "/certificates/c/import", `{"value":""}`, 400, "BadParameter", "", `"value"`},
		"what is no PFX":       {"POST", "/certificates/new/import", `{"value":"AAEC","pwd":"` + canary + `"}`, 400, "BadParameter", "", ""},
		"no chain":             {"POST", "/certificates/u/pending/merge", `{}`, 400, "BadParameter", "", `"x5c"`},
		"no contacts":          {"PUT", "/certificates/contacts", `{}`, 400, "BadParameter", "", `"contacts"`},
		"no backup":            {"POST", "/certificates/restore", `{"value":"AAEC"}`, 400, "Malformed backup blob", "", ""},
		"being made":           {"POST", "/certificates/u/create", policyOfUnknown, 409, "Conflict", "", "inProgress"},
		"being made, imported": {"POST", "/certificates/u/import", `{"value":"AAEC"}`, 400, "BadParameter", "", ""},
		"soft-deleted":         {"POST", "/certificates/gone/create", policyOfSelf, 409, "Conflict", "ObjectIsDeletedButRecoverable", "deleted but recoverable"},
		"a plain secret":       {"POST", "/certificates/db/create", policyOfSelf, 409, "Conflict", "ObjectAlreadyExists", "db"},
		"its secret":           {"PUT", "/secrets/c", `{"value":"v"}`, 403, "Forbidden", "SecretManagedByKeyVault", "managed by Key Vault"},
		"its key":              {"DELETE", "/keys/c", "", 403, "Forbidden", "KeyManagedByKeyVault", "managed by Key Vault"},
		"cancelled, done":      {"PATCH", "/certificates/c/pending", `{"cancellation_requested":true}`, 403, "Forbidden", "", "must be in progress"},
		"a bad name":           {"GET", "/certificates/a%2fb", "", 400, "BadParameter", "", ""},
		"a bad version":        {"GET", "/certificates/c/1234", "", 400, "BadParameter", "", ""},
		"16 tags":              {"POST", "/certificates/c/create", `{"tags":{` + manyTags(16) + `}}`, 400, "BadParameter", "", "15 tags"},
		"a huge body":          {"POST", "/certificates/c/import", `{"value":"` + strings.Repeat("A", 512<<10) + `"}`, 413, "BadParameter", "", ""},
		"a long chain's body":  {"POST", "/certificates/u/pending/merge", `{"x5c":["` + strings.Repeat("A", 512<<10) + `"]}`, 413, "BadParameter", "", ""},
	}
	v := newCertificateVault(t, vaulthttp.Simulation{})
	v.set(t, "db", "v")
	v.create(t, "c", policyOfSelf)
	v.create(t, "u", policyOfUnknown)
	v.create(t, "gone", policyOfSelf)
	v.do(t, "DELETE", "/certificates/gone?api-version=7.4", "")
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			resp, got := v.do(t, tt.method, tt.target+"?api-version=7.4", tt.body)
			message := text(got, "error", "message")
			if resp.StatusCode != tt.status || text(got, "error", "code") != tt.code || text(got, "error", "innererror", "code") != tt.inner ||
				!strings.Contains(message, tt.words) || strings.Contains(message, "{name}") || strings.Contains(message, canary) {
				t.Errorf("%d %v", resp.StatusCode, got)
			}
		})
	}
}

func manyTags(n int) string {
	var all []string
	for i := range n {
		all = append(all, `"t`+strings.Repeat("x", i)+`":"v"`)
	}
	return strings.Join(all, ",")
}

// A certificate's secret as PEM, where a client asks for it.
func TestOutContentType(t *testing.T) {
	v := newCertificateVault(t, vaulthttp.Simulation{})
	v.set(t, "db", canary)
	v.create(t, "pfx", policyOfSelf)
	v.create(t, "pem", strings.Replace(policyOfSelf, `"key_props"`, `"secret_props":{"contentType":"application/x-pem-file"},"key_props"`, 1))
	const pfxType, pemType = broker.ContentTypePKCS12, broker.ContentTypePEM
	for label, tt := range map[string]struct {
		name, version, asked string
		status               int
		contentType          string
	}{
		"not asked for":             {"pfx", "2025-07-01", "", 200, pfxType},
		"PEM of a PFX":              {"pfx", "2025-07-01", pemType, 200, pemType},
		"PEM of a PFX, later":       {"pfx", "2026-04-01", pemType, 200, pemType},
		"PEM of a PFX, too early":   {"pfx", "7.6", pemType, 200, pfxType},
		"a PFX of a PFX":            {"pfx", "2025-07-01", pfxType, 200, pfxType},
		"PEM of PEM":                {"pem", "2025-07-01", pemType, 200, pemType},
		"a PFX of PEM":              {"pem", "2025-07-01", pfxType, 400, ""},
		"something else":            {"pfx", "2025-07-01", "text/plain", 400, ""},
		"PEM of a plain secret":     {"db", "2025-07-01", pemType, 200, ""},
		"something else of a plain": {"db", "2025-07-01", "text/plain", 400, ""},
	} {
		t.Run(label, func(t *testing.T) {
			resp, got := v.do(t, "GET", "/secrets/"+tt.name+"?api-version="+tt.version+"&outContentType="+tt.asked, "")
			if resp.StatusCode != tt.status || text(got, "contentType") != tt.contentType {
				t.Fatalf("%d %s, %v", resp.StatusCode, text(got, "contentType"), got["error"])
			}
			switch {
			case tt.status != 200:
			case tt.name == "db":
				if text(got, "value") != canary {
					t.Error("a plain secret is converted")
				}
			default:
				m, err := broker.ParseCertificateMaterial(tt.contentType, broker.NewValue(text(got, "value")), broker.Value{})
				if err != nil || m.Key.Len() == 0 || len(m.Chain) != 1 || text(got, "kid") == "" || at(got, "managed") != true {
					t.Errorf("%v", err)
				}
			}
		})
	}
}

// Each operation takes the permission that Azure's roles have for it.
func TestCertificatePermissions(t *testing.T) {
	v := newCertificateVault(t, vaulthttp.Simulation{Deny: []string{"app-1"}})
	jwt := token + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"azp":"app-1"}`)) + ".x"
	for line, want := range map[string]string{
		"GET /certificates":                       "certificates/read",
		"GET /certificates/c":                     "certificates/read",
		"GET /certificates/c/versions":            "certificates/read",
		"GET /certificates/c/policy":              "certificates/read",
		"GET /certificates/c/pending":             "certificates/read",
		"GET /deletedcertificates":                "certificates/read",
		"GET /deletedcertificates/c":              "certificates/read",
		"POST /certificates/c/create":             "certificates/create/action",
		"POST /certificates/c/pending/merge":      "certificates/create/action",
		"POST /certificates/c/import":             "certificates/import/action",
		"PATCH /certificates/c":                   "certificates/update/action",
		"PATCH /certificates/c/policy":            "certificates/update/action",
		"PATCH /certificates/c/pending":           "certificates/update/action",
		"DELETE /certificates/c/pending":          "certificates/update/action",
		"DELETE /certificates/c":                  "certificates/delete",
		"POST /certificates/c/backup":             "certificates/backup/action",
		"POST /certificates/restore":              "certificates/restore/action",
		"POST /deletedcertificates/c/recover":     "certificates/recover/action",
		"DELETE /deletedcertificates/c":           "certificates/purge/action",
		"GET /certificates/contacts":              "certificatecontacts/write",
		"PUT /certificates/contacts":              "certificatecontacts/write",
		"DELETE /certificates/contacts":           "certificatecontacts/write",
		"GET /certificates/issuers":               "certificatecas/read",
		"GET /certificates/issuers/ca":            "certificatecas/read",
		"PUT /certificates/issuers/ca":            "certificatecas/write",
		"PATCH /certificates/issuers/ca":          "certificatecas/write",
		"DELETE /certificates/issuers/ca":         "certificatecas/delete",
		"PATCH /certificates/c/" + versionOfZeros: "certificates/update/action",
	} {
		method, target, _ := strings.Cut(line, " ")
		r := httptest.NewRequestWithContext(t.Context(), method, "https://dev.vault.example"+target+"?api-version=7.4", strings.NewReader("{}"))
		r.Header.Set("Authorization", "Bearer "+jwt)
		resp, got := v.send(t, r)
		if resp.StatusCode != 403 || text(got, "error", "innererror", "code") != "ForbiddenByRbac" ||
			!strings.Contains(text(got, "error", "message"), "Action: 'Microsoft.KeyVault/vaults/"+want+"'") {
			t.Errorf("%s: %d %v", line, resp.StatusCode, got)
		}
	}
}

const versionOfZeros = "00000000000000000000000000000000"

// Paths that are none, and methods that a path does not have.
func TestCertificateRoutes(t *testing.T) {
	v := newCertificateVault(t, vaulthttp.Simulation{})
	v.create(t, "c", policyOfSelf)
	for line, want := range map[string]int{
		"PUT /certificates/c":                      405,
		"POST /certificates/c":                     405,
		"POST /certificates":                       405,
		"GET /certificates/c/create":               405,
		"PUT /certificates/c/policy":               405,
		"GET /certificates/c/pending/merge":        405,
		"POST /certificates/contacts":              405,
		"POST /certificates/issuers":               405,
		"POST /certificates/issuers/ca":            405,
		"GET /certificates/c/pending/other":        404,
		"GET /certificates/issuers/ca/x":           404,
		"GET /certificates/c/versions/x":           404,
		"GET /certificates/c/pending/merge/x":      404,
		"GET /deletedcertificates/c/pending":       404,
		"GET /certificates/c/":                     200,
		"GET /certificates/c//":                    200,
		"PATCH /certificates/c/":                   200,
		"GET /Certificates/c":                      404,
		"GET /certificates/restore":                404, // a certificate of that name
		"GET /certificates/c/" + versionOfZeros:    404,
		"PATCH /certificates/c/" + versionOfZeros:  404,
		"DELETE /certificates/c/" + versionOfZeros: 405,
	} {
		method, target, _ := strings.Cut(line, " ")
		if resp, got := v.do(t, method, target+"?api-version=7.4", "{}"); resp.StatusCode != want {
			t.Errorf("%s: %d %v, want %d", line, resp.StatusCode, got, want)
		}
	}
}

// An import takes of Key Vault's limits as much as a new secret does.
func TestThrottledImports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newCertificateVault(t, vaulthttp.Simulation{Throttle: true})
		refused := 0
		for range 305 {
			if resp, _ := v.do(t, "POST", "/certificates/c/import?api-version=7.4", "{}"); resp.StatusCode == http.StatusTooManyRequests {
				refused++
			}
		}
		if refused != 5 {
			t.Errorf("%d of 305 imports are refused, want 5", refused)
		}
	})
}

// While a delete or a recovery settles, a certificate is on neither side.
func TestSimulateSettleCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newCertificateVault(t, vaulthttp.Simulation{Settle: 3 * time.Second})
		v.create(t, "c", policyOfSelf)
		v.create(t, "other", policyOfSelf)
		if gone := v.expect(t, "DELETE", "/certificates/c", "", 200, ""); strings.Count(text(gone, "id"), "/") != 5 || gone["pending"] == nil {
			t.Errorf("a settling delete: %v", gone)
		}
		time.Sleep(3*time.Second - time.Millisecond)
		for target, want := range map[string]string{
			"GET /certificates/c": "404 CertificateNotFound", "GET /deletedcertificates/c": "404 CertificateNotFound",
			"POST /certificates/c/create": "409 Conflict/ObjectIsBeingDeleted", "POST /deletedcertificates/c/recover": "409 Conflict/ObjectIsBeingDeleted",
			"DELETE /deletedcertificates/c": "409 Conflict/ObjectIsBeingDeleted", "GET /certificates/other": "200 ",
		} {
			method, path, _ := strings.Cut(target, " ")
			status, code, _ := strings.Cut(want, " ")
			number, err := strconv.Atoi(status)
			if err != nil {
				t.Fatal(err)
			}
			v.expect(t, method, path, policyOfSelf, number, code)
		}
		if items, _ := v.expect(t, "GET", "/deletedcertificates", "", 200, "")["value"].([]any); len(items) != 0 {
			t.Errorf("listed before it settled: %v", items)
		}
		time.Sleep(time.Millisecond)
		v.expect(t, "GET", "/deletedcertificates/c", "", 200, "")
		v.expect(t, "POST", "/deletedcertificates/c/recover", "", 200, "")
		for _, target := range []string{"", "/policy", "/versions"} {
			v.expect(t, "GET", "/certificates/c"+target, "", 404, "CertificateNotFound")
		}
		v.expect(t, "GET", "/certificates/c/pending", "", 404, "PendingCertificateNotFound")
		v.expect(t, "PATCH", "/certificates/c", "{}", 404, "CertificateNotFound")
		v.expect(t, "POST", "/certificates/c/backup", "", 404, "CertificateNotFound")
		v.expect(t, "POST", "/certificates/c/create", policyOfSelf, 409, "Conflict/ObjectIsBeingRecovered")
		for _, query := range []string{"", "&includePending=true"} {
			_, got := v.do(t, "GET", "/certificates?api-version=7.4"+query, "")
			if items, _ := got["value"].([]any); len(items) != 1 {
				t.Errorf("listed before it settled: %v", got)
			}
		}
		time.Sleep(3 * time.Second)
		v.expect(t, "GET", "/certificates/c", "", 200, "")
		v.expect(t, "DELETE", "/certificates/c", "", 200, "")
		time.Sleep(3 * time.Second)
		v.expect(t, "DELETE", "/deletedcertificates/c", "", 204, "")
		v.expect(t, "POST", "/certificates/c/create", policyOfSelf, 409, "Conflict/ObjectIsBeingDeleted")
		time.Sleep(3 * time.Second)
		v.create(t, "c", policyOfSelf)
	})
}

// What is being made for the first time is listed where it is asked for, on each
// page.
func TestIncludePending(t *testing.T) {
	v := newCertificateVault(t, vaulthttp.Simulation{})
	for _, name := range []string{"a", "c"} {
		v.create(t, name, policyOfUnknown)
	}
	for _, name := range []string{"b", "d"} {
		v.create(t, name, policyOfSelf)
	}
	for query, want := range map[string]string{"": "bd", "&includePending=false": "bd", "&includePending=true": "abcd", "&includePending=True": "abcd"} {
		got := ""
		for next := "/certificates?api-version=7.4&maxresults=1" + query; next != ""; {
			resp, page := v.do(t, "GET", next, "")
			items, _ := page["value"].([]any)
			if resp.StatusCode != 200 || len(items) > 1 {
				t.Fatalf("%s: %d %v", next, resp.StatusCode, page)
			}
			for _, item := range items {
				got += path.Base(text(item, "id"))
				if made := at(item, "x5t") != nil; made != strings.Contains("bd", path.Base(text(item, "id"))) {
					t.Errorf("an item: %v", item)
				}
			}
			next = strings.TrimPrefix(text(page, "nextLink"), "https://dev.vault.example:443")
		}
		if got != want {
			t.Errorf("%q lists %q, want %q", query, got, want)
		}
	}
}

// What is deleted while it is being made has a version in its id, and nothing of a
// certificate.
func TestDeletedInTheMaking(t *testing.T) {
	v := newCertificateVault(t, vaulthttp.Simulation{})
	v.create(t, "u", policyOfUnknown)
	for _, line := range []string{"DELETE /certificates/u", "GET /deletedcertificates/u"} {
		method, target, _ := strings.Cut(line, " ")
		got := v.expect(t, method, target, "", 200, "")
		version := path.Base(text(got, "id"))
		if strings.Count(text(got, "id"), "/") != 5 || version == versionOfZeros || got["cer"] != nil || got["kid"] != nil || got["policy"] == nil || got["pending"] == nil {
			t.Errorf("%s: %v", line, got)
		}
	}
}
