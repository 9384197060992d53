package keyvault_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

func TestAuthorityFor(t *testing.T) {
	tests := map[string]string{
		"https://pay.vault.azure.net":               keyvault.PublicAuthority,
		"https://PAY.VAULT.AZURE.NET:443/":          keyvault.PublicAuthority,
		"https://pay.managedhsm.azure.net":          keyvault.PublicAuthority,
		"https://pay.vault.azure.cn":                keyvault.ChinaAuthority,
		"https://pay.managedhsm.azure.cn":           keyvault.ChinaAuthority,
		"https://pay.vault.usgovcloudapi.net":       keyvault.USGovAuthority,
		"https://pay.managedhsm.usgovcloudapi.net.": keyvault.USGovAuthority,
		"https://127.0.0.1:7445":                    "",
		"https://vault.azure.net.evil.example":      "",
		"https://evilvault.azure.net":               "",
		"::":                                        "",
	}
	for vault, want := range tests {
		got := keyvault.AuthorityFor(vault)
		if got != want {
			t.Errorf("%s: %q, want %q", vault, got, want)
		}
		if keyvault.IsAzureAuthority(got+"/") != (want != "") {
			t.Errorf("%q is not told from others", got)
		}
	}
}

// Each cloud's token service is asked, and only that one: nobody is asked
// whether it is one.
func TestAuthorityIsAsked(t *testing.T) {
	for _, authority := range []string{"", keyvault.ChinaAuthority, keyvault.USGovAuthority, "https://login.private.example"} {
		var hosts []string
		transport := exchange(func(r *http.Request) (*http.Response, error) {
			hosts = append(hosts, r.URL.Host)
			base := "https://" + r.URL.Host + "/tenant-1"
			if strings.HasSuffix(r.URL.Path, "/token") {
				return respond(200, `{"access_token":"t","expires_in":3599}`), nil
			}
			return respond(200, fmt.Sprintf(`{"issuer":"%[1]s/v2.0","authorization_endpoint":"%[1]s/a","token_endpoint":"%[1]s/oauth2/v2.0/token"}`, base)), nil
		})
		src, err := keyvault.ClientSecret(keyvault.ClientSecretConfig{
			TenantID: "tenant-1", ClientID: "app-1", Secret: broker.NewValue(clientSecret), Authority: authority, Transport: transport,
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := src.Token(t.Context(), scope, ""); err != nil {
			t.Errorf("%s: %v", authority, err)
		}
		want := strings.TrimPrefix(authority, "https://")
		if want == "" {
			want = "login.microsoftonline.com"
		}
		for _, h := range hosts {
			if h != want {
				t.Errorf("%s was asked for a token of %s", h, want)
			}
		}
	}
}

// Each code of Entra's is in the log, with what to do about it.
func TestEntraRefuses(t *testing.T) {
	for code, want := range map[int]string{
		7000215: "configure the secret's value, not its id",
		7000222: "has expired",
		700027:  "does not know this certificate",
		700024:  "set this host's clock",
		700016:  "check clientId, tenantId",
		90002:   "no such tenant",
		900023:  "neither a GUID nor a domain name",
		70011:   "are of one cloud",
		500011:  "are of one cloud",
		70021:   "compare issuer, subject and audience",
		700211:  "has the token's issuer",
		700212:  "has the token's audience",
		700213:  "has the token's subject",
		50034:   "does not know this account",
		999999:  "check the tenant, the client id and the secret",
	} {
		e := newEntra(t)
		e.fail = func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"error":"invalid_request","error_description":"AADSTS%d: %s","error_codes":[%[1]d]}`, code, canary)
		}
		_, err := e.source(t, clientSecret).Token(t.Context(), scope, "")
		wantCode(t, err, broker.CodeVaultAuthentication)
		if s := err.Error(); !strings.Contains(s, fmt.Sprint("AADSTS", code, "; ")) || !strings.Contains(s, want) || strings.Contains(s, canary) {
			t.Errorf("%d: %s; want %q", code, s, want)
		}
		if len(e.forms) != 1 {
			t.Errorf("%d: %d requests, want 1", code, len(e.forms))
		}
	}
}

// A token service that fails is no refusal: it is asked again soon.
func TestEntraFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		src, err := keyvault.ClientSecret(keyvault.ClientSecretConfig{
			TenantID: "tenant-1", ClientID: "app-1", Secret: broker.NewValue(clientSecret),
			Transport: exchange(func(*http.Request) (*http.Response, error) {
				asked++
				return respond(http.StatusServiceUnavailable, canary), nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = src.Token(t.Context(), scope, "")
		wantCode(t, err, broker.CodeVaultAuthentication)
		if e := broker.AsError(err); e.RetryAfter != 0 || !strings.Contains(err.Error(), "answered 503") || strings.Contains(err.Error(), canary) {
			t.Errorf("%v, to be asked again after %v", err, e.RetryAfter)
		}
		if asked != 3 {
			t.Errorf("%d requests, want 3", asked)
		}
	})
}
