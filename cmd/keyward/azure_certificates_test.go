package main

import (
	"path/filepath"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azcertificates"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// The scenario of certificates in testdata/sdk/README.md, by Azure's own client for
// Go, which holds the vault's host name to its challenge.
func TestAzureCertificates(t *testing.T) {
	t.Run("verified", func(t *testing.T) {
		_, env := startVault(t, filepath.Join(t.TempDir(), "data"))
		t.Run("tls", func(t *testing.T) { keysRefusedWithoutItsCA(t, env) })
		url, opts := byName(t, env)
		client, err := azcertificates.NewClient(url, azureCredential(t, env), &azcertificates.ClientOptions{ClientOptions: opts})
		if err != nil {
			t.Fatal(err)
		}
		secrets, err := azsecrets.NewClient(url, azureCredential(t, env), &azsecrets.ClientOptions{ClientOptions: opts})
		if err != nil {
			t.Fatal(err)
		}
		s := &azureCertificates{client: client, secrets: secrets, ca: newOutsideCA(t), name: "go-web"}
		for _, step := range []struct {
			name string
			run  func(*testing.T)
		}{
			{"create", s.create},
			{"get", s.get},
			{"get-version", s.getVersion},
			{"serve", s.serve},
			{"import-pfx", s.importPFX},
			{"import-pem", s.importPEM},
			{"merge", s.merge},
			{"cancel", s.cancel},
			{"policies", s.policies},
			{"update", s.update},
			{"versions", s.versions},
			{"list", s.list},
			{"disabled", s.disabled},
			{"contacts", s.contacts},
			{"missing", s.missing},
			{"bad-name", s.badName},
			{"backup", s.backup},
			{"delete", s.delete},
			{"deleted-get", s.deletedGet},
			{"deleted-list", s.deletedList},
			{"recover", s.recover},
			{"purge", s.purge},
			{"restore", s.restore},
		} {
			if !t.Run(step.name, step.run) {
				t.FailNow() // the later steps build on it
			}
		}
	})
}
