package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker/keyvault"
)

// withCredential is a small configuration with one credential.
func withCredential(vaultURL, credential string) []byte {
	return fmt.Appendf(nil, `
tls: {certificate: s.pem, key: k.pem, clientCa: ca.pem}
identity: {mtls: {trustDomain: example.org}}
policy: {path: p}
audit: {path: a}
vaults: {pay: {url: %q, credential: %s}}
`, vaultURL, credential)
}

func TestCredentialConfig(t *testing.T) {
	for text, want := range map[string]string{ // to a part of the error, "" for none
		`{managedIdentity: {}}`:                             "",
		`{managedIdentity: {clientId: a}}`:                  "",
		`{managedIdentity: {objectId: a}}`:                  "",
		`{managedIdentity: {resourceId: /subscriptions/a}}`: "",
		`{managedIdentity: {clientId: a, resourceId: b}}`:   "one of clientId, objectId and resourceId",
		`{managedIdentity: {tenantId: a}}`:                  `unknown key "tenantId"`,
		`{workloadIdentity: {}}`:                            "",
		`{workloadIdentity: {tenantId: t, clientId: c, tokenFile: f, authority: "https://login.example"}}`:     "",
		`{workloadIdentity: {authority: "http://login.example"}}`:                                              "workloadIdentity.authority: want an https:// URL",
		`{workloadIdentity: {token: hunter2}}`:                                                                 "a secret does not stand",
		`{clientCertificate: {tenantId: t, clientId: c, certificateFile: f}}`:                                  "",
		`{clientCertificate: {tenantId: t, clientId: c, certificateFile: f, passwordFile: g}}`:                 "",
		`{clientCertificate: {tenantId: t, clientId: c, certificateFile: f, passwordEnv: G}}`:                  "",
		`{clientCertificate: {tenantId: t, clientId: c}}`:                                                      "clientCertificate.certificateFile: name the file",
		`{clientCertificate: {clientId: c, certificateFile: f}}`:                                               "clientCertificate.tenantId: name the tenant",
		`{clientCertificate: {tenantId: t, certificateFile: f}}`:                                               "clientCertificate.clientId: name the application",
		`{clientCertificate: {tenantId: t, clientId: c, certificateFile: f, passwordFile: g, passwordEnv: G}}`: "either passwordFile",
		`{clientCertificate: {tenantId: t, clientId: c, certificateFile: f, passwordEnv: "hunter2!"}}`:         "want the name of an environment variable",
		`{clientCertificate: {tenantId: t, clientId: c, certificateFile: f, password: hunter2}}`:               "a secret does not stand",
		`{clientCertificate: {tenantId: t, clientId: c, certificateFile: f, authority: login.example}}`:        "want an https:// URL",
		`{clientSecret: {tenantId: t, clientId: c, secretFile: f, authority: "https://u:hunter2@login"}}`:      "want an https:// URL",
		`{azureCli: {}}`:                      "",
		`{azureCli: {tenantId: t}}`:           "",
		`{azureCli: {clientId: c}}`:           `unknown key "clientId"`,
		`{default: {}}`:                       "",
		`{default: {tenantId: t}}`:            `unknown key "tenantId"`,
		`{azureCli: {}, default: {}}`:         "want exactly one",
		`{managedIdentity: {}, azureCli: {}}`: "want exactly one",
		`{default:}`:                          "want exactly one",
		`{workload: {}}`:                      `unknown key "workload"`,
	} {
		t.Run(text, func(t *testing.T) {
			_, _, err := parseConfig("k.yaml", withCredential("https://pay.vault.azure.net", text))
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%v, want %q", err, want)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter2") || !strings.HasPrefix(err.Error(), "k.yaml:6:")) {
				t.Errorf("it quotes a secret, or has no position: %v", err)
			}
		})
	}
}

