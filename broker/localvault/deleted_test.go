package localvault_test

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

func deleteSecret(t *testing.T, v *localvault.Vault, object string) broker.DeletedSecret {
	t.Helper()
	d, err := v.Secrets().DeleteSecret(t.Context(), secretName(t, object))
	must(t, err)
	return d
}

func listsDeleted(t *testing.T, v *localvault.Vault, object string) bool {
	t.Helper()
	page, err := v.Secrets().ListDeletedSecrets(t.Context(), vaultName(t), broker.Page{})
	must(t, err)
	for _, d := range page.Secrets {
		if d.Name == secretName(t, object) {
			return true
		}
	}
	return false
}

// What is past its retention is gone, whether or not its rows still are there.
func TestExpiredSecretsAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t.TempDir())
		c.RetentionDays = 7
		v := open(t, c)
		store, name := v.Secrets(), secretName(t, "a")
		set(t, v, "a", "old")
		blob, err := store.BackupSecret(t.Context(), name)
		must(t, err)
		want := deleteSecret(t, v, "a")

		time.Sleep(7*24*time.Hour - time.Second)
		got, err := store.GetDeletedSecret(t.Context(), name)
		must(t, err)
		if got.Name != name || !got.Deleted.Equal(want.Deleted) || !got.Purges.Equal(want.Purges) {
			t.Errorf("a second before the purge: %v, %v, %v; want %v, %v, %v",
				got.Name, got.Deleted, got.Purges, want.Name, want.Deleted, want.Purges)
		}
		if !listsDeleted(t, v, "a") {
			t.Error("not listed a second before the purge")
		}
		_, err = store.RestoreSecret(t.Context(), vaultName(t), blob)
		wantCode(t, "RestoreSecret a second before the purge", err, broker.CodeSecretSoftDeleted)

		time.Sleep(time.Second)
		_, err = store.GetDeletedSecret(t.Context(), name)
		wantCode(t, "GetDeletedSecret", err, broker.CodeSecretNotFound)
		if listsDeleted(t, v, "a") {
			t.Error("listed after the purge")
		}
		_, err = store.RecoverSecret(t.Context(), name)
		wantCode(t, "RecoverSecret", err, broker.CodeSecretNotFound)
		wantCode(t, "PurgeSecret", store.PurgeSecret(t.Context(), name), broker.CodeSecretNotFound)
		_, err = store.RestoreSecret(t.Context(), vaultName(t), blob)
		must(t, err)
		wantValue(t, v, name, "old")
		must(t, v.Close())
	})
}

func TestRecoverAfterReopening(t *testing.T) {
	c := config(t.TempDir())
	v := open(t, c)
	first, second := set(t, v, "a", "1"), set(t, v, "a", "2")
	deleteSecret(t, v, "a")
	must(t, v.Close())

	v = open(t, c)
	if !listsDeleted(t, v, "a") {
		t.Error("a deleted secret is not listed after reopening")
	}
	_, err := v.Secrets().RecoverSecret(t.Context(), secretName(t, "a"))
	must(t, err)
	must(t, v.Close())

	v = open(t, c)
	wantValue(t, v, first.Name, "1")
	wantValue(t, v, second.Name, "2")
	wantValue(t, v, secretName(t, "a"), "2")
}

func TestPurgeLeavesNoRow(t *testing.T) {
	c := config(t.TempDir())
	v := open(t, c)
	for _, object := range []string{"a", "a-b", "b"} {
		set(t, v, object, "1")
		set(t, v, object, "2")
		deleteSecret(t, v, object)
	}
	must(t, v.Secrets().PurgeSecret(t.Context(), secretName(t, "a")))
	must(t, v.Close())
	if got, want := rows(t, c), map[string]int{"a-b": 5, "b": 5}; !maps.Equal(got, want) {
		t.Errorf("rows by secret: %v, want %v", got, want)
	}
}

// An update has a time of its own, and survives.
func TestUpdateAfterReopening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t.TempDir())
		v := open(t, c)
		made := set(t, v, "a", "kept")
		time.Sleep(90 * time.Minute)
		updated, err := v.Secrets().UpdateSecret(t.Context(), made.Name, broker.SecretUpdate{Tags: &map[string]string{"k": "v"}})
		must(t, err)
		if !updated.Created.Equal(made.Created) || !updated.Updated.Equal(made.Updated.Add(90*time.Minute)) {
			t.Errorf("created %v, updated %v; was %v, %v", updated.Created, updated.Updated, made.Created, made.Updated)
		}
		if updated.ETag() == made.ETag() {
			t.Error("the etag is that of before the update")
		}
		must(t, v.Close())

		v = open(t, c)
		got, err := v.Secrets().GetSecret(t.Context(), made.Name)
		must(t, err)
		if got.Value.Reveal() != "kept" || got.Tags["k"] != "v" || got.ETag() != updated.ETag() {
			t.Errorf("after reopening: tags %v, updated %v", got.Tags, got.Updated)
		}
		must(t, v.Close())
	})
}
