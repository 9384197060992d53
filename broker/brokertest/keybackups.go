package brokertest

import (
	"fmt"
	"time"

	"github.com/keyward/keyward/broker"
)

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

// testBlobOfAnotherKey checks that a blob restores its own key and no other.
func testBlobOfAnotherKey(f keyFixture) {
	one, two := f.name("blob-one"), f.name("blob-two")
	first := f.create(one, ecKey())
	f.create(two, ecKey())
	blob := f.backup(one)
	f.purge(one)
	f.purge(two)
	restored, err := f.store.RestoreKey(f.Context(), f.vault, blob)
	if err != nil {
		f.Fatalf("RestoreKey: %v", err)
	}
	f.wantSame("RestoreKey", restored, first)
	_, err = f.store.GetKey(f.Context(), two)
	f.wantCode("GetKey of the other", err, broker.CodeKeyNotFound)
}
