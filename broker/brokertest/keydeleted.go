package brokertest

import (
	"fmt"
	"time"

	"github.com/keyward/keyward/broker"
)

func testDeleteKey(f keyFixture) {
	ctx, name, kept := f.Context(), f.name("deleted"), f.name("deleted-not")
	f.create(kept, ecKey())
	first := f.create(name, ecKey())
	last := f.create(name, broker.NewKey{Type: broker.KeyTypeEC, Enabled: true, Tags: map[string]string{"a": "b"}})
	deleted := f.delete(name)
	f.wantDeleted("DeleteKey", deleted, last)

	_, err := f.store.GetKey(ctx, name)
	f.wantCode("GetKey", err, broker.CodeKeyNotFound)
	_, err = f.store.GetKey(ctx, first.Name)
	f.wantCode("GetKey of a version", err, broker.CodeKeyNotFound)
	_, err = f.store.Sign(ctx, name, "ES256", make([]byte, 32))
	f.wantCode("Sign", err, broker.CodeKeyNotFound)
	_, err = f.store.UpdateKey(ctx, name, broker.KeyUpdate{Enabled: new(false)})
	f.wantCode("UpdateKey", err, broker.CodeKeyNotFound)
	_, err = f.store.RotateKey(ctx, name)
	f.wantCode("RotateKey", err, broker.CodeKeyNotFound)
	_, err = f.store.BackupKey(ctx, name)
	f.wantCode("BackupKey", err, broker.CodeKeyNotFound)
	_, err = f.store.ListKeyVersions(ctx, name)
	f.wantCode("ListKeyVersions", err, broker.CodeKeyNotFound)
	_, err = f.store.DeleteKey(ctx, name)
	f.wantCode("DeleteKey, again", err, broker.CodeKeyNotFound)
	for range 2 {
		_, err = f.store.CreateKey(ctx, name, ecKey())
		f.wantCode("CreateKey over a deleted one", err, broker.CodeKeySoftDeleted)
		_, err = f.store.ImportKey(ctx, name, broker.KeyImport{NewKey: ecKey(), Material: broker.NewValue(libraryEC(broker.CurveP256).material())})
		f.wantCode("ImportKey over a deleted one", err, broker.CodeKeySoftDeleted)
	}
	listed := f.listed()
	if _, ok := listed[name]; ok {
		f.Error("ListKeys shows a deleted key")
	}
	if _, ok := listed[kept]; !ok {
		f.Error("ListKeys lost the key beside the deleted one")
	}
	f.sign(kept, "ES256", make([]byte, 32))
}

func (f keyFixture) wantDeleted(what string, d broker.DeletedKey, latest broker.Key) {
	f.Helper()
	if d.Name != latest.Name.Base() || !sameKey(d.JWK, latest.JWK) {
		f.Errorf("%s: %v, or another public half; want %v", what, d.Name, latest.Name.Base())
	}
	f.wantAttributes(what, d.Key, broker.NewKey{
		Ops: latest.Ops, Tags: latest.Tags, Enabled: latest.Enabled, NotBefore: latest.NotBefore, Expires: latest.Expires,
	})
	if d.Deleted.IsZero() || !d.Deleted.Equal(d.Deleted.Truncate(time.Second)) || !d.Purges.After(d.Deleted) {
		f.Errorf("%s: deleted at %v, purged at %v; want whole seconds in order", what, d.Deleted, d.Purges)
	}
}

func testDeletedKeyShown(f keyFixture) {
	name := f.name("shown")
	f.create(name, ecKey())
	last := f.create(name, broker.NewKey{Type: broker.KeyTypeEC, Tags: map[string]string{"a": "b"}, Expires: time.Unix(2_000_000_000, 0)})
	deleted := f.delete(name)
	got, err := f.store.GetDeletedKey(f.Context(), name)
	if err != nil {
		f.Fatalf("GetDeletedKey: %v", err)
	}
	f.wantDeleted("GetDeletedKey", got, last)
	listed := false
	for d := range f.listDeleted(0, broker.MaxStorePage) {
		if d.Name != name {
			continue
		}
		listed = true
		if !d.Deleted.Equal(deleted.Deleted) || !d.Purges.Equal(deleted.Purges) || d.Enabled || d.Tags["a"] != "b" {
			f.Errorf("ListDeletedKeys: %v, %v, enabled %v, tags %v", d.Deleted, d.Purges, d.Enabled, d.Tags)
		}
	}
	if !listed {
		f.Error("ListDeletedKeys does not show it")
	}
	if !got.Deleted.Equal(deleted.Deleted) || !got.Purges.Equal(deleted.Purges) {
		f.Errorf("GetDeletedKey: %v, %v; DeleteKey said %v, %v", got.Deleted, got.Purges, deleted.Deleted, deleted.Purges)
	}
}

