package vaulthttp_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
)

// FuzzRequest: whatever a client asks for, the handler answers in JSON and never
// that it failed itself; it asks the store for a canonical name that the path
// spells, but for case; the ids that it tells lead back to that name; and without
// the token it asks the store for nothing, and challenges.
func FuzzRequest(f *testing.F) {
	const v = "?api-version=2026-04-01"
	for _, target := range []string{
		"GET /secrets" + v, "GET /secrets/db" + v, "GET /secrets/DB/" + missing + v, "GET /secrets/db/versions" + v, "PUT /secrets/db" + v, "PATCH /secrets/db/" + missing + v,
		"DELETE /secrets/db" + v, "GET /deletedsecrets/db" + v, "POST /deletedsecrets/db/recover" + v, "DELETE /deletedsecrets/db" + v, "POST /secrets/db/backup" + v,
		"POST /secrets/restore" + v, "GET /secrets/a%2fb" + v, "GET /secrets/%2e%2e" + v, "GET /secrets/../keys/k" + v, "GET //secrets/db" + v, "GET /secrets/db/" + v, "GET /Secrets/db" + v,
		"GET /secrets/d%62" + v, "GET /secrets/\u212a" + v, "GET /secrets/db", "GET /secrets/db?api-version=0", "GET /secrets" + v + "&maxresults=0", "GET /secrets" + v + "&$skiptoken=x",
		"GET /keys/k" + v, "GET /certificates/c" + v, "OPTIONS *",
	} {
		method, path, _ := strings.Cut(target, " ")
		for _, body := range []string{"", `{"value":"x","tags":{"a":"b"},"attributes":{"enabled":false,"exp":4102444800}}`, `{"value":"KUF6dXJl"}`, "{", "null"} {
			f.Add(method, path, "", body)
		}
	}
	f.Add("POST", "/secrets/db"+v, "PATCH", "{}")
	f.Add("GET", "/secrets/db"+v, "DELETE", "")

	name, err := broker.VaultName("dev")
	if err != nil {
		f.Fatal(err)
	}
	store := brokertest.NewSecretStore(name)
	db, err := name.Object(broker.KindSecrets, "db")
	if err != nil {
		f.Fatal(err)
	}
	var asked []broker.Name
	store.SetHook(func(_ context.Context, _ string, n broker.Name) error {
		asked = append(asked, n)
		return nil
	})
	h := vaulthttp.New(vaulthttp.Config{
		Vault: name, Secrets: store, Tokens: verifier(token), Authority: "https://login.example/tenant-1", Resource: "https://vault.azure.net",
	})
	canonical := regexp.MustCompile(`^[0-9a-z-]{1,127}$`)
	f.Fuzz(func(t *testing.T, method, target, override, body string) {
		// What an earlier input left behind would be another state to judge by.
		if _, err := store.SetSecret(t.Context(), db, broker.NewSecret{Value: broker.NewValue("x"), Enabled: true}); err != nil {
			if _, err := store.RecoverSecret(t.Context(), db); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.HasPrefix(target, "/") {
			t.Skip()
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "https://dev.vault.example"+target, strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		if override != "" {
			r.Header["X-Http-Method-Override"] = []string{override}
		}
		serve := func(r *http.Request) *httptest.ResponseRecorder {
			asked = nil
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}

		w := serve(r.Clone(t.Context()))
		if len(asked) > 0 || w.Code < 400 || w.Code == http.StatusUnauthorized && !strings.HasPrefix(w.Header().Get("Www-Authenticate"), `Bearer authorization="https://login.example/tenant-1"`) {
			t.Errorf("%s %q without a token: %d, asked for %v", method, target, w.Code, asked)
		}
		r = r.Clone(t.Context())
		r.Body = http.NoBody
		if body != "" {
			r, _ = http.NewRequestWithContext(t.Context(), method, "https://dev.vault.example"+target, strings.NewReader(body))
			r.Header["X-Http-Method-Override"] = []string{override}
		}
		r.Header.Set("Authorization", "Bearer "+token)
		w = serve(r)
		if w.Code >= 500 && w.Code != http.StatusNotImplemented {
			t.Errorf("%s %q: %d %s", method, target, w.Code, w.Body)
		}
		if w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %q: %d %q", method, target, w.Code, w.Body)
		}
		path := strings.ToLower(r.URL.EscapedPath())
		segments := strings.Split(path, "/")
		for i, segment := range segments {
			if plain, err := url.PathUnescape(segment); err == nil {
				segments[i] = strings.ToLower(plain)
			}
		}
		for _, n := range asked {
			if n.ObjectName() != "" && (!canonical.MatchString(n.ObjectName()) || !slices.Contains(segments, n.ObjectName())) || n.Vault() != name {
				t.Errorf("%s %q asked for %v", method, target, n)
			}
		}
		var told struct {
			ID string `json:"id"`
		}
		if w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &told) != nil || told.ID == "" {
			return
		}
		id, err := url.Parse(told.ID)
		if err != nil || id.Scheme != "https" || id.Host != "dev.vault.example" || !strings.HasPrefix(id.Path, "/secrets/") {
			t.Errorf("%s %q told the id %q", method, target, told.ID)
			return
		}
		object, _, _ := strings.Cut(strings.TrimPrefix(id.Path, "/secrets/"), "/")
		if strings.HasPrefix(path, "/secrets/restore") {
			return // the blob says which secret it is of
		}
		if !canonical.MatchString(strings.ToLower(object)) || !slices.Contains(segments, strings.ToLower(object)) {
			t.Errorf("%s %q told the id %q", method, target, told.ID)
		}
	})
}
