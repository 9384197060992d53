package keyvault_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

const (
	goneSecret = `{"recoveryId":"https://v.vault.azure.net/deletedsecrets/db","deletedDate":1680047550,"scheduledPurgeDate":1687823550,` +
		`"id":"https://v.vault.azure.net/secrets/db/` + version + `","attributes":{"enabled":true}}`
	secretList = `{"value":[{"id":"https://v.vault.azure.net/secrets/DB","contentType":"text","tags":{"a":"b"},"attributes":{"enabled":true,"nbf":1}},` +
		`{"id":"https://v.vault.azure.net/secrets/db2"}],"nextLink":"https://v.vault.azure.net/secrets?api-version=2026-04-01&$skiptoken=eyJ"}`
	secretVersions = `{"value":[{"id":"https://v.vault.azure.net/secrets/db/` + version + `"}],"nextLink":null}`
)

// secretCalls are all calls of the client about a secret, with the reply of
// their success.
var secretCalls = map[string]struct {
	reply string
	act   func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error)
}{
	"get": {bundle("db"), func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) { return c.GetSecret(ctx, n) }},
	"set": {bundle("db"), func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.SetSecret(ctx, n, broker.NewSecret{Value: broker.NewValue(canary), Enabled: true})
	}},
	"update": {bundle("DB"), func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.UpdateSecret(ctx, n, broker.SecretUpdate{Enabled: new(true)})
	}},
	"delete": {goneSecret, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.DeleteSecret(ctx, n)
	}},
	"get deleted": {goneSecret, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.GetDeletedSecret(ctx, n)
	}},
	"recover": {bundle("db"), func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.RecoverSecret(ctx, n)
	}},
	"restore": {bundle("db"), func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.RestoreSecret(ctx, n.Vault(), broker.NewValue(canary))
	}},
	"backup": {`{"value":"KUF6dXJl"}`, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.BackupSecret(ctx, n)
	}},
	"list": {secretList, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.ListSecrets(ctx, n.Vault(), broker.Page{})
	}},
	"list deleted": {`{"value":[` + goneSecret + `]}`, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.ListDeletedSecrets(ctx, n.Vault(), broker.Page{})
	}},
	"versions": {secretVersions, func(ctx context.Context, c *keyvault.Client, n broker.Name) (any, error) {
		return c.ListSecretVersions(ctx, n)
	}},
}

// Whatever a vault answers to a call about a secret, it is all or nothing: an
// error that tells nothing of it, or a result of the secret that was asked for,
// and with the very value that a second reading of the reply finds; and that,
// written again, is read as the same.
func FuzzSecretReplies(f *testing.F) {
	names := slices.Sorted(maps.Keys(secretCalls))
	for i, label := range names {
		reply := secretCalls[label].reply
		for _, r := range []string{
			reply, strings.Replace(reply, "/db", "/other", 1), strings.Replace(reply, version, strings.ToUpper(version), 1),
			strings.Replace(reply, `"value":`, `"Value":`, 1), strings.Replace(reply, "1680047550", "-62135596801", 1),
			reply[:len(reply)/2], reply + reply, "null", `{"value":null}`, "<html>",
		} {
			f.Add(uint8(i), []byte(r))
		}
	}
	var body []byte
	c, err := keyvault.New(keyvault.Config{
		Vault: vaultName(f), URL: "https://v.vault.azure.net", Tokens: &tokens{},
		Transport: exchange(func(*http.Request) (*http.Response, error) { return respond(200, string(body)), nil }),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.Close)
	name, err := vaultName(f).Object(broker.KindSecrets, "db")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, n uint8, reply []byte) {
		label := names[int(n)%len(names)]
		body = reply
		got, err := secretCalls[label].act(t.Context(), c, name)
		if err != nil {
			switch e := broker.AsError(err); e.Code {
			case broker.CodeVaultUnavailable, broker.CodeSecretNotFound, broker.CodeSecretInTransition, broker.CodeValueTooLarge:
			default:
				t.Errorf("%v", err)
			}
			if text := err.Error(); strings.ContainsAny(text, "\r\n") || len(text) > 200 || strings.Contains(text, canary) {
				t.Errorf("unfit for the log: %q", text)
			}
			if got != nil && !reflect.ValueOf(got).IsZero() {
				t.Errorf("%+v beside %v", got, err)
			}
			return
		}
		switch got := got.(type) {
		case broker.SecretValue:
			wantSecret(t, name, got.Secret, true)
			var w struct {
				Value *string `json:"value"`
			}
			if json.Unmarshal(reply, &w) != nil || w.Value == nil || *w.Value != got.Value.Reveal() {
				t.Errorf("a value that the reply does not have: %s", reply)
			}
			sameSecretAgain(t, &body, got, func() (broker.SecretValue, error) { return c.GetSecret(t.Context(), got.Name) })
		case broker.Secret:
			if label == "restore" { // its name is the vault's to say
				name = got.Name.Base()
				defer func() { name, _ = vaultName(t).Object(broker.KindSecrets, "db") }()
			}
			wantSecret(t, name, got, true)
		case broker.DeletedSecret:
			wantSecret(t, name, got.Secret, false)
		case broker.SecretPage:
			for _, s := range got.Secrets {
				wantSecret(t, s.Name, s, false)
			}
			wantNext(t, got.Next)
		case broker.DeletedSecretPage:
			for _, s := range got.Secrets {
				wantSecret(t, s.Name, s.Secret, false)
			}
			wantNext(t, got.Next)
		case []broker.Secret:
			for _, s := range got {
				wantSecret(t, name, s, true)
			}
			if len(got) == 0 {
				t.Error("a secret without versions")
			}
		case broker.Value:
			var w struct {
				Value string `json:"value"`
			}
			if json.Unmarshal(reply, &w) != nil || base64.RawURLEncoding.EncodeToString([]byte(got.Reveal())) != w.Value || got.Len() == 0 {
				t.Errorf("a blob that the reply does not have: %s", reply)
			}
		default:
			t.Fatalf("%T", got)
		}
	})
}

