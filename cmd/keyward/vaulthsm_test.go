package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/keyward/keyward/broker"
)

// keyward vault --kind managedHsm is one to Azure's own client, and to a broker that
// is configured for one.
func TestVaultAsManagedHSM(t *testing.T) {
	p, env := startVault(t, filepath.Join(t.TempDir(), "hsm"), "--kind", "managedHsm")
	ctx := t.Context()
	for resource, ok := range map[string]bool{"https://managedhsm.azure.net": true, "https://vault.azure.net": false} {
		if _, err := azureCredential(t, env).GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}}); (err == nil) != ok {
			t.Errorf("a token for %s: %v", resource, err)
		}
	}

	keys, err := azkeys.NewClient(env["VAULT_URL"], azureCredential(t, env), &azkeys.ClientOptions{
		ClientOptions:                        azcore.ClientOptions{Transport: &http.Client{Transport: azureTransport(t, env)}},
		DisableChallengeResourceVerification: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	made, err := keys.CreateKey(ctx, "wrapper", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeOctHSM), KeySize: new(int32(256))}, nil)
	if err != nil || *made.Key.Kty != azkeys.KeyTypeOctHSM {
		t.Fatalf("%v, %+v", err, made.Key)
	}
	wrapped, err := keys.WrapKey(ctx, "wrapper", "", azkeys.KeyOperationParameters{
		Algorithm: new(azkeys.EncryptionAlgorithmA256KW), Value: bytes.Repeat([]byte{7}, 32),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	back, err := keys.UnwrapKey(ctx, "wrapper", "", azkeys.KeyOperationParameters{
		Algorithm: new(azkeys.EncryptionAlgorithmA256KW), Value: wrapped.Result,
	}, nil)
	if err != nil || !bytes.Equal(back.Result, bytes.Repeat([]byte{7}, 32)) {
		t.Errorf("unwrapped %x, %v", back.Result, err)
	}
	if _, err := azureClient(t, env).GetSecret(ctx, "db", "", nil); azureCode(err) != "404 NotFound" {
		t.Errorf("a secret: %s", azureCode(err))
	}

	dir, file := serveDir(t, "127.0.0.1:0")
	text, _, _ := strings.Cut(read(t, file), "vaults:")
	text += fmt.Sprintf(`vaults:
  hsm:
    url: %[1]s
    kind: managedHsm
    caFile: %[2]s
    credential: {clientSecret: {tenantId: %[3]s, clientId: %[4]s, secretEnv: HSM_SECRET, authority: "%[1]s"}}
`, env["VAULT_URL"], env["SSL_CERT_FILE"], env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"])
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	rc := run(ctx, []string{"serve", "--config", filepath.Join(dir, "keyward.yaml"), "--check", "--online"},
		func(name string) string { return map[string]string{"HSM_SECRET": env["AZURE_CLIENT_SECRET"]}[name] }, nil, &out, &out)
	if rc != exitOK || !strings.HasSuffix(out.String(), "vault hsm: ok\n") {
		t.Errorf("%d\n%s", rc, &out)
	}
	if said := p.out.String(); !strings.Contains(said, "azkeys.NewClient") || strings.Contains(said, "SecretClient") {
		t.Errorf("it says\n%s", said)
	}
}

// An embedded vault may be a Managed HSM as well: its client asks for tokens of
// that audience.
func TestEmbeddedManagedHSM(t *testing.T) {
	dir := t.TempDir()
	w := wiring{log: slog.New(slog.DiscardHandler), env: func(string) string { return "" }, config: &config{dir: dir, Vaults: map[string]vaultConfig{
		"edge": {Kind: kindManagedHSM, Local: &localConfig{Path: "edge.db", KeyFile: "edge.key"}},
	}}}
	tel, err := newTelemetry(t.Context(), func(string) string { return "" }, w.log)
	if err != nil {
		t.Fatal(err)
	}
	defer tel.close(w.log)
	w.config.setDefaults()
	v, err := w.openVaults(t.Context(), tel)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = v.close() }()
	if vault := v.open["edge"].served; vault.Secrets != nil || vault.Keys == nil {
		t.Errorf("it has %+v", vault)
	}
	name, err := broker.ParseName(broker.KindKeys, "vaults/edge/keys/wrapper")
	if err != nil {
		t.Fatal(err)
	}
	made, err := v.open["edge"].CreateKey(t.Context(), name, broker.NewKey{Type: broker.KeyTypeOct, Size: 256, Enabled: true})
	if err != nil || made.JWK.Type != broker.KeyTypeOctHSM {
		t.Errorf("%+v, %v", made, err)
	}
}
