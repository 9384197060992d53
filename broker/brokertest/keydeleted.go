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

// savedKey is a key as it was before it went, with a signature of each version.
type savedKey struct {
	versions   []broker.Key // newest first
	signatures map[broker.Name][]byte
	policy     broker.RotationPolicy
}

// saveKey makes a key of several versions that differ in everything.
func (f keyFixture) saveKey(name broker.Name) savedKey {
	f.Helper()
	expires := time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)
	made := []broker.Key{
		f.create(name, ecKey()),
		f.create(name, broker.NewKey{Type: broker.KeyTypeEC, Enabled: true, Tags: map[string]string{"a": "", "B": "c"}}),
		f.create(name, broker.NewKey{Type: broker.KeyTypeEC, Ops: ecOps}),
		f.create(name, broker.NewKey{Type: broker.KeyTypeEC, Curve: broker.CurveP256, Enabled: true, Expires: expires, NotBefore: time.Unix(1, 0)}),
	}
	policy, err := f.store.UpdateRotationPolicy(f.Context(), name, broker.RotationPolicy{
		ExpiryTime: "P1Y", Actions: []broker.LifetimeAction{{Type: broker.RotationRotate, BeforeExpiry: "P60D"}},
	})
	if err != nil {
		f.Fatalf("UpdateRotationPolicy: %v", err)
	}
	s := savedKey{signatures: make(map[broker.Name][]byte), policy: policy}
	for i := range made {
		k := made[len(made)-1-i]
		s.versions = append(s.versions, k)
		if k.Enabled {
			s.signatures[k.Name] = f.sign(k.Name, "ES256", digestOf("ES256", "saved")).Value
		}
	}
	return s
}

// wantSaved checks that the key is again, or still, what was saved.
func (f keyFixture) wantSaved(name broker.Name, want savedKey) {
	f.Helper()
	got := f.versions(name)
	if len(got) != len(want.versions) {
		f.Fatalf("%d versions, want %d", len(got), len(want.versions))
	}
	for i, k := range want.versions {
		f.wantSame(fmt.Sprintf("version %d from the newest", i), f.get(k.Name), k)
		if got[i].Name != k.Name {
			f.Errorf("version %d from the newest is %v, want %v", i, got[i].Name, k.Name)
		}
		if k.Enabled && !f.verify(k.Name, "ES256", digestOf("ES256", "saved"), want.signatures[k.Name]) {
			f.Errorf("version %d from the newest does not know its own signature", i)
		}
		if k.Enabled {
			s := f.sign(k.Name, "ES256", digestOf("ES256", "again"))
			if !verifyWithLibrary(f.T, k.JWK, "ES256", digestOf("ES256", "again"), s.Value) {
				f.Errorf("version %d from the newest signs with another private key", i)
			}
		}
	}
	f.wantSame("the latest", f.get(name), want.versions[0])
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

func testRestoreKey(f keyFixture) {
	name := f.name("restore")
	saved := f.saveKey(name)
	blob := f.backup(name)
	f.create(name, ecKey()) // a version after the backup
	f.purge(name)
	restored, err := f.store.RestoreKey(f.Context(), f.vault, blob)
	if err != nil {
		f.Fatalf("RestoreKey: %v", err)
	}
	f.wantSame("RestoreKey", restored, saved.versions[0])
	f.wantSaved(name, saved)
	if _, ok := f.listed()[name]; !ok {
		f.Error("ListKeys does not show a restored key")
	}
	if next := f.create(name, ecKey()); f.get(name).Name != next.Name {
		f.Error("a version made after a restore is not the latest")
	}
}

func testRestoreKeyOver(f keyFixture) {
	name := f.name("over")
	f.create(name, ecKey())
	blob := f.backup(name)
	latest := f.create(name, ecKey())
	_, err := f.store.RestoreKey(f.Context(), f.vault, blob)
	f.wantCode("RestoreKey over a live key", err, broker.CodeKeyExists)
	f.delete(name)
	_, err = f.store.RestoreKey(f.Context(), f.vault, blob)
	f.wantCode("RestoreKey over a deleted key", err, broker.CodeKeySoftDeleted)
	if _, err = f.store.RecoverKey(f.Context(), name); err != nil {
		f.Fatalf("RecoverKey: %v", err)
	}
	f.wantSame("GetKey", f.get(name), latest)
	if got := f.versions(name); len(got) != 2 {
		f.Errorf("a refused restore left %d versions of 2", len(got))
	}
}

func testBadKeyBlobs(f keyFixture) {
	name := f.name("blobs")
	f.create(name, ecKey())
	text := f.backup(name).Reveal()
	f.purge(name)
	altered := []byte(text)
	if middle := len(text) / 2; altered[middle] == '7' {
		altered[middle] = '8'
	} else {
		altered[middle] = '7'
	}
	blobs := map[string]string{
		"empty":            "",
		"no backup":        "no backup",
		"altered":          string(altered),
		"cut":              text[:len(text)/2],
		"without its end":  text[:len(text)-1],
		"with more behind": text + "7777",
		"twice":            text + text,
	}
	for label, blob := range blobs {
		_, err := f.store.RestoreKey(f.Context(), f.vault, broker.NewValue(blob))
		f.wantBadField("RestoreKey of a blob that is "+label, err, "blob")
		_, err = f.store.GetKey(f.Context(), name)
		f.wantCode("GetKey after a refused restore", err, broker.CodeKeyNotFound)
	}
	if _, err := f.store.RestoreKey(f.Context(), f.vault, broker.NewValue(text)); err != nil {
		f.Errorf("RestoreKey of the blob itself: %v", err)
	}
}
