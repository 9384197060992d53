package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// azureScenario is a run of the scenario; each step builds on those before.
type azureScenario struct {
	client        *azsecrets.Client
	prefix, name  string
	first, second string // versions
	blob          []byte
}

// azureExpiry is the scenario's, in every language.
var azureExpiry = time.Date(2037, 1, 2, 3, 4, 5, 0, time.UTC)

const azureValue = "pässwörd ✓ \"quoted\" <&>\n"

// put sets a secret, and returns the version.
func (s *azureScenario) put(t *testing.T, name string, p azsecrets.SetSecretParameters) string {
	t.Helper()
	got, err := s.client.SetSecret(t.Context(), name, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return got.ID.Version()
}

// wantValue checks the value of a version, of the latest for "".
func (s *azureScenario) wantValue(t *testing.T, version, want string) azsecrets.Secret {
	t.Helper()
	got, err := s.client.GetSecret(t.Context(), s.name, version, nil)
	if err != nil {
		t.Fatal(err)
	}
	if *got.Value != want || got.ID.Name() != s.name || version != "" && got.ID.Version() != version {
		t.Errorf("version %q of %s is %q in %s", version, s.name, *got.Value, *got.ID)
	}
	return got.Secret
}

// wantProperties checks what a secret says of itself.
func wantProperties(t *testing.T, got azsecrets.Secret, contentType, team string) {
	t.Helper()
	if *got.ContentType != contentType || len(got.Tags) != 1 || *got.Tags["team"] != team {
		t.Errorf("content type %q, tags %v", *got.ContentType, got.Tags)
	}
}

// refused checks an error's status and code.
func refused(t *testing.T, what, want string, err error) {
	t.Helper()
	if got := azureCode(err); got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func (s *azureScenario) set(t *testing.T) {
	s.first = s.put(t, s.name, azsecrets.SetSecretParameters{
		Value: new(azureValue), ContentType: new("text/plain"), Tags: map[string]*string{"team": new("pay")},
	})
	s.second = s.put(t, s.name, azsecrets.SetSecretParameters{Value: new("two")})
	if s.first == s.second {
		t.Error("one version for two values")
	}
}

func (s *azureScenario) get(t *testing.T) {
	got := s.wantValue(t, "", "two")
	if got.ID.Version() != s.second || !*got.Attributes.Enabled || *got.Attributes.RecoverableDays != 90 {
		t.Errorf("got %s, %+v", *got.ID, got.Attributes)
	}
}

func (s *azureScenario) getVersion(t *testing.T) {
	wantProperties(t, s.wantValue(t, s.first, azureValue), "text/plain", "pay")
}

func (s *azureScenario) update(t *testing.T) {
	_, err := s.client.UpdateSecretProperties(t.Context(), s.name, s.first, azsecrets.UpdateSecretPropertiesParameters{
		ContentType: new("text/html"), Tags: map[string]*string{"team": new("ops")},
		SecretAttributes: &azsecrets.SecretAttributes{Expires: &azureExpiry},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := s.wantValue(t, s.first, azureValue)
	wantProperties(t, got, "text/html", "ops")
	if !got.Attributes.Expires.Equal(azureExpiry) {
		t.Errorf("it expires at %v", got.Attributes.Expires)
	}
}

func (s *azureScenario) versions(t *testing.T) {
	var got []string
	for pager := s.client.NewListSecretPropertiesVersionsPager(s.name, nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Value {
			got = append(got, v.ID.Version())
		}
	}
	slices.Sort(got)
	want := slices.Sorted(slices.Values([]string{s.first, s.second}))
	if !slices.Equal(got, want) {
		t.Errorf("versions %v, want %v", got, want)
	}
}

func (s *azureScenario) list(t *testing.T) {
	missing := map[string]bool{}
	for i := range 30 {
		name := fmt.Sprintf("%s-many-%d", s.prefix, i)
		s.put(t, name, azsecrets.SetSecretParameters{Value: new("v")})
		missing[name] = true
	}
	pages := 0
	for pager := s.client.NewListSecretPropertiesPager(nil); pager.More(); pages++ {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Value {
			delete(missing, p.ID.Name())
			if p.ID.Version() != "" {
				t.Errorf("listed %s", *p.ID)
			}
		}
	}
	if len(missing) > 0 || pages < 2 {
		t.Errorf("%d pages, and these were not listed: %v", pages, slices.Sorted(maps.Keys(missing)))
	}
}

func (s *azureScenario) disabled(t *testing.T) {
	s.put(t, s.prefix+"-disabled", azsecrets.SetSecretParameters{
		Value: new("v"), SecretAttributes: &azsecrets.SecretAttributes{Enabled: new(false)},
	})
	_, err := s.client.GetSecret(t.Context(), s.prefix+"-disabled", "", nil)
	refused(t, "get", "403 Forbidden", err)
}

func (s *azureScenario) missing(t *testing.T) {
	_, err := s.client.GetSecret(t.Context(), s.prefix+"-missing", "", nil)
	refused(t, "get", "404 SecretNotFound", err)
}

func (s *azureScenario) oversize(t *testing.T) {
	_, err := s.client.SetSecret(t.Context(), s.prefix+"-big", azsecrets.SetSecretParameters{Value: new(strings.Repeat("x", 25_601))}, nil)
	refused(t, "set", "400 BadParameter", err)
}

func (s *azureScenario) badName(t *testing.T) {
	_, err := s.client.SetSecret(t.Context(), s.prefix+"_bad", azsecrets.SetSecretParameters{Value: new("v")}, nil)
	refused(t, "set", "400 BadParameter", err)
}

func (s *azureScenario) backup(t *testing.T) {
	got, err := s.client.BackupSecret(t.Context(), s.name, nil)
	if err != nil || len(got.Value) == 0 {
		t.Fatalf("backup: %v", err)
	}
	s.blob = got.Value
	_, err = s.client.RestoreSecret(t.Context(), azsecrets.RestoreSecretParameters{SecretBackup: s.blob}, nil)
	refused(t, "restore over a live name", "409 Conflict", err)
}

func (s *azureScenario) delete(t *testing.T) {
	got, err := s.client.DeleteSecret(t.Context(), s.name, nil)
	if err != nil || got.RecoveryID == nil || !got.DeletedDate.Before(*got.ScheduledPurgeDate) {
		t.Fatalf("delete: %v, %+v", err, got.DeletedSecret)
	}
	_, err = s.client.GetSecret(t.Context(), s.name, "", nil)
	refused(t, "get", "404 SecretNotFound", err)
	_, err = s.client.SetSecret(t.Context(), s.name, azsecrets.SetSecretParameters{Value: new("three")}, nil)
	refused(t, "set", "409 Conflict", err)
}

func (s *azureScenario) deletedGet(t *testing.T) {
	got, err := s.client.GetDeletedSecret(t.Context(), s.name, nil)
	if err != nil || got.ID.Name() != s.name || got.RecoveryID == nil || got.DeletedDate == nil || got.ScheduledPurgeDate == nil {
		t.Errorf("%v, %+v", err, got.DeletedSecret)
	}
}

func (s *azureScenario) deletedList(t *testing.T) {
	found := false
	for pager := s.client.NewListDeletedSecretPropertiesPager(nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Value {
			found = found || d.ID.Name() == s.name
		}
	}
	if !found {
		t.Error("not listed")
	}
}

func (s *azureScenario) recover(t *testing.T) {
	got, err := s.client.RecoverDeletedSecret(t.Context(), s.name, nil)
	if err != nil || got.ID.Name() != s.name {
		t.Fatal(err)
	}
	s.wantValue(t, "", "two")
}

func (s *azureScenario) purge(t *testing.T) {
	if _, err := s.client.DeleteSecret(t.Context(), s.name, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.PurgeDeletedSecret(t.Context(), s.name, nil); err != nil {
		t.Fatal(err)
	}
	_, err := s.client.GetDeletedSecret(t.Context(), s.name, nil)
	refused(t, "get deleted", "404 SecretNotFound", err)
}

func (s *azureScenario) restore(t *testing.T) {
	got, err := s.client.RestoreSecret(t.Context(), azsecrets.RestoreSecretParameters{SecretBackup: s.blob}, nil)
	if err != nil || got.ID.Name() != s.name {
		t.Fatal(err)
	}
	s.wantValue(t, s.first, azureValue)
	s.wantValue(t, "", "two")
}
