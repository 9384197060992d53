package brokertest

import (
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

// keyFixture is what a test of keys works with and on.
type keyFixture struct {
	*testing.T
	store  broker.KeyStore
	vault  broker.Name
	unique string
}

// in returns the fixture for a subtest.
func (f keyFixture) in(t *testing.T) keyFixture {
	t.Helper()
	f.T = t
	return f
}

// ecKey is the quickest key there is.
func ecKey() broker.NewKey { return broker.NewKey{Type: broker.KeyTypeEC, Enabled: true} }

func (f keyFixture) name(label string) broker.Name {
	f.Helper()
	n, err := f.vault.Object(broker.KindKeys, f.unique+"-"+label)
	if err != nil {
		f.Fatal(err)
	}
	return n
}

func (f keyFixture) create(name broker.Name, n broker.NewKey) broker.Key {
	f.Helper()
	k, err := f.store.CreateKey(f.Context(), name, n)
	if err != nil {
		f.Fatalf("CreateKey %v: %v", name, err)
	}
	return k
}

// imported imports a JWK with private parts, enabled and for everything.
func (f keyFixture) imported(label string, material string) broker.Key {
	f.Helper()
	k, err := f.store.ImportKey(f.Context(), f.name(label), broker.KeyImport{
		NewKey: broker.NewKey{Enabled: true}, Material: broker.NewValue(material),
	})
	if err != nil {
		f.Fatalf("ImportKey %s: %v", label, err)
	}
	return k
}

func (f keyFixture) get(name broker.Name) broker.Key {
	f.Helper()
	k, err := f.store.GetKey(f.Context(), name)
	if err != nil {
		f.Fatalf("GetKey %v: %v", name, err)
	}
	return k
}

func (f keyFixture) update(name broker.Name, u broker.KeyUpdate) broker.Key {
	f.Helper()
	k, err := f.store.UpdateKey(f.Context(), name, u)
	if err != nil {
		f.Fatalf("UpdateKey %v: %v", name, err)
	}
	return k
}

func (f keyFixture) rotate(name broker.Name) broker.Key {
	f.Helper()
	k, err := f.store.RotateKey(f.Context(), name)
	if err != nil {
		f.Fatalf("RotateKey %v: %v", name, err)
	}
	return k
}

func (f keyFixture) delete(name broker.Name) broker.DeletedKey {
	f.Helper()
	d, err := f.store.DeleteKey(f.Context(), name)
	if err != nil {
		f.Fatalf("DeleteKey %v: %v", name, err)
	}
	return d
}

func (f keyFixture) purge(name broker.Name) {
	f.Helper()
	f.delete(name)
	if err := f.store.PurgeKey(f.Context(), name); err != nil {
		f.Fatalf("PurgeKey %v: %v", name, err)
	}
}

func (f keyFixture) backup(name broker.Name) broker.Value {
	f.Helper()
	blob, err := f.store.BackupKey(f.Context(), name)
	if err != nil {
		f.Fatalf("BackupKey %v: %v", name, err)
	}
	if blob.Len() == 0 || blob.Len() > broker.MaxBackupLen {
		f.Fatalf("BackupKey %v: %d bytes, want 1 to %d", name, blob.Len(), broker.MaxBackupLen)
	}
	return blob
}

func (f keyFixture) versions(name broker.Name) []broker.Key {
	f.Helper()
	all, err := f.store.ListKeyVersions(f.Context(), name)
	if err != nil {
		f.Fatalf("ListKeyVersions %v: %v", name, err)
	}
	return all
}

func (f keyFixture) list(size, most int) iter.Seq[broker.Key] {
	f.Helper()
	return pages(f.T, "ListKeys", size, most, func(p broker.Page) ([]broker.Key, string, error) {
		page, err := f.store.ListKeys(f.Context(), f.vault, p)
		return page.Keys, page.Next, err
	})
}

func (f keyFixture) listDeleted(size, most int) iter.Seq[broker.DeletedKey] {
	f.Helper()
	return pages(f.T, "ListDeletedKeys", size, most, func(p broker.Page) ([]broker.DeletedKey, string, error) {
		page, err := f.store.ListDeletedKeys(f.Context(), f.vault, p)
		return page.Keys, page.Next, err
	})
}

func (f keyFixture) listed() map[broker.Name]broker.Key {
	f.Helper()
	all := make(map[broker.Name]broker.Key)
	for k := range f.list(0, broker.MaxStorePage) {
		all[k.Name] = k
	}
	return all
}

func (f keyFixture) sign(name broker.Name, alg broker.Algorithm, digest []byte) broker.Signature {
	f.Helper()
	s, err := f.store.Sign(f.Context(), name, alg, digest)
	if err != nil {
		f.Fatalf("Sign %v with %s: %v", name, alg, err)
	}
	return s
}

func (f keyFixture) verify(name broker.Name, alg broker.Algorithm, digest, signature []byte) bool {
	f.Helper()
	v, err := f.store.Verify(f.Context(), name, alg, digest, signature)
	if err != nil {
		f.Fatalf("Verify %v with %s: %v", name, alg, err)
	}
	return v.Valid
}

func (f keyFixture) wantCode(what string, err error, want broker.Code) {
	f.Helper()
	if got := broker.CodeOf(err); got != want {
		f.Errorf("%s: %q (%v), want %q", what, got, err, want)
	}
}

// wantBadField checks that a field was refused; which, if want is not "".
func (f keyFixture) wantBadField(what string, err error, want string) {
	f.Helper()
	f.wantCode(what, err, broker.CodeBadField)
	if got := broker.AsError(err); want != "" && got != nil && got.Field != want {
		f.Errorf("%s: the field at fault is %q, want %q", what, got.Field, want)
	}
}

// sameKey reports whether two answers show one public half.
func sameKey(a, b broker.JWK) bool {
	return a.Type == b.Type && a.Curve == b.Curve &&
		slices.Equal(a.N, b.N) && slices.Equal(a.E, b.E) && slices.Equal(a.X, b.X) && slices.Equal(a.Y, b.Y)
}

// wantSame checks that two answers tell the same of a version.
func (f keyFixture) wantSame(what string, got, want broker.Key) {
	f.Helper()
	if got.Name != want.Name || !got.Created.Equal(want.Created) || !got.Updated.Equal(want.Updated) || got.ETag() != want.ETag() {
		f.Errorf("%s: %v, created %v, updated %v; want %v, %v, %v",
			what, got.Name, got.Created, got.Updated, want.Name, want.Created, want.Updated)
	}
	if !sameKey(got.JWK, want.JWK) {
		f.Errorf("%s: another public half", what)
	}
	f.wantAttributes(what, got, broker.NewKey{
		Ops: want.Ops, Tags: want.Tags, Enabled: want.Enabled, NotBefore: want.NotBefore, Expires: want.Expires,
	})
}

// wantAttributes checks what the vault keeps of n beside the key, and what it
// adds. The operations have no order.
func (f keyFixture) wantAttributes(what string, got broker.Key, n broker.NewKey) {
	f.Helper()
	if g, w := slices.Sorted(slices.Values(got.Ops)), slices.Sorted(slices.Values(n.Ops)); !slices.Equal(g, w) {
		f.Errorf("%s: operations %v, want %v", what, g, w)
	}
	f.wantItem(what, got, n)
}

// wantItem is wantAttributes of what lists have.
func (f keyFixture) wantItem(what string, got broker.Key, n broker.NewKey) {
	f.Helper()
	if !maps.Equal(got.Tags, n.Tags) {
		f.Errorf("%s: tags %v, want %v", what, got.Tags, n.Tags)
	}
	if got.Enabled != n.Enabled {
		f.Errorf("%s: enabled %v, want %v", what, got.Enabled, n.Enabled)
	}
	if want := n.NotBefore.Truncate(time.Second); !got.NotBefore.Equal(want) {
		f.Errorf("%s: not before %v, want %v", what, got.NotBefore, want)
	}
	if want := n.Expires.Truncate(time.Second); !got.Expires.Equal(want) {
		f.Errorf("%s: expires %v, want %v", what, got.Expires, want)
	}
	if got.Created.IsZero() || !got.Created.Equal(got.Created.Truncate(time.Second)) {
		f.Errorf("%s: created at %v, want a whole second", what, got.Created)
	}
	if got.Updated.Before(got.Created) || !got.Updated.Equal(got.Updated.Truncate(time.Second)) {
		f.Errorf("%s: updated at %v, created at %v; want whole seconds in order", what, got.Updated, got.Created)
	}
	if got.RecoveryLevel == "" || got.RecoverableDays < 7 || got.RecoverableDays > 90 {
		f.Errorf("%s: recovery level %q, %d days; want a level and 7 to 90 days", what, got.RecoveryLevel, got.RecoverableDays)
	}
	if got.Managed {
		f.Errorf("%s: a key that no certificate made is managed", what)
	}
}
