package vaulthttp_test

import (
	"encoding/json"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
)

// A Managed HSM writes its objects' members in alphabetical order, errors too.
func TestManagedHSMIsAlphabetical(t *testing.T) {
	const ec = `{"kty":"EC-HSM","tags":{"z":"1","a":"2"},"attributes":{"exp":4000000000}}`
	for label, hsm := range map[string]bool{"a Managed HSM": true, "a vault": false} {
		v := vaultOfKeys(t, vaulthttp.Config{ManagedHSM: hsm})
		sorted := true
		for _, target := range []string{"POST /keys/k/create", "GET /keys/k", "GET /keys", "GET /keys/k/rotationpolicy", "GET /keys/none"} {
			method, path, _ := strings.Cut(target, " ")
			r := httptest.NewRequestWithContext(t.Context(), method, "https://dev.vault.example"+path+"?api-version=7.4", strings.NewReader(ec))
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			v.ServeHTTP(w, r)
			if w.Code != 200 && w.Code != 404 {
				t.Fatalf("%s: %d %s", target, w.Code, w.Body)
			}
			if path == "/keys/k" && !strings.Contains(w.Body.String(), `"exp":4000000000`) {
				t.Errorf("%s: a number has changed: %s", label, w.Body)
			}
			sorted = inOrder(t, w.Body.String()) && sorted
		}
		if sorted != hsm {
			t.Errorf("%s: in order: %v", label, sorted)
		}
	}
}

// inOrder reports whether the members of all objects in text are sorted.
func inOrder(t *testing.T, text string) bool {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	var read func() bool
	read = func() bool {
		open, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		delim, nested := open.(json.Delim)
		if !nested {
			return true
		}
		ok := true
		var names []string
		for d.More() {
			if delim == '{' {
				name, err := d.Token()
				if err != nil {
					t.Fatal(err)
				}
				one, _ := name.(string)
				names = append(names, one)
			}
			ok = read() && ok
		}
		if _, err := d.Token(); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		return ok && slices.IsSorted(names)
	}
	return read()
}
