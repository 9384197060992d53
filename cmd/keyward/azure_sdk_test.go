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

// azureClient is the official SDK, with a client secret, over TLS that trusts
// the vault's CA alone.
func azureClient(t *testing.T, env map[string]string) *azsecrets.Client {
	t.Helper()
	return azureClientWith(t, env, nil)
}

// azureClientWith is the same with another credential.
func azureClientWith(t *testing.T, env map[string]string, cred azcore.TokenCredential) *azsecrets.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(read(t, env["SSL_CERT_FILE"]))) {
		t.Fatal("no CA")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	opts := azcore.ClientOptions{
		Transport: &http.Client{Transport: transport},
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: env["AZURE_AUTHORITY_HOST"]},
	}
	if cred == nil {
		var err error
		cred, err = azidentity.NewClientSecretCredential(env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"], env["AZURE_CLIENT_SECRET"],
			&azidentity.ClientSecretCredentialOptions{ClientOptions: opts, DisableInstanceDiscovery: true})
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err := azsecrets.NewClient(env["VAULT_URL"], cred,
		&azsecrets.ClientOptions{ClientOptions: opts, DisableChallengeResourceVerification: true})
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

func TestAzureSDKAgainstTheLocalVault(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := start(t, dir, nil, "vault", "--data", dir, "--addr", "127.0.0.1:0")
	env := vaultEnv(t, p)
	c := azureClient(t, env)
	ctx := t.Context()

	// Set twice, get the latest and the first.
	value := func(s string) azsecrets.SetSecretParameters {
		return azsecrets.SetSecretParameters{Value: &s, ContentType: new("text/plain"), Tags: map[string]*string{"team": new("pay")}}
	}
	first, err := c.SetSecret(ctx, "Db-Password", value("one"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.SetSecret(ctx, "db-password", value("two"), nil); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetSecret(ctx, "db-password", "", nil)
	if err != nil || *got.Value != "two" || *got.ContentType != "text/plain" || *got.Tags["team"] != "pay" || !*got.Attributes.Enabled {
		t.Fatalf("get: %v, %+v", err, got.Secret)
	}
	got, err = c.GetSecret(ctx, "db-password", first.ID.Version(), nil)
	if err != nil || *got.Value != "one" || got.ID.Version() != first.ID.Version() {
		t.Fatalf("get a version: %v", err)
	}

	// List over pages.
	want := map[string]bool{"db-password": true}
	for i := range 30 {
		name := fmt.Sprintf("many-%02d", i)
		if _, err := c.SetSecret(ctx, name, value("v"), nil); err != nil {
			t.Fatal(err)
		}
		want[name] = true
	}
	pages := 0
	for pager := c.NewListSecretPropertiesPager(nil); pager.More(); pages++ {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page.Value {
			if !want[s.ID.Name()] || s.ID.Version() != "" {
				t.Errorf("listed %s", *s.ID)
			}
			delete(want, s.ID.Name())
		}
	}
	if len(want) > 0 || pages < 2 {
		t.Errorf("%d pages, and these were not listed: %v", pages, want)
	}

	versions := 0
	for pager := c.NewListSecretPropertiesVersionsPager("db-password", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		versions += len(page.Value)
	}
	if versions != 2 {
		t.Errorf("%d versions, want 2", versions)
	}

	// Delete, and what is gone is not found.
	del, err := c.DeleteSecret(ctx, "db-password", nil)
	if err != nil || del.RecoveryID == nil || del.DeletedDate == nil || del.ScheduledPurgeDate == nil {
		t.Fatalf("delete: %v, %+v", err, del.DeletedSecret)
	}
	_, err = c.GetSecret(ctx, "db-password", "", nil)
	if azureCode(err) != "404 SecretNotFound" {
		t.Errorf("get after delete: %s", azureCode(err))
	}
	_, err = c.SetSecret(ctx, "db-password", value("three"), nil)
	if azureCode(err) != "409 Conflict" {
		t.Errorf("set after delete: %s", azureCode(err))
	}
	_, err = c.SetSecret(ctx, "big", value(strings.Repeat("x", 25_601)), nil)
	if azureCode(err) != "400 BadParameter" {
		t.Errorf("set 25,601 bytes: %s", azureCode(err))
	}

	// A token that is not the vault's own is refused in Key Vault's words.
	_, err = azureClientWith(t, env, fixedToken("e30.e30.e30")).GetSecret(ctx, "many-01", "", nil)
	if rerr, ok := errors.AsType[*azcore.ResponseError](err); !ok || rerr.StatusCode != http.StatusUnauthorized || !strings.Contains(rerr.Error(), "AKV10046") {
		t.Errorf("with a foreign token: %v", err)
	}

	// A wrong client secret gets no token.
	env["AZURE_CLIENT_SECRET"] = "wrong"
	_, err = azureClient(t, env).GetSecret(ctx, "many-01", "", nil)
	if aerr, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); !ok || aerr.RawResponse.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a wrong client secret: %v", err)
	}
}
