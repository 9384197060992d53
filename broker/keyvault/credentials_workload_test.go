package keyvault_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

func TestWorkloadIdentity(t *testing.T) {
	e := newEntra(t)
	want := "federated-1"
	e.proves = func(form url.Values) bool {
		return form.Get("client_assertion") == want && !form.Has("client_secret") &&
			form.Get("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	}
	file := writeFile(t, filepath.Join(t.TempDir(), "token"), []byte(want+"\n"))
	c := keyvault.WorkloadIdentityConfig{
		TenantID: "tenant-1", ClientID: "app-1", TokenFile: file, Authority: e.URL, RootCAs: rootsOf(e.Server),
	}
	src, err := keyvault.WorkloadIdentity(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, round := range []string{"federated-1", "federated-2"} { // its owner renews it
		want = round
		writeFile(t, file, []byte(round))
		if _, err := src.Token(t.Context(), scope, ""); err != nil {
			t.Fatal(err)
		}
	}
	for label, spoil := range map[string]func() error{
		"is empty":     func() error { return os.WriteFile(file, []byte("\n"), 0o600) },
		"no such file": func() error { return os.Remove(file) },
	} {
		if err := spoil(); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if _, err := keyvault.WorkloadIdentity(c); err == nil {
			t.Errorf("a source of a file that %s", label)
		}
		_, err = src.Token(t.Context(), scope, "")
		wantCode(t, err, broker.CodeVaultAuthentication)
		if !strings.Contains(err.Error(), "the federated token") {
			t.Errorf("the log does not name the file's fault: %v", err)
		}
	}
	for label, spoil := range map[string]func(*keyvault.WorkloadIdentityConfig){
		"no tenant": func(c *keyvault.WorkloadIdentityConfig) { c.TenantID = "" },
		"no client": func(c *keyvault.WorkloadIdentityConfig) { c.ClientID = "" },
		"no file":   func(c *keyvault.WorkloadIdentityConfig) { c.TokenFile = "" },
		"http":      func(c *keyvault.WorkloadIdentityConfig) { c.Authority = "http://login.example" },
	} {
		writeFile(t, file, []byte("federated"))
		bad := c
		spoil(&bad)
		if _, err := keyvault.WorkloadIdentity(bad); err == nil {
			t.Errorf("%s: no error", label)
		}
	}
}
