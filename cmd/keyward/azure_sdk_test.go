package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// vaultEnv reads the file that keyward leaves for Azure's clients.
func vaultEnv(t *testing.T, p *process) map[string]string {
	t.Helper()
	env := map[string]string{}
	for line := range strings.Lines(read(t, p.file("vault.env"))) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			t.Fatalf("vault.env has the line %q", line)
		}
		env[k] = strings.Trim(v, "'")
	}
	return env
}

// azureTransport is over TLS that trusts the vault's CA alone.
func azureTransport(t *testing.T, env map[string]string) *http.Transport {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(read(t, env["SSL_CERT_FILE"]))) {
		t.Fatal("no CA")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// azureCredential is a client secret at the vault's token service.
func azureCredential(t *testing.T, env map[string]string) azcore.TokenCredential {
	t.Helper()
	cred, err := azidentity.NewClientSecretCredential(env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"], env["AZURE_CLIENT_SECRET"],
		&azidentity.ClientSecretCredentialOptions{
			ClientOptions: azcore.ClientOptions{
				Transport: &http.Client{Transport: azureTransport(t, env)},
				Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: env["AZURE_AUTHORITY_HOST"]},
			},
			DisableInstanceDiscovery: true,
		})
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

// azureClient is the official SDK, with a client secret.
func azureClient(t *testing.T, env map[string]string) *azsecrets.Client {
	t.Helper()
	return azureClientWith(t, env, azureCredential(t, env))
}

// azureClientWith is the same with another credential.
func azureClientWith(t *testing.T, env map[string]string, cred azcore.TokenCredential) *azsecrets.Client {
	t.Helper()
	c, err := azsecrets.NewClient(env["VAULT_URL"], cred, &azsecrets.ClientOptions{
		ClientOptions:                        azcore.ClientOptions{Transport: &http.Client{Transport: azureTransport(t, env)}},
		DisableChallengeResourceVerification: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fixedToken is a credential that has one token to give.
type fixedToken string

func (f fixedToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(f), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// azureCode is the error code of Key Vault that the SDK understood.
func azureCode(err error) string {
	if rerr, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return fmt.Sprintf("%d %s", rerr.StatusCode, rerr.ErrorCode)
	}
	return fmt.Sprint(err)
}

// What Azure's client is refused on the way in.
func TestAzureClientRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	env := vaultEnv(t, start(t, dir, nil, "vault", "--data", dir, "--addr", "127.0.0.1:0"))
	ctx := t.Context()

	// A token that is not the vault's own is refused in Key Vault's words.
	_, err := azureClientWith(t, env, fixedToken("e30.e30.e30")).GetSecret(ctx, "a", "", nil)
	if rerr, ok := errors.AsType[*azcore.ResponseError](err); !ok || rerr.StatusCode != http.StatusUnauthorized || !strings.Contains(rerr.Error(), "AKV10046") {
		t.Errorf("with a foreign token: %v", err)
	}

	// By its address, the vault is in no domain that a challenge could name.
	opts := azcore.ClientOptions{Transport: &http.Client{Transport: azureTransport(t, env)}}
	strict, err := azsecrets.NewClient(env["VAULT_URL"], azureCredential(t, env), &azsecrets.ClientOptions{ClientOptions: opts})
	if err != nil {
		t.Fatal(err)
	}
	_, err = strict.GetSecret(ctx, "a", "", nil)
	if err == nil || !strings.Contains(err.Error(), "DisableChallengeResourceVerification") {
		t.Errorf("with verification at 127.0.0.1: %v", err)
	}

	// A wrong client secret gets no token.
	env["AZURE_CLIENT_SECRET"] = "wrong"
	_, err = azureClient(t, env).GetSecret(ctx, "a", "", nil)
	if aerr, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); !ok || aerr.RawResponse.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a wrong client secret: %v", err)
	}
}
