package vaulthttp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// credential is one that has its token already.
type credential struct{ asked []policy.TokenRequestOptions }

func (c *credential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.asked = append(c.asked, o)
	return azcore.AccessToken{Token: token, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// Azure's own client, which learns from the challenge where to get a token.
func TestAzureSDK(t *testing.T) {
	v := newVault(t)
	var requests int
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		v.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	cred := &credential{}
	client, err := azsecrets.NewClient(s.URL, cred, &azsecrets.ClientOptions{
		ClientOptions:                        azcore.ClientOptions{Transport: s.Client()},
		DisableChallengeResourceVerification: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()

	set, err := client.SetSecret(ctx, "DB", azsecrets.SetSecretParameters{
		Value: new(canary), ContentType: new("text/plain"), Tags: map[string]*string{"a": new("b")},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if requests != 2 || len(cred.asked) != 1 || cred.asked[0].TenantID != "tenant-1" || !slices.Contains(cred.asked[0].Scopes, "https://vault.azure.net/.default") {
		t.Errorf("%d requests, and asked for %+v", requests, cred.asked)
	}
	got, err := client.GetSecret(ctx, "db", set.ID.Version(), nil)
	if err != nil || *got.Value != canary || *got.ContentType != "text/plain" || *got.Tags["a"] != "b" || !*got.Attributes.Enabled {
		t.Errorf("get: %v", err)
	}
	for range 30 {
		if _, err := client.SetSecret(ctx, "db", azsecrets.SetSecretParameters{Value: new("v")}, nil); err != nil {
			t.Fatal(err)
		}
	}
	versions := 0
	for p := client.NewListSecretPropertiesVersionsPager("db", nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		versions += len(page.Value)
	}
	if versions != 31 {
		t.Errorf("%d versions, want 31", versions)
	}
	names := 0
	for p := client.NewListSecretPropertiesPager(nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		names += len(page.Value)
	}
	if names != 1 {
		t.Errorf("%d secrets, want 1", names)
	}
	deleted, err := client.DeleteSecret(ctx, "db", nil)
	if err != nil || deleted.RecoveryID == nil || deleted.ScheduledPurgeDate == nil {
		t.Errorf("delete: %v", err)
	}
	if len(cred.asked) != 1 {
		t.Errorf("%d tokens were asked for, want 1", len(cred.asked))
	}
}
