package main

import (
	"crypto/tls"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// The scenario of keys in testdata/sdk/README.md, by Azure's own client for Go,
// which holds the vault's host name to its challenge.
func TestAzureKeys(t *testing.T) {
	for mode, kind := range map[string]string{"verified": kindKeyVault, "hsm": kindManagedHSM} {
		t.Run(mode, func(t *testing.T) {
			_, env := startVault(t, filepath.Join(t.TempDir(), "data"), "--kind", kind)
			t.Run("tls", func(t *testing.T) { keysRefusedWithoutItsCA(t, env) })
			url, opts := byName(t, env)
			client, err := azkeys.NewClient(url, azureCredential(t, env), &azkeys.ClientOptions{ClientOptions: opts})
			if err != nil {
				t.Fatal(err)
			}
			runAzureKeys(t, &azureKeys{client: client, hsm: mode == "hsm", name: "go-db"})
		})
	}
}

func runAzureKeys(t *testing.T, s *azureKeys) {
	t.Helper()
	type step struct {
		name string
		run  func(*testing.T)
	}
	steps := []step{
		{"create", s.create},
		{"import", s.imports},
		{"get", s.get},
		{"get-version", s.getVersion},
		{"update", s.update},
		{"rotate", s.rotate},
		{"versions", s.versions},
		{"rotation-policy", s.rotationPolicy},
		{"list", s.list},
		{"disabled", s.disabled},
		{"not-allowed", s.notAllowed},
		{"not-yet", s.notYet},
		{"missing", s.missing},
		{"bad-name", s.badName},
		{"bad-digest", s.badDigest},
	}
	for _, a := range slices.Concat(s.signatures(t), s.encryptions(t)) {
		steps = append(steps, step{a.name, func(t *testing.T) { a.run(t, s) }})
	}
	if s.hsm {
		for _, a := range symmetricAlgorithms() {
			steps = append(steps, step{a.name, func(t *testing.T) { a.run(t, s) }})
		}
	}
	for _, step := range append(steps,
		step{"backup", s.backup},
		step{"delete", s.delete},
		step{"deleted-get", s.deletedGet},
		step{"deleted-list", s.deletedList},
		step{"recover", s.recover},
		step{"purge", s.purge},
		step{"restore", s.restore},
	) {
		if !t.Run(step.name, step.run) {
			t.FailNow() // the later steps build on it
		}
	}
}

func keysRefusedWithoutItsCA(t *testing.T, env map[string]string) {
	opts := azcore.ClientOptions{Transport: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	opts.Retry.MaxRetries = -1
	c, err := azkeys.NewClient(env["VAULT_URL"], azureCredential(t, env), &azkeys.ClientOptions{ClientOptions: opts})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.GetKey(t.Context(), "a", "", nil)
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("without the vault's CA: %v", err)
	}
}
