package keyvault

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
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
// client nothing of it: its code, field and words follow from the status and the
// vault's codes alone, and its words are ours.
func FuzzRefusal(f *testing.F) {
	operations := []string{"", restoreSecret, purgeSecret, "GetDeletedSecret", restoreKey, restoreCertificate, "Sign"}
	for i := range operations {
		for _, body := range []string{
			`{"error":{"code":"Forbidden","message":"x","innererror":{"code":"SecretDisabled"}}}`,
			`{"error":{"code":"Forbidden","message":"does not have keys get permission on key vault 'v;location=x'","innererror":{"code":"ForbiddenByRbac"}}}`,
			`{"error":{"code":"SecretNotFound","message":"https://v/secrets/x"}}`,
			`{"error":{"code":"Malformed backup blob","message":"x"}}`, `{"error":{"code":"BadParameter","message":"a\nb"}}`,
			`{"error":{"code":"Conflict","message":"x","innererror":{"code":"ObjectIsDeletedButRecoverable"}}}`,
			`{"error":{"code":"Unauthorized","message":"AKV10032: Invalid issuer. Expected one of https://sts.windows.net/x"}}`,
			`{"error":{"innererror":null}}`, "<html>", "",
		} {
			for _, status := range []int{400, 401, 403, 404, 409, 429, 500} {
				f.Add(uint8(i), uint8(i), status, false, "0", []byte(body))
			}
		}
	}
	f.Add(uint8(0), uint8(0), 429, true, "Wed, 21 Oct 2099 07:28:00 GMT", []byte{})
	f.Add(uint8(0), uint8(0), 503, true, "9223372036854775808", []byte{})
	words := clientWords()
	f.Fuzz(func(t *testing.T, operation, noun uint8, status int, sent bool, after string, body []byte) {
		k := call{operation: operations[int(operation)%len(operations)], keys: noun%3 == 1, certificates: noun%3 == 2}
		if sent {
			k.body = []byte("{}")
		}
		r := reply{status: status, header: http.Header{"Retry-After": {after}}, body: body}
		e := refusal(k, r)
		if wait, ok := retryAfter(r.header); wait < 0 || wait > maxRetryAfter || !ok && wait != 0 {
			t.Errorf("Retry-After %q: %v", after, wait)
		}
		if e.Code == "" || e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter {
			t.Errorf("%+v", e)
		}
		if text := e.Error(); len(text) > 1000 || strings.ContainsAny(text, "\r\n") || strings.Contains(text, "://") {
			t.Errorf("unfit for the log: %q", text)
		}
		if e.Message != "" && !words[e.Message] {
			t.Errorf("the client is told %q", e.Message)
		}
		// The vault's message, which may hold anything, changes nothing of that; and
		// is not kept where it may repeat what was sent.
		b := errorBody(body)
		b.Message = "canary-5e9b1f"
		text, err := json.Marshal(ErrorReply{Error: b})
		if err != nil {
			t.Fatal(err)
		}
		r.body = text
		other := refusal(k, r)
		if other.Code != e.Code || other.RetryAfter != e.RetryAfter || other.Field != e.Field || other.Message != e.Message {
			t.Errorf("%+v became %+v with another message", e, other)
		}
		if sent && strings.Contains(other.Error(), b.Message) {
			t.Errorf("the log repeats what was sent: %v", other)
		}
	})
}

// clientWords are all that clients are told of refusals.
func clientWords() map[string]bool {
	words := map[string]bool{}
	for _, m := range slices.Concat(meanings, keyMeanings, certificateMeanings) {
		words[m.words] = true
	}
	return words
}

// What is decoded from a challenge is JSON and bounded, and stands in it; and what
// was put there, in whichever of base64's spellings, is what is decoded.
func FuzzClaims(f *testing.F) {
	f.Add(`Bearer authorization="https://login.windows.net/t", resource="https://vault.azure.net"`, []byte(`{"a":1}`))
	f.Add(`Bearer realm="", error="insufficient_claims", claims="eyJhIjoxfQ=="`, []byte(`{"access_token":{"nbf":{"essential":true,"value":"1"}}}`))
	f.Add(`bearer error=insufficient_claims, claims=eyJhIjoxfQ`, []byte(`"\u00ff~?"`))
	f.Add(`Bearer claims="`, []byte("[]"))
	encodings := []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding}
	f.Fuzz(func(t *testing.T, challenge string, claims []byte) {
		if got := claimsOf(http.Header{"Www-Authenticate": {challenge}}); got != "" {
			stands := func(e *base64.Encoding) bool { return strings.Contains(challenge, e.EncodeToString([]byte(got))) }
			if !json.Valid([]byte(got)) || len(got) > maxClaimsLen || !slices.ContainsFunc(encodings, stands) && !strings.ContainsAny(challenge, "\r\n") {
				t.Errorf("%q has the claims %q", challenge, got)
			}
		}
		if !json.Valid(claims) || len(claims) > maxClaimsLen/2 {
			return
		}
		for _, e := range encodings {
			for _, quote := range []string{`"`, ""} {
				text := `Bearer authorization="https://login.windows.net/t", error=` + quote + "insufficient_claims" + quote + ", claims=" + quote + e.EncodeToString(claims) + quote
				// A challenge that is none of ours changes nothing of it.
				if got := claimsOf(http.Header{"Www-Authenticate": {"Basic " + challenge, text}}); got != string(claims) {
					t.Errorf("%s has the claims %q, want %q", text, got, claims)
				}
			}
		}
	})
}

// Whatever a token endpoint answers, what is kept of it for the log is codes
// alone: its words, which name tenants and applications, change nothing of it but
// the advice.
func FuzzTokenRefusal(f *testing.F) {
	for _, body := range []string{
		`{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.","error_codes":[7000215]}`,
		`{"error":"invalid_client","error_description":"AADSTS700016: Application 'x' not found","error_codes":[]}`,
		`{"error":"unauthorized_client","error_codes":[1,2,3,4,5]}`, `{"error":"a b\nc","error_codes":[-1]}`,
		`{"error":"invalid_request","error_description":"Identity not found"}`, `{"statusCode":400,"message":"No managed identity found"}`, "<html>", "null", "",
	} {
		for _, status := range []int{400, 401, 403, 429, 500} {
			f.Add(status, []byte(body))
		}
	}
	codes := regexp.MustCompile(`^([a-zA-Z0-9_.-]{1,64})?( ?AADSTS-?[0-9]{1,19}){0,3}$`)
	kinds := []credentialKind{kindManagedIdentity, kindWorkloadIdentity, kindClientCertificate, kindClientSecret, kindDefault}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		said := refusalOf(body)
		if !codes.MatchString(said.reason) {
			t.Errorf("%q is not of codes alone", said.reason)
		}
		if status == http.StatusOK || status <= 0 {
			return
		}
		for _, kind := range kinds {
			w := tokenWire{kind: kind, status: status, said: said}
			e := w.failure(errors.New(string(body)))
			if text := e.Error(); e.Code != broker.CodeVaultAuthentication || e.Message != "" || len(text) > 1500 || strings.ContainsAny(text, "\r\n") {
				t.Errorf("%+v: %q", e, text)
			}
		}
	})
}
