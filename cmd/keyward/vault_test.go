package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func startVault(t *testing.T, dir string, args ...string) (*process, map[string]string) {
	t.Helper()
	p := start(t, dir, nil, append([]string{"vault", "--data", dir, "--addr", "127.0.0.1:0"}, args...)...)
	return p, vaultEnv(t, p)
}

// All that vault.env tells of gets a token that the vault takes.
func TestVaultCredentials(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p, env := startVault(t, dir, "--imds")
	opts := azcore.ClientOptions{
		Transport: &http.Client{Transport: azureTransport(t, env)},
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: env["AZURE_AUTHORITY_HOST"]},
	}
	certs, key, err := azidentity.ParseCertificates([]byte(read(t, env["AZURE_CLIENT_CERTIFICATE_PATH"])), nil)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := azidentity.NewClientCertificateCredential(env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"], certs, key,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: opts, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	workload, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: opts, DisableInstanceDiscovery: true,
		TenantID: env["AZURE_TENANT_ID"], ClientID: env["AZURE_CLIENT_ID"], TokenFilePath: env["AZURE_FEDERATED_TOKEN_FILE"],
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, cred := range map[string]azcore.TokenCredential{"a secret": azureCredential(t, env), "a certificate": certificate, "workload identity": workload, "a virtual machine": fixedToken(imdsToken(t, env))} {
		t.Run(name, func(t *testing.T) {
			if _, err := azureClientWith(t, env, cred).GetSecret(t.Context(), "none", "", nil); azureCode(err) != "404 SecretNotFound" {
				t.Errorf("%s: %v", azureCode(err), err)
			}
		})
	}
	for _, name := range []string{vaultCertificateFile, federatedTokenFile} {
		if info, err := os.Stat(p.file(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	// A second start keeps the certificate.
	before := read(t, p.file(vaultCertificateFile))
	p.stop(syscall.SIGTERM)
	p, env = startVault(t, dir)
	if read(t, p.file(vaultCertificateFile)) != before {
		t.Error("the certificate was made anew")
	}
	if resp := askIMDS(t, env); resp.StatusCode != http.StatusNotFound {
		t.Errorf("without --imds: %s", resp.Status)
	}
}

func askIMDS(t *testing.T, env map[string]string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		env["VAULT_URL"]+"/metadata/identity/oauth2/token/?api-version=2018-02-01&resource="+url.QueryEscape("https://vault.azure.net"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Metadata", "true")
	resp, err := (&http.Client{Transport: azureTransport(t, env)}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func imdsToken(t *testing.T, env map[string]string) string {
	t.Helper()
	var body map[string]string
	if err := json.NewDecoder(askIMDS(t, env).Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body["access_token"]
}

// Another issuer's token stands for the application if the vault was told of it.
func TestVaultFederation(t *testing.T) {
	theirs := t.TempDir()
	if err := ensureIssuer(theirs); err != nil {
		t.Fatal(err)
	}
	key, err := readIssuerKey(theirs)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: keyID(key)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_, env := startVault(t, dir, "--federated-issuer", "https://cluster.example", "--federated-subject", "billing", "--federated-keys", jwksFile(theirs))
	for subject, want := range map[string]string{"billing": "404 SecretNotFound", "other": "AADSTS700213"} {
		cred, err := azidentity.NewClientAssertionCredential(env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"],
			func(context.Context) (string, error) {
				return jwt.Signed(signer).Claims(jwt.Claims{
					Issuer: "https://cluster.example", Subject: subject, Audience: jwt.Audience{federatedAudience},
					Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour)),
				}).Serialize()
			},
			&azidentity.ClientAssertionCredentialOptions{
				ClientOptions: azcore.ClientOptions{
					Transport: &http.Client{Transport: azureTransport(t, env)},
					Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: env["AZURE_AUTHORITY_HOST"]},
				},
				DisableInstanceDiscovery: true,
			})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := azureClientWith(t, env, cred).GetSecret(t.Context(), "none", "", nil); !strings.Contains(azureCode(err), want) {
			t.Errorf("%s: %s, want %s", subject, azureCode(err), want)
		}
	}
}

func TestVaultRetention(t *testing.T) {
	_, env := startVault(t, t.TempDir(), "--retention-days", "7", "--purge-protection")
	c := azureClient(t, env)
	if _, err := c.SetSecret(t.Context(), "db", azsecrets.SetSecretParameters{Value: new("v")}, nil); err != nil {
		t.Fatal(err)
	}
	d, err := c.DeleteSecret(t.Context(), "db", nil)
	if err != nil || *d.Attributes.RecoveryLevel != "CustomizedRecoverable" || *d.Attributes.RecoverableDays != 7 || d.ID.Version() == "" {
		t.Fatalf("%v, %+v", err, d.DeletedSecret)
	}
	if _, err := c.PurgeDeletedSecret(t.Context(), "db", nil); azureCode(err) != "403 Forbidden" {
		t.Errorf("purge: %s", azureCode(err))
	}
}

// Azure's own client gets over what it can.
func TestVaultSimulate(t *testing.T) {
	_, env := startVault(t, t.TempDir(), "--simulate", "settle=1h,empty-pages", "--simulate", "claims,token-life=10m,latency=1ms")
	c := azureClient(t, env)
	ctx := t.Context()
	// The first token is refused, and another one is asked for.
	if _, err := c.SetSecret(ctx, "db", azsecrets.SetSecretParameters{Value: new("v")}, nil); err != nil {
		t.Fatal(err)
	}
	token, err := azureCredential(t, env).GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	if left := time.Until(token.ExpiresOn); err != nil || left > 10*time.Minute {
		t.Errorf("a token for %v, %v", left, err)
	}
	pages, names := 0, 0
	for pager := c.NewListSecretPropertiesPager(nil); pager.More(); pages++ {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		names += len(page.Value)
	}
	if pages != 2 || names != 1 {
		t.Errorf("%d names in %d pages", names, pages)
	}
	if _, err := c.DeleteSecret(ctx, "db", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetDeletedSecret(ctx, "db", nil); azureCode(err) != "404 SecretNotFound" {
		t.Errorf("while it settles: %s", azureCode(err))
	}
	if _, err := c.SetSecret(ctx, "db", azsecrets.SetSecretParameters{Value: new("v")}, nil); azureCode(err) != "409 Conflict" {
		t.Errorf("while it settles: %s", azureCode(err))
	}
}

func TestVaultDenies(t *testing.T) {
	_, env := startVault(t, t.TempDir(), "--simulate", "deny="+localClientID)
	_, err := azureClient(t, env).GetSecret(t.Context(), "db", "", nil)
	if azureCode(err) != "403 Forbidden" || !strings.Contains(err.Error(), "ForbiddenByRbac") ||
		!strings.Contains(err.Error(), "Microsoft.KeyVault/vaults/secrets/getSecret/action") || !strings.Contains(err.Error(), localClientID) {
		t.Error(err)
	}
}

func TestParseSimulation(t *testing.T) {
	tests := map[string]string{ // the words of an error, "" for none
		"":                         "",
		"settle=3s":                "",
		"settle":                   "such as settle=5s",
		"settle=3":                 "such as",
		"settle=-1s":               "such as",
		"latency=1m":               "want 1ms to 10s",
		"latency=10s":              "",
		"token-life=0s":            "want 2s to",
		"throttle":                 "",
		"throttle=1":               "takes no value",
		"retry-after=5s":           "goes with throttle",
		"throttle,retry-after=5s":  "",
		"retry-after=5s, throttle": "",
		"deny=":                    "deny=" + localClientID,
		"deny=a,deny=b":            "",
		"slow":                     "no such behaviour",
		"empty-pages,claims":       "",
	}
	for text, want := range tests {
		t.Run(text, func(t *testing.T) {
			var words []string
			if text != "" {
				words = strings.Split(text, ",")
			}
			_, err := parseSimulation(words)
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
	s, err := parseSimulation([]string{"settle=3s", "empty-pages", "throttle", "retry-after=5s", "latency=2ms", "claims", "token-life=5m", "deny=a", "deny=b"})
	if err != nil || s.Settle != 3*time.Second || !s.EmptyPages || !s.Throttle || s.RetryAfter != 5*time.Second || s.Latency != 2*time.Millisecond ||
		!s.Claims || s.tokenLife != 5*time.Minute || len(s.Deny) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
}

// A federated token is replaced before it ends, and the vault's application is
// all it is good for.
func TestFederatedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := ensureIssuer(dir); err != nil {
			t.Fatal(err)
		}
		if err := writeFederatedToken(dir); err != nil {
			t.Fatal(err)
		}
		go keepFederatedToken(t.Context(), dir, slog.New(slog.DiscardHandler))
		for range 3 {
			time.Sleep(federatedLife/2 + time.Second)
			synctest.Wait()
			token, err := jwt.ParseSigned(read(t, filepath.Join(dir, federatedTokenFile)), []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				t.Fatal(err)
			}
			var c jwt.Claims
			if err := token.UnsafeClaimsWithoutVerification(&c); err != nil {
				t.Fatal(err)
			}
			if left := time.Until(c.Expiry.Time()); left < federatedLife-2*time.Minute || !c.Audience.Contains(federatedAudience) || c.Audience.Contains(devAudience) {
				t.Errorf("%v left, for %v", left, c.Audience)
			}
		}
	})
}

func TestPrintClients(t *testing.T) {
	var b strings.Builder
	printClients(&b, "https://127.0.0.1:7445", "/tmp/a folder", false)
	for _, want := range []string{
		"https://127.0.0.1:7445", ". '/tmp/a folder/vault.env'", "-file '/tmp/a folder/ca.pem'",
		"azsecrets.NewClient", "new SecretClient(process", "verify_challenge_resource=False", "disableChallengeResourceVerification()", "DisableChallengeResourceVerification = true",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
