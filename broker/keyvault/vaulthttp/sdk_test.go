package vaulthttp_test

import (
	"context"
	"errors"
	"fmt"
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

// newSDK returns Azure's own client of v.
func newSDK(t *testing.T, v http.Handler, cred azcore.TokenCredential) *azsecrets.Client {
	t.Helper()
	s := httptest.NewTLSServer(v)
	t.Cleanup(s.Close)
	client, err := azsecrets.NewClient(s.URL, cred, &azsecrets.ClientOptions{
		ClientOptions:                        azcore.ClientOptions{Transport: s.Client()},
		DisableChallengeResourceVerification: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Azure's own client learns from the challenge where to get a token.
func TestAzureSDK(t *testing.T) {
	v := newVault(t)
	var requests int
	cred := &credential{}
	client := newSDK(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		v.ServeHTTP(w, r)
	}), cred)
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

// What is deleted, through Azure's own client: over pages, recovered, purged,
// and brought back from a backup.
func TestAzureSDKDeleted(t *testing.T) {
	const names = 30
	client := newSDK(t, newVault(t), &credential{})
	ctx := t.Context()
	set := func(name, value string) string {
		t.Helper()
		s, err := client.SetSecret(ctx, name, azsecrets.SetSecretParameters{Value: new(value), Tags: map[string]*string{"a": new("b")}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s.ID.Version()
	}
	wantStatus := func(what string, err error, status int, code string) {
		t.Helper()
		if e, ok := errors.AsType[*azcore.ResponseError](err); !ok || e.StatusCode != status || e.ErrorCode != code {
			t.Errorf("%s: %v, want %d %s", what, err, status, code)
		}
	}
	first, second := set("db", "first"), set("db", canary)
	expires := time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)
	updated, err := client.UpdateSecretProperties(ctx, "db", first, azsecrets.UpdateSecretPropertiesParameters{
		ContentType: new("text/plain"), SecretAttributes: &azsecrets.SecretAttributes{Expires: &expires},
	}, nil)
	if err != nil || updated.Value != nil || updated.ID.Version() != first || *updated.ContentType != "text/plain" ||
		!updated.Attributes.Expires.Equal(expires) || *updated.Tags["a"] != "b" {
		t.Fatalf("update: %v", err)
	}
	backup, err := client.BackupSecret(ctx, "db", nil)
	if err != nil || len(backup.Value) == 0 {
		t.Fatalf("backup: %v", err)
	}
	_, err = client.RestoreSecret(ctx, azsecrets.RestoreSecretParameters{SecretBackup: backup.Value}, nil)
	wantStatus("a restore over a live name", err, 409, "Conflict")
	_, err = client.GetDeletedSecret(ctx, "db", nil)
	wantStatus("a live secret among the deleted", err, 404, "SecretNotFound")

	deleted, err := client.DeleteSecret(ctx, "db", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.GetDeletedSecret(ctx, "db", nil)
	if err != nil || got.ID.Name() != "db" || *got.RecoveryID != *deleted.RecoveryID || !got.DeletedDate.Equal(*deleted.DeletedDate) ||
		!got.ScheduledPurgeDate.After(*got.DeletedDate) || got.Value != nil {
		t.Errorf("get deleted: %v", err)
	}
	recovered, err := client.RecoverDeletedSecret(ctx, "db", nil)
	if err != nil || recovered.ID.Name() != "db" || recovered.ID.Version() != second || recovered.Value != nil {
		t.Errorf("recover: %v", err)
	}

	if _, err := client.DeleteSecret(ctx, "db", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := client.PurgeDeletedSecret(ctx, "db", nil); err != nil {
		t.Fatalf("purge: %v", err)
	}
	_, err = client.GetDeletedSecret(ctx, "db", nil)
	wantStatus("a purged secret", err, 404, "SecretNotFound")
	restored, err := client.RestoreSecret(ctx, azsecrets.RestoreSecretParameters{SecretBackup: backup.Value}, nil)
	if err != nil || restored.ID.Name() != "db" || restored.ID.Version() != second || restored.Value != nil {
		t.Fatalf("restore: %v", err)
	}
	for version, want := range map[string]string{first: "first", second: canary} {
		s, err := client.GetSecret(ctx, "db", version, nil)
		if err != nil || *s.Value != want {
			t.Errorf("a restored version: %v", err)
		}
	}
	_, err = client.RestoreSecret(ctx, azsecrets.RestoreSecretParameters{SecretBackup: []byte("no backup")}, nil)
	wantStatus("a restore of nothing", err, 400, "Malformed backup blob")

	for i := range names {
		name := fmt.Sprint("s", i)
		set(name, "v")
		if _, err := client.DeleteSecret(ctx, name, nil); err != nil {
			t.Fatal(err)
		}
	}
	listed, pages := make(map[string]bool), 0
	for p := client.NewListDeletedSecretPropertiesPager(nil); p.More(); pages++ {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page.Value {
			listed[s.ID.Name()] = s.RecoveryID != nil && s.DeletedDate != nil && s.ScheduledPurgeDate != nil && *s.Attributes.RecoverableDays > 0
		}
	}
	if len(listed) != names || pages != 2 {
		t.Errorf("%d deleted secrets in %d pages, want %d in 2", len(listed), pages, names)
	}
	for name, whole := range listed {
		if !whole {
			t.Errorf("%s was listed with less than Key Vault says", name)
		}
	}
}