func testListDeletedKeys(f keyFixture) {
	want := make(map[broker.Name]bool)
	for i := range 28 {
		name := f.name(fmt.Sprintf("gone-%02d", i))
		f.create(name, ecKey())
		f.delete(name)
		want[name] = true
		if i%4 == 0 { // among them some that live
			f.create(f.name(fmt.Sprintf("gone-%02d-not", i)), ecKey())
		}
	}
	for _, size := range []int{0, 7} {
		most := size
		if most == 0 {
			most = broker.MaxStorePage
		}
		seen := make(map[broker.Name]bool)
		for d := range f.listDeleted(size, most) {
			if seen[d.Name] || d.Name.Version() != "" || d.Name.Kind() != broker.KindKeys {
				f.Errorf("%v is listed twice, or is no name of a key without a version", d.Name)
			}
			seen[d.Name] = true
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
	}
}

func testRecoverKey(f keyFixture) {
	name := f.name("recover")
	saved := f.saveKey(name)
	f.delete(name)
	recovered, err := f.store.RecoverKey(f.Context(), name)
	if err != nil {
		f.Fatalf("RecoverKey: %v", err)
	}
	f.wantSame("RecoverKey", recovered, saved.versions[0])
	f.wantSaved(name, saved)
	if p, err := f.store.GetRotationPolicy(f.Context(), name); err != nil || p.ExpiryTime != saved.policy.ExpiryTime {
		f.Errorf("the rotation policy of a recovered key: %v, %v", p, err)
	}
	_, err = f.store.GetDeletedKey(f.Context(), name)
	f.wantCode("GetDeletedKey of a recovered one", err, broker.CodeKeyNotFound)
	_, err = f.store.RecoverKey(f.Context(), name)
	f.wantCode("RecoverKey, again", err, broker.CodeKeyNotFound)
	if next := f.create(name, ecKey()); f.get(name).Name != next.Name {
		f.Error("a version made after a recovery is not the latest")
	}
}

func testPurgeKey(f keyFixture) {
	ctx, name := f.Context(), f.name("purge")
	old := f.saveKey(name)
	f.purge(name)
	_, err := f.store.GetDeletedKey(ctx, name)
	f.wantCode("GetDeletedKey of a purged one", err, broker.CodeKeyNotFound)
	_, err = f.store.RecoverKey(ctx, name)
	f.wantCode("RecoverKey of a purged one", err, broker.CodeKeyNotFound)
	f.wantCode("PurgeKey, again", f.store.PurgeKey(ctx, name), broker.CodeKeyNotFound)
	anew := f.create(name, ecKey())
	if got := f.versions(name); len(got) != 1 || got[0].Name != anew.Name {
		f.Errorf("%d versions over a purged key, want the new one only", len(got))
	}
	for _, k := range old.versions {
		_, err := f.store.GetKey(ctx, k.Name)
		f.wantCode("GetKey of a purged version", err, broker.CodeKeyNotFound)
	}
	if p, err := f.store.GetRotationPolicy(ctx, name); err != nil || p.ExpiryTime != "" {
		f.Errorf("a key made over a purged one has its rotation policy: %v, %v", p, err)
	}
}

func testKeyNotDeleted(f keyFixture) {
	live := f.name("live")
	made := f.create(live, ecKey())
	for _, name := range []broker.Name{live, f.name("never")} {
		_, err := f.store.GetDeletedKey(f.Context(), name)
		f.wantCode(fmt.Sprint("GetDeletedKey ", name), err, broker.CodeKeyNotFound)
		_, err = f.store.RecoverKey(f.Context(), name)
		f.wantCode(fmt.Sprint("RecoverKey ", name), err, broker.CodeKeyNotFound)
		f.wantCode(fmt.Sprint("PurgeKey ", name), f.store.PurgeKey(f.Context(), name), broker.CodeKeyNotFound)
	}
	for d := range f.listDeleted(0, broker.MaxStorePage) {
		if d.Name == live {
			f.Error("ListDeletedKeys shows a live key")
		}
	}
	f.wantSame("GetKey", f.get(live), made)
}
