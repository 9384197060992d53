package keyvault

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

// An id that is taken for a secret's names one that the request's name can
// equal, and nothing else.
func FuzzSecretName(f *testing.F) {
	for _, s := range []string{
		"https://v.vault.azure.net/secrets/db", "https://v.vault.azure.net:443/secrets/DB-1/4fdaaf1456c7478babf4a28ddef5bdab",
		"https://v/secrets/db/", "https://v/secrets/a%2fb", "https://v/secrets/../keys/k", "/secrets/db", "https://v/keys/k", "",
	} {
		f.Add(s)
	}
	vault, err := broker.VaultName("pay")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id string) {
		n, err := secretName(vault, id)
		if err != nil {
			if !n.IsZero() {
				t.Errorf("a name beside an error: %v", n)
			}
			return
		}
		u, err := url.Parse(id)
		if err != nil {
			t.Fatalf("%q is no URL", id)
		}
		want := "/secrets/" + n.ObjectName()
		if n.Version() != "" {
			want += "/" + n.Version()
		}
		if !strings.EqualFold(u.EscapedPath(), want) || n.Vault() != vault {
			t.Errorf("%q gave %v", id, n)
		}
	})
}

// A link that is followed leads to the same place with another query, and what
// is kept of it is fit to be kept again.
func FuzzNextQuery(f *testing.F) {
	for _, s := range []string{
		"https://v.vault.azure.net:443/secrets?api-version=7.4&$skiptoken=eyJ&maxresults=1", "https://v.vault.azure.net/secrets?$skiptoken=x",
		"https://evil.example/secrets?$skiptoken=x", "https://v.vault.azure.net/secrets?%61pi-version=1&a=b", "//v.vault.azure.net/secrets?a=b", "?a#b",
	} {
		f.Add(s)
	}
	origin := url.URL{Scheme: "https", Host: "v.vault.azure.net"}
	f.Fuzz(func(t *testing.T, link string) {
		next, err := nextQuery(origin, "/secrets", &link)
		if err != nil || link == "" {
			if next != "" {
				t.Errorf("%q beside %v", next, err)
			}
			return
		}
		u, err := url.Parse("https://v.vault.azure.net/secrets?api-version=1&" + next)
		if err != nil || u.Host != origin.Host || u.Path != "/secrets" || u.Fragment != "" {
			t.Fatalf("%q leads to %v, %v", next, u, err)
		}
		if q := u.Query(); len(q["api-version"]) != 1 || q.Has("maxresults") || !validNext(next) {
			t.Errorf("%q keeps too much", next)
		}
		again, err := nextQuery(origin, "/secrets", new("https://v.vault.azure.net/secrets?"+next))
		if err != nil || again != next {
			t.Errorf("%q became %q, %v", next, again, err)
		}
	})
}

// Whatever a vault answers, the error is bounded, of one line, and tells the
// client nothing of it.
func FuzzRefusal(f *testing.F) {
	f.Add("", 403, []byte(`{"error":{"code":"Forbidden","message":"x","innererror":{"code":"SecretDisabled"}}}`))
	f.Add("GetDeletedSecret", 404, []byte(`{"error":{"code":"SecretNotFound","message":"https://v/secrets/x"}}`))
	f.Add("RestoreSecret", 400, []byte(`{"error":{"code":"Malformed backup blob","message":"x"}}`))
	f.Add("PurgeSecret", 403, []byte(`{"error":{"code":"Forbidden","message":"x"}}`))
	f.Add("", 500, []byte("<html>"))
	f.Add("RestoreSecret", 409, []byte(`{"error":{"innererror":null}}`))
	f.Fuzz(func(t *testing.T, operation string, status int, body []byte) {
		e := refusal(call{operation: operation}, reply{status: status, header: http.Header{}, body: body})
		if e.Code == "" || e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter {
			t.Errorf("%+v", e)
		}
		if text := e.Error(); len(text) > 1000 || strings.ContainsAny(text, "\r\n") || strings.Contains(text, "://") {
			t.Errorf("unfit for the log: %q", text)
		}
		if strings.Contains(e.Message, "/") {
			t.Errorf("the client is told %q", e.Message)
		}
	})
}

// What is decoded from a challenge is JSON, and bounded.
func FuzzClaims(f *testing.F) {
	f.Add(`Bearer authorization="https://login.windows.net/t", resource="https://vault.azure.net"`)
	f.Add(`Bearer realm="", error="insufficient_claims", claims="eyJhIjoxfQ=="`)
	f.Add(`bearer error=insufficient_claims, claims=eyJhIjoxfQ`)
	f.Add(`Bearer claims="`)
	f.Fuzz(func(t *testing.T, challenge string) {
		claims := claimsOf(http.Header{"Www-Authenticate": {challenge}})
		if claims != "" && (!json.Valid([]byte(claims)) || len(claims) > maxClaimsLen) {
			t.Errorf("claims %q", claims)
		}
	})
}
