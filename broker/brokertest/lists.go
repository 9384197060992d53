package brokertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

func testListPages(t *testing.T, f fixture) {
	want := make(map[broker.Name]bool)
	for i := range 31 {
		name := f.name(t, fmt.Sprintf("list-%02d", i))
		f.set(t, name, plain("v"))
		want[name] = true
	}
	f.set(t, f.name(t, "list-00"), plain("a second version is not a second item"))
	for _, size := range []int{0, 1, 7, broker.MaxStorePage, 1000} {
		t.Run(fmt.Sprint("size ", size), func(t *testing.T) {
			most := size
			if most == 0 || most > broker.MaxStorePage {
				most = broker.MaxStorePage
			}
			seen := make(map[broker.Name]bool)
			for s := range f.list(t, size, most) {
				if s.Name.Version() != "" {
					t.Errorf("%v carries a version", s.Name)
				}
				if seen[s.Name] {
					t.Errorf("%v is listed twice", s.Name)
				}
				seen[s.Name] = true
			}
			for name := range want {
				if !seen[name] {
					t.Errorf("%v is not listed", name)
				}
			}
		})
	}
}

func testListLatest(t *testing.T, f fixture) {
	name := f.name(t, "latest")
	f.set(t, name, broker.NewSecret{Value: broker.NewValue("1"), Enabled: true, ContentType: "first"})
	last := broker.NewSecret{Value: broker.NewValue("2"), Enabled: true, ContentType: "second", Tags: map[string]string{"a": "b"}}
	f.set(t, name, last)
	got, ok := f.listed(t)[name]
	if !ok {
		t.Fatalf("%v is not listed", name)
	}
	wantAttributes(t, "ListSecrets", got, last)
}

func testVersionsNewestFirst(t *testing.T, f fixture) {
	name := f.name(t, "order")
	var sets []broker.Secret
	// More than a page of a vault's list.
	for i := range broker.MaxStorePage + 5 {
		sets = append(sets, f.set(t, name, plain(fmt.Sprint(i))))
	}
	got := f.versions(t, name)
	if len(got) != len(sets) {
		t.Fatalf("%d versions, want %d", len(got), len(sets))
	}
	for i, s := range got {
		if want := sets[len(sets)-1-i]; s.Name != want.Name {
			t.Fatalf("version %d from the newest is %v, want %v", i, s.Name, want.Name)
		}
	}
	if latest := f.get(t, name); latest.Name != got[0].Name {
		t.Errorf("the latest is %v, but the newest of the list is %v", latest.Name, got[0].Name)
	}
}

func testDelete(t *testing.T, f fixture) {
	ctx, name, kept := t.Context(), f.name(t, "deleted"), f.name(t, "deleted-not")
	f.set(t, kept, plain("kept"))
	first := f.set(t, name, plain("1"))
	last := broker.NewSecret{Value: broker.NewValue("2"), Enabled: true, ContentType: "text/plain", Tags: map[string]string{"a": "b"}}
	f.set(t, name, last)

	deleted, err := f.store.DeleteSecret(ctx, name)
	if err != nil {
		t.Fatalf("DeleteSecret: %v", err)
	}
	if deleted.Name != name {
		t.Errorf("DeleteSecret named %v, want %v", deleted.Name, name)
	}
	wantAttributes(t, "DeleteSecret", deleted.Secret, last)
	if deleted.Deleted.IsZero() || !deleted.Deleted.Equal(deleted.Deleted.Truncate(time.Second)) {
		t.Errorf("deleted at %v; want a whole second", deleted.Deleted)
	}
	if !deleted.Purges.After(deleted.Deleted) {
		t.Errorf("purged at %v, deleted at %v", deleted.Purges, deleted.Deleted)
	}

	_, err = f.store.GetSecret(ctx, name)
	wantCode(t, "GetSecret", err, broker.CodeSecretNotFound)
	_, err = f.store.GetSecret(ctx, first.Name)
	wantCode(t, "GetSecret of a version", err, broker.CodeSecretNotFound)
	_, err = f.store.ListSecretVersions(ctx, name)
	wantCode(t, "ListSecretVersions", err, broker.CodeSecretNotFound)
	_, err = f.store.DeleteSecret(ctx, name)
	wantCode(t, "DeleteSecret, again", err, broker.CodeSecretNotFound)
	listed := f.listed(t)
	if _, ok := listed[name]; ok {
		t.Error("ListSecrets shows a deleted secret")
	}
	if _, ok := listed[kept]; !ok {
		t.Error("ListSecrets lost the secret beside the deleted one")
	}
	if got := f.get(t, kept); got.Value.Reveal() != "kept" {
		t.Error("the secret beside the deleted one changed")
	}
}

func testSetAfterDelete(t *testing.T, f fixture) {
	ctx, name := t.Context(), f.name(t, "in-the-way")
	f.set(t, name, plain("1"))
	if _, err := f.store.DeleteSecret(ctx, name); err != nil {
		t.Fatalf("DeleteSecret: %v", err)
	}
	for range 2 {
		_, err := f.store.SetSecret(ctx, name, plain("2"))
		wantCode(t, "SetSecret", err, broker.CodeSecretSoftDeleted)
	}
	_, err := f.store.GetSecret(ctx, name)
	wantCode(t, "GetSecret", err, broker.CodeSecretNotFound)
}
