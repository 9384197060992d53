package brokertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

func testDelete(f fixture) {
	ctx, name, kept := f.Context(), f.name("deleted"), f.name("deleted-not")
	f.set(kept, plain("kept"))
	first := f.set(name, plain("1"))
	last := broker.NewSecret{Value: broker.NewValue("2"), Enabled: true, ContentType: "text/plain", Tags: map[string]string{"a": "b"}}
	f.set(name, last)

	deleted := f.delete(name)
	if deleted.Name != name {
		f.Errorf("DeleteSecret named %v, want %v", deleted.Name, name)
	}
	f.wantAttributes("DeleteSecret", deleted.Secret, last)
	f.wantDeletionTimes("DeleteSecret", deleted)

	_, err := f.store.GetSecret(ctx, name)
	f.wantCode("GetSecret", err, broker.CodeSecretNotFound)
	_, err = f.store.GetSecret(ctx, first.Name)
	f.wantCode("GetSecret of a version", err, broker.CodeSecretNotFound)
	_, err = f.store.UpdateSecret(ctx, name, broker.SecretUpdate{ContentType: new("late")})
	f.wantCode("UpdateSecret", err, broker.CodeSecretNotFound)
	_, err = f.store.BackupSecret(ctx, name)
	f.wantCode("BackupSecret", err, broker.CodeSecretNotFound)
	_, err = f.store.ListSecretVersions(ctx, name)
	f.wantCode("ListSecretVersions", err, broker.CodeSecretNotFound)
	_, err = f.store.DeleteSecret(ctx, name)
	f.wantCode("DeleteSecret, again", err, broker.CodeSecretNotFound)
	listed := f.listed()
	if _, ok := listed[name]; ok {
		f.Error("ListSecrets shows a deleted secret")
	}
	if _, ok := listed[kept]; !ok {
		f.Error("ListSecrets lost the secret beside the deleted one")
	}
	if got := f.get(kept); got.Value.Reveal() != "kept" {
		f.Error("the secret beside the deleted one changed")
	}
}

func testSetAfterDelete(f fixture) {
	ctx, name := f.Context(), f.name("in-the-way")
	f.set(name, plain("1"))
	f.delete(name)
	for range 2 {
		_, err := f.store.SetSecret(ctx, name, plain("2"))
		f.wantCode("SetSecret", err, broker.CodeSecretSoftDeleted)
	}
	_, err := f.store.GetSecret(ctx, name)
	f.wantCode("GetSecret", err, broker.CodeSecretNotFound)
}

