package main

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// The last steps of the scenario of keys: backups, and what is deleted.

func (s *azureKeys) backup(t *testing.T) {
	got, err := s.client.BackupKey(t.Context(), s.name, nil)
	if err != nil || len(got.Value) == 0 {
		t.Fatalf("backup: %v", err)
	}
	s.blob = got.Value
	_, err = s.client.RestoreKey(t.Context(), azkeys.RestoreKeyParameters{KeyBackup: s.blob}, nil)
	refused(t, "restore over a live name", "409 Conflict", err)
	_, err = s.client.RestoreKey(t.Context(), azkeys.RestoreKeyParameters{KeyBackup: []byte("no backup")}, nil)
	code := "400 Malformed backup blob"
	if s.hsm {
		code = "400 MalformedBackupBlob"
	}
	refused(t, "restore of nothing", code, err)
}

func (s *azureKeys) delete(t *testing.T) {
	got, err := s.client.DeleteKey(t.Context(), s.name, nil)
	if err != nil || got.RecoveryID == nil || !got.DeletedDate.Before(*got.ScheduledPurgeDate) || got.Key.KID.Version() == "" {
		t.Fatalf("delete: %v, %+v", err, got.DeletedKey)
	}
	_, err = s.client.GetKey(t.Context(), s.name, "", nil)
	refused(t, "get", "404 KeyNotFound", err)
	_, err = s.client.CreateKey(t.Context(), s.name, azkeys.CreateKeyParameters{Kty: s.typed(azkeys.KeyTypeEC)}, nil)
	refused(t, "create", "409 Conflict", err)
}

func (s *azureKeys) deletedGet(t *testing.T) {
	got, err := s.client.GetDeletedKey(t.Context(), s.name, nil)
	if err != nil || got.Key.KID.Name() != s.name || got.RecoveryID == nil || got.DeletedDate == nil || got.ScheduledPurgeDate == nil {
		t.Errorf("%v, %+v", err, got.DeletedKey)
	}
}

func (s *azureKeys) deletedList(t *testing.T) {
	gone := map[string]bool{s.name: true}
	for i := range 30 {
		name := fmt.Sprint("go-many-", i)
		if _, err := s.client.DeleteKey(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
		gone[name] = true
	}
	pages := 0
	for pager := s.client.NewListDeletedKeyPropertiesPager(nil); pager.More(); pages++ {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Value {
			delete(gone, d.KID.Name())
		}
	}
	if len(gone) > 0 || pages < 2 {
		t.Errorf("%d pages, and these were not listed: %v", pages, slices.Sorted(maps.Keys(gone)))
	}
}

func (s *azureKeys) recover(t *testing.T) {
	got, err := s.client.RecoverDeletedKey(t.Context(), s.name, nil)
	if err != nil || got.Key.KID.Name() != s.name {
		t.Fatal(err)
	}
	s.wantVersion(t, "", s.second)
}

func (s *azureKeys) purge(t *testing.T) {
	if _, err := s.client.DeleteKey(t.Context(), s.name, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.PurgeDeletedKey(t.Context(), s.name, nil); err != nil {
		t.Fatal(err)
	}
	_, err := s.client.GetDeletedKey(t.Context(), s.name, nil)
	refused(t, "get deleted", "404 KeyNotFound", err)
}

func (s *azureKeys) restore(t *testing.T) {
	got, err := s.client.RestoreKey(t.Context(), azkeys.RestoreKeyParameters{KeyBackup: s.blob}, nil)
	if err != nil || got.Key.KID.Name() != s.name {
		t.Fatal(err)
	}
	s.wantVersion(t, s.first.Key.KID.Version(), s.first)
	s.wantVersion(t, "", s.second)
	refused(t, "sign with what was restored", "<nil>", s.sign(t, s.name, "", azkeys.SignatureAlgorithmES256, make([]byte, 32)))
}
