package brokertest

import (
	"crypto/rand"
	"iter"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

// fixture is what a test of the suite works with and on.
type fixture struct {
	*testing.T
	store  broker.SecretStore
	vault  broker.Name
	unique string
}

// uniqueText keeps the names of one test apart from all others in a vault.
func uniqueText() string { return strings.ToLower(rand.Text()[:10]) }

// in returns the fixture for a subtest.
func (f fixture) in(t *testing.T) fixture {
	t.Helper()
	f.T = t
	return f
}

func plain(value string) broker.NewSecret {
	return broker.NewSecret{Value: broker.NewValue(value), Enabled: true}
}

func (f fixture) name(label string) broker.Name {
	f.Helper()
	n, err := f.vault.Object(broker.KindSecrets, f.unique+"-"+label)
	if err != nil {
		f.Fatal(err)
	}
	return n
}

func (f fixture) set(name broker.Name, n broker.NewSecret) broker.Secret {
	f.Helper()
	s, err := f.store.SetSecret(f.Context(), name, n)
	if err != nil {
		f.Fatalf("SetSecret %v: %v", name, err)
	}
	return s
}

func (f fixture) get(name broker.Name) broker.SecretValue {
	f.Helper()
	s, err := f.store.GetSecret(f.Context(), name)
	if err != nil {
		f.Fatalf("GetSecret %v: %v", name, err)
	}
	return s
}

func (f fixture) versions(name broker.Name) []broker.Secret {
	f.Helper()
	all, err := f.store.ListSecretVersions(f.Context(), name)
	if err != nil {
		f.Fatalf("ListSecretVersions %v: %v", name, err)
	}
	return all
}

// delete soft-deletes the secret.
func (f fixture) delete(name broker.Name) broker.DeletedSecret {
	f.Helper()
	d, err := f.store.DeleteSecret(f.Context(), name)
	if err != nil {
		f.Fatalf("DeleteSecret %v: %v", name, err)
	}
	return d
}

// purge deletes the secret for good.
func (f fixture) purge(name broker.Name) {
	f.Helper()
	f.delete(name)
	if err := f.store.PurgeSecret(f.Context(), name); err != nil {
		f.Fatalf("PurgeSecret %v: %v", name, err)
	}
}

// list walks the vault's pages of the size. None may hold more than most.
func (f fixture) list(size, most int) iter.Seq[broker.Secret] {
	f.Helper()
	return pages(f.T, "ListSecrets", size, most, func(p broker.Page) ([]broker.Secret, string, error) {
		page, err := f.store.ListSecrets(f.Context(), f.vault, p)
		return page.Secrets, page.Next, err
	})
}

// listDeleted is list of what is soft-deleted.
func (f fixture) listDeleted(size, most int) iter.Seq[broker.DeletedSecret] {
	f.Helper()
	return pages(f.T, "ListDeletedSecrets", size, most, func(p broker.Page) ([]broker.DeletedSecret, string, error) {
		page, err := f.store.ListDeletedSecrets(f.Context(), f.vault, p)
		return page.Secrets, page.Next, err
	})
}

func pages[T any](t *testing.T, what string, size, most int, list func(broker.Page) ([]T, string, error)) iter.Seq[T] {
	t.Helper()
	return func(yield func(T) bool) {
		p := broker.Page{Size: size}
		seen := make(map[string]bool)
		for {
			items, next, err := list(p)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if len(items) > most {
				t.Fatalf("a page of %d, want at most %d", len(items), most)
			}
			for _, item := range items {
				if !yield(item) {
					return
				}
			}
			if next == "" {
				return
			}
			if seen[next] {
				t.Fatalf("%s repeats a page token, and so would never end", what)
			}
			seen[next] = true
			p.Token = next
		}
	}
}

// listed returns the vault's list by name.
func (f fixture) listed() map[broker.Name]broker.Secret {
	f.Helper()
	all := make(map[broker.Name]broker.Secret)
	for s := range f.list(0, broker.MaxStorePage) {
		all[s.Name] = s
	}
	return all
}

func (f fixture) wantCode(what string, err error, want broker.Code) {
	f.Helper()
	if got := broker.CodeOf(err); got != want {
		f.Errorf("%s: %q (%v), want %q", what, got, err, want)
	}
}

// wantBadBlob checks that a blob was refused as such.
func (f fixture) wantBadBlob(what string, err error) {
	f.Helper()
	f.wantCode(what, err, broker.CodeBadField)
	if got := broker.AsError(err); got == nil || got.Field != "blob" {
		f.Errorf("%s: the field at fault is not the blob: %v", what, err)
	}
}

// wantSame checks that two answers tell the same of a version.
func (f fixture) wantSame(what string, got, want broker.Secret) {
	f.Helper()
	if got.Name != want.Name || got.ETag() != want.ETag() || !got.Created.Equal(want.Created) || !got.Updated.Equal(want.Updated) {
		f.Errorf("%s: %v, created %v, updated %v; want %v, %v, %v",
			what, got.Name, got.Created, got.Updated, want.Name, want.Created, want.Updated)
	}
	f.wantAttributes(what, got, broker.NewSecret{
		ContentType: want.ContentType, Tags: want.Tags, Enabled: want.Enabled, NotBefore: want.NotBefore, Expires: want.Expires,
	})
}

// wantAttributes checks what the vault keeps of n beside its value, and what
// it adds.
func (f fixture) wantAttributes(what string, got broker.Secret, n broker.NewSecret) {
	f.Helper()
	if got.ContentType != n.ContentType {
		f.Errorf("%s: content type %q, want %q", what, got.ContentType, n.ContentType)
	}
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
		f.Errorf("%s: a secret that no certificate made is managed", what)
	}
}