// What a kind lacks is named before anything is asked for; what the platform
// sets is found.
func TestCredentialWiring(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"token": "federated", "app.pem": "no certificate", "secret": "s"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	webhook := map[string]string{
		"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_FEDERATED_TOKEN_FILE": filepath.Join(dir, "token"),
		"AZURE_AUTHORITY_HOST": keyvault.PublicAuthority + "/",
	}
	for label, tt := range map[string]struct {
		credential string
		env        map[string]string
		want       string
	}{
		"managed identity":           {`{managedIdentity: {objectId: o}}`, nil, ""},
		"workload, by the webhook":   {`{workloadIdentity: {}}`, webhook, ""},
		"workload, by itself":        {`{workloadIdentity: {tenantId: t, clientId: c, tokenFile: token}}`, nil, ""},
		"workload without a tenant":  {`{workloadIdentity: {}}`, nil, "AZURE_TENANT_ID is not set either"},
		"workload without a client":  {`{workloadIdentity: {tenantId: t}}`, nil, "AZURE_CLIENT_ID is not set either"},
		"workload without a file":    {`{workloadIdentity: {tenantId: t, clientId: c}}`, nil, "AZURE_FEDERATED_TOKEN_FILE is not set either"},
		"workload, the file is gone": {`{workloadIdentity: {tenantId: t, clientId: c, tokenFile: gone}}`, nil, "the federated token"},
		"a certificate that is none": {`{clientCertificate: {tenantId: t, clientId: c, certificateFile: app.pem}}`, nil, "app.pem cannot be opened"},
		"a password that is none":    {`{clientCertificate: {tenantId: t, clientId: c, certificateFile: app.pem, passwordEnv: P}}`, nil, "is to hold the certificate's password is empty"},
		"a secret":                   {`{clientSecret: {tenantId: t, clientId: c, secretFile: secret}}`, nil, ""},
		"az":                         {`{azureCli: {}}`, nil, ""},
		"az, of a tenant of no kind": {`{azureCli: {tenantId: "a b"}}`, nil, "tenant"},
		"the default":                {`{default: {}}`, nil, ""},
	} {
		t.Run(label, func(t *testing.T) {
			c, _, err := parseConfig("k.yaml", withCredential("https://pay.vault.azure.net", tt.credential))
			if err != nil {
				t.Fatal(err)
			}
			c.dir = dir
			err = wiring{config: c, env: func(name string) string { return tt.env[name] }}.checkVaults()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// Tokens come from the cloud that the vault is in, unless somebody says
// otherwise.
func TestAuthority(t *testing.T) {
	const private = "https://login.private.example"
	for _, tt := range []struct{ configured, env, vault, want string }{
		{"", "", "https://pay.vault.azure.net", keyvault.PublicAuthority},
		{"", "", "https://pay.vault.azure.cn", keyvault.ChinaAuthority},
		{"", "", "https://pay.vault.usgovcloudapi.net", keyvault.USGovAuthority},
		{"", "", "https://vault.private.example", keyvault.PublicAuthority},
		{"", private, "https://pay.vault.azure.cn", private},
		{private, keyvault.PublicAuthority, "https://pay.vault.azure.cn", private},
	} {
		w := wiring{env: func(name string) string { return map[string]string{"AZURE_AUTHORITY_HOST": tt.env}[name] }}
		if got := w.authority(tt.configured, tt.vault); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

func TestClientSecretIsFoundOrMissed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s"), []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(k string) string { return map[string]string{"SET": "from the environment"}[k] }
	for name, tt := range map[string]struct {
		s    clientSecretConfig
		want string // "" for an error
	}{
		"file":           {clientSecretConfig{SecretFile: "s"}, "from a file"},
		"environment":    {clientSecretConfig{SecretEnv: "SET"}, "from the environment"},
		"empty file":     {clientSecretConfig{SecretFile: "empty"}, ""},
		"no file":        {clientSecretConfig{SecretFile: "gone"}, ""},
		"empty variable": {clientSecretConfig{SecretEnv: "UNSET"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := tt.s.secret(&config{dir: dir}, env)
			if (err != nil) != (tt.want == "") || v.Reveal() != tt.want {
				t.Errorf("got %q, %v", v.Reveal(), err)
			}
		})
	}
}