func testDeletedShown(f fixture) {
	name := f.name("shown")
	f.set(name, plain("1"))
	last := broker.NewSecret{
		Value: broker.NewValue("2"), Enabled: true, ContentType: "text/plain",
		Tags: map[string]string{"a": "b"}, Expires: time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	f.set(name, last)
	deleted := f.delete(name)

	got, err := f.store.GetDeletedSecret(f.Context(), name)
	if err != nil {
		f.Fatalf("GetDeletedSecret: %v", err)
	}
	if got.Name != name {
		f.Errorf("GetDeletedSecret named %v, want %v", got.Name, name)
	}
	f.wantAttributes("GetDeletedSecret", got.Secret, last)
	listed := false
	for d := range f.listDeleted(0, broker.MaxStorePage) {
		if d.Name == name {
			listed = true
			f.wantAttributes("ListDeletedSecrets", d.Secret, last)
			f.wantSameDeletion("ListDeletedSecrets", d, deleted)
		}
	}
	if !listed {
		f.Errorf("%v is not listed as deleted", name)
	}
	f.wantSameDeletion("GetDeletedSecret", got, deleted)
}

func testListDeletedPages(f fixture) {
	want := make(map[broker.Name]bool)
	for i := range 31 {
		name := f.name(fmt.Sprintf("gone-%02d", i))
		f.set(name, plain("v"))
		f.delete(name)
		want[name] = true
		// Between any two there is one that lives.
		f.set(f.name(fmt.Sprintf("gone-%02d-not", i)), plain("v"))
	}
	for _, size := range []int{0, 1, 7, broker.MaxStorePage, 1000} {
		f.Run(fmt.Sprint("size ", size), func(t *testing.T) {
			f := f.in(t)
			most := size
			if most == 0 || most > broker.MaxStorePage {
				most = broker.MaxStorePage
			}
			seen := make(map[broker.Name]bool)
			for d := range f.listDeleted(size, most) {
				if d.Name.Version() != "" || d.Name.Kind() != broker.KindSecrets {
					f.Errorf("%v is no name of a secret without a version", d.Name)
				}
				if seen[d.Name] {
					f.Errorf("%v is listed twice", d.Name)
				}
				seen[d.Name] = true
				f.wantDeletionTimes("ListDeletedSecrets", d)
			}
			for name := range want {
				if !seen[name] {
					f.Errorf("%v is not listed", name)
				}
			}
			for name := range f.listed() {
				if seen[name] {
					f.Errorf("%v is listed as deleted and as not", name)
				}
			}
		})
	}
}

func testRecover(f fixture) {
	name := f.name("recover")
	saved := f.saveVersions(name)
	f.delete(name)
	recovered, err := f.store.RecoverSecret(f.Context(), name)
	if err != nil {
		f.Fatalf("RecoverSecret: %v", err)
	}
	f.wantSame("RecoverSecret", recovered, saved.versions[0])
	f.wantVersions(name, saved)
	if _, ok := f.listed()[name]; !ok {
		f.Error("ListSecrets does not show a recovered secret")
	}
	_, err = f.store.GetDeletedSecret(f.Context(), name)
	f.wantCode("GetDeletedSecret of a recovered one", err, broker.CodeSecretNotFound)
	_, err = f.store.RecoverSecret(f.Context(), name)
	f.wantCode("RecoverSecret, again", err, broker.CodeSecretNotFound)
	f.wantNextVersion(name, saved)
}

func testPurge(f fixture) {
	ctx, name, kept := f.Context(), f.name("purge"), f.name("purge-not")
	f.set(kept, plain("kept"))
	f.delete(kept)
	old := f.saveVersions(name)
	f.purge(name)

	_, err := f.store.GetDeletedSecret(ctx, name)
	f.wantCode("GetDeletedSecret of a purged one", err, broker.CodeSecretNotFound)
	_, err = f.store.RecoverSecret(ctx, name)
	f.wantCode("RecoverSecret of a purged one", err, broker.CodeSecretNotFound)
	f.wantCode("PurgeSecret, again", f.store.PurgeSecret(ctx, name), broker.CodeSecretNotFound)
	beside := false
	for d := range f.listDeleted(0, broker.MaxStorePage) {
		if d.Name == name {
			f.Error("ListDeletedSecrets shows a purged secret")
		}
		beside = beside || d.Name == kept
	}
	if !beside {
		f.Error("ListDeletedSecrets lost the secret beside the purged one")
	}

	anew := f.set(name, plain("anew"))
	if got := f.get(name); got.Value.Reveal() != "anew" || got.ContentType != "" || len(got.Tags) != 0 {
		f.Error("a secret that was set over a purged one is not as it was set")
	}
	if got := f.versions(name); len(got) != 1 || got[0].Name != anew.Name {
		f.Errorf("%d versions over a purged secret, want the new one only", len(got))
	}
	for _, s := range old.versions {
		_, err := f.store.GetSecret(ctx, s.Name)
		f.wantCode("GetSecret of a purged version", err, broker.CodeSecretNotFound)
	}
	if _, err := f.store.RecoverSecret(ctx, kept); err != nil {
		f.Errorf("RecoverSecret beside a purged one: %v", err)
	}
}

// testNotDeleted asks of a live secret, and of none, what is for deleted ones.
func testNotDeleted(f fixture) {
	live := f.name("live")
	f.set(live, plain("kept"))
	for _, name := range []broker.Name{live, f.name("never")} {
		_, err := f.store.GetDeletedSecret(f.Context(), name)
		f.wantCode(fmt.Sprint("GetDeletedSecret ", name), err, broker.CodeSecretNotFound)
		_, err = f.store.RecoverSecret(f.Context(), name)
		f.wantCode(fmt.Sprint("RecoverSecret ", name), err, broker.CodeSecretNotFound)
		err = f.store.PurgeSecret(f.Context(), name)
		f.wantCode(fmt.Sprint("PurgeSecret ", name), err, broker.CodeSecretNotFound)
	}
	for d := range f.listDeleted(0, broker.MaxStorePage) {
		if d.Name == live {
			f.Error("ListDeletedSecrets shows a live secret")
		}
	}
	if got := f.get(live); got.Value.Reveal() != "kept" {
		f.Error("a refused purge changed the secret")
	}
}

func (f fixture) wantDeletionTimes(what string, d broker.DeletedSecret) {
	f.Helper()
	if d.Deleted.IsZero() || !d.Deleted.Equal(d.Deleted.Truncate(time.Second)) {
		f.Errorf("%s: deleted at %v; want a whole second", what, d.Deleted)
	}
	if !d.Purges.After(d.Deleted) {
		f.Errorf("%s: purged at %v, deleted at %v", what, d.Purges, d.Deleted)
	}
}

func (f fixture) wantSameDeletion(what string, got, want broker.DeletedSecret) {
	f.Helper()
	if !got.Deleted.Equal(want.Deleted) || !got.Purges.Equal(want.Purges) {
		f.Errorf("%s: deleted at %v, purged at %v; DeleteSecret said %v, %v", what, got.Deleted, got.Purges, want.Deleted, want.Purges)
	}
}