func wantSecret(t *testing.T, name broker.Name, s broker.Secret, version bool) {
	t.Helper()
	if s.Name.Base() != name.Base() || s.Name.Kind() != broker.KindSecrets || s.Name.Vault() != vaultName(t) || (s.Name.Version() != "") != version {
		t.Errorf("the secret of %v, want %v", s.Name, name)
	}
}

// wantNext wants a page's Next to be a query, and no way to anywhere else.
func wantNext(t *testing.T, next string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "https://v.vault.azure.net/secrets?"+next, nil)
	if err != nil || r.URL.Host != "v.vault.azure.net" || r.URL.Path != "/secrets" || r.URL.Fragment != "" || r.URL.User != nil {
		t.Errorf("Next leads to %v, %v", r, err)
	}
}

// sameSecretAgain writes a secret as a vault would, and wants it to be read as it was.
func sameSecretAgain(t *testing.T, body *[]byte, s broker.SecretValue, get func() (broker.SecretValue, error)) {
	t.Helper()
	w := keyvault.FromSecret("https://v.vault.azure.net/secrets/"+s.Name.ObjectName()+"/"+s.Name.Version(), s.Secret)
	w.Value = &keyvault.Cleartext{Value: s.Value}
	text, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 200<<10 {
		return // with its escapes it may be more than a reply can have
	}
	*body = text
	again, err := get()
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	again.Fetched, s.Fetched = time.Time{}, time.Time{}
	if again.Value.Reveal() != s.Value.Reveal() || again.ETag() != s.ETag() || !maps.Equal(again.Tags, s.Tags) || again.Name != s.Name ||
		!again.Created.Equal(s.Created) || again.RecoveryLevel != s.RecoveryLevel || again.RecoverableDays != s.RecoverableDays || again.Managed != s.Managed {
		t.Errorf("%+v became %+v", s, again)
	}
}

// FuzzChallenge: whatever a vault's 401 asks for, a token is asked for the
// configured scope only, with claims that are JSON or with none, and the vault
// alone is called, twice at most.
func FuzzChallenge(f *testing.F) {
	for _, challenge := range []string{
		`Bearer authorization="https://login.windows.net/t", resource="https://vault.azure.net"`,
		`Bearer authorization="https://evil.example/t", resource="https://evil.example", scope="https://evil.example/.default"`,
		`Bearer realm="", error="insufficient_claims", claims="eyJhIjoxfQ=="`,
		`bearer error=insufficient_claims, claims=eyJhIjoxfQ`,
		`Bearer error="insufficient_claims", claims="W10=", claims="e30="`,
		`Bearer error="insufficient_claims", claims="` + strings.Repeat("A", 5<<10) + `"`,
		`Bearer claims="`, `Basic realm="x"`, "Bearer", "",
	} {
		f.Add(challenge, challenge)
	}
	type ask struct{ scope, claims string }
	var asked []ask
	var called []string
	var challenges [2]string
	c, err := keyvault.New(keyvault.Config{
		Vault: vaultName(f), URL: "https://v.vault.azure.net",
		Tokens: tokenFunc(func(scope, claims string) keyvault.Token {
			asked = append(asked, ask{scope, claims})
			return tokenOf(testToken, time.Hour)
		}),
		Transport: exchange(func(r *http.Request) (*http.Response, error) {
			called = append(called, r.URL.Host+r.URL.EscapedPath())
			resp := respond(http.StatusUnauthorized, `{"error":{"code":"Unauthorized","message":"AKV10000"}}`)
			resp.Header["Www-Authenticate"] = challenges[:]
			return resp, nil
		}),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.Close)
	name, err := vaultName(f).Object(broker.KindSecrets, "db")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		asked, called, challenges = nil, nil, [2]string{one, two}
		_, err := c.GetSecret(t.Context(), name)
		if broker.CodeOf(err) != broker.CodeVaultAuthentication {
			t.Errorf("%v", err)
		}
		if len(called) == 0 || len(called) > 2 || slices.ContainsFunc(called, func(to string) bool { return to != "v.vault.azure.net/secrets/db" }) {
			t.Errorf("called %q", called)
		}
		for _, a := range asked {
			if a.scope != "https://vault.azure.net/.default" {
				t.Errorf("a token was asked for %q", a.scope)
			}
			if a.claims != "" && (!json.Valid([]byte(a.claims)) || len(a.claims) > 4<<10) {
				t.Errorf("a token was asked for with the claims %q", a.claims)
			}
		}
		// What is tried again is asked for with claims: another token of the same
		// kind would be refused too.
		if len(called) == 2 && !slices.ContainsFunc(asked, func(a ask) bool { return a.claims != "" }) {
			t.Error("tried again without claims")
		}
	})
}

type tokenFunc func(scope, claims string) keyvault.Token

func (f tokenFunc) Token(_ context.Context, scope, claims string) (keyvault.Token, error) {
	return f(scope, claims), nil
}
