package brokertest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

func testListPages(f fixture) {
	want := make(map[broker.Name]bool)
	for i := range 31 {
		name := f.name(fmt.Sprintf("list-%02d", i))
		f.set(name, plain("v"))
		want[name] = true
	}
	f.set(f.name("list-00"), plain("a second version is not a second item"))
	for _, size := range []int{0, 1, 7, broker.MaxStorePage, 1000} {
		f.Run(fmt.Sprint("size ", size), func(t *testing.T) {
			f := f.in(t)
			most := size
			if most == 0 || most > broker.MaxStorePage {
				most = broker.MaxStorePage
			}
			seen := make(map[broker.Name]bool)
			for s := range f.list(size, most) {
				if s.Name.Version() != "" {
					f.Errorf("%v carries a version", s.Name)
				}
				if seen[s.Name] {
					f.Errorf("%v is listed twice", s.Name)
				}
				seen[s.Name] = true
			}
			for name := range want {
				if !seen[name] {
					f.Errorf("%v is not listed", name)
				}
			}
		})
	}
}

func testListLatest(f fixture) {
	name := f.name("latest")
	f.set(name, broker.NewSecret{Value: broker.NewValue("1"), Enabled: true, ContentType: "first"})
	last := broker.NewSecret{Value: broker.NewValue("2"), Enabled: true, ContentType: "second", Tags: map[string]string{"a": "b"}}
	f.set(name, last)
	got, ok := f.listed()[name]
	if !ok {
		f.Fatalf("%v is not listed", name)
	}
	f.wantAttributes("ListSecrets", got, last)
}

func testVersionsNewestFirst(f fixture) {
	name := f.name("order")
	var sets []broker.Secret
	// More than a page of a vault's list.
	for i := range broker.MaxStorePage + 5 {
		sets = append(sets, f.set(name, plain(fmt.Sprint(i))))
	}
	got := f.versions(name)
	if len(got) != len(sets) {
		f.Fatalf("%d versions, want %d", len(got), len(sets))
	}
	for i, s := range got {
		if want := sets[len(sets)-1-i]; s.Name != want.Name {
			f.Fatalf("version %d from the newest is %v, want %v", i, s.Name, want.Name)
		}
	}
	if latest := f.get(name); latest.Name != got[0].Name {
		f.Errorf("the latest is %v, but the newest of the list is %v", latest.Name, got[0].Name)
	}
}

// testWholeLists makes every write, and checks after each that the whole lists,
// which the store has at hand, are what its pages are.
func testWholeLists(f fixture) {
	whole, ok := f.store.(broker.WholeLister)
	if !ok {
		f.Skip("the store keeps no whole lists")
	}
	for i := range broker.MaxStorePage + 5 {
		f.set(f.name(fmt.Sprintf("whole-%02d", i)), plain("v"))
	}
	f.wantWhole(whole, "nothing")
	name := f.name("whole-07x")
	var old broker.Secret
	var blob broker.Value
	for _, write := range []struct {
		what string
		do   func() error
	}{
		{"SetSecret", func() (err error) {
			old, err = f.store.SetSecret(f.Context(), name, plain("1"))
			return err
		}},
		{"SetSecret, again", func() error {
			_, err := f.store.SetSecret(f.Context(), name, broker.NewSecret{
				Value: broker.NewValue("2"), ContentType: "text/plain", Tags: map[string]string{"a": "b"}, Expires: time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC),
			})
			return err
		}},
		{"UpdateSecret", func() error {
			_, err := f.store.UpdateSecret(f.Context(), name, broker.SecretUpdate{Enabled: new(true), Tags: new(map[string]string{"c": "d"})})
			return err
		}},
		{"UpdateSecret of an older version", func() error {
			_, err := f.store.UpdateSecret(f.Context(), old.Name, broker.SecretUpdate{ContentType: new("older")})
			return err
		}},
		{"BackupSecret", func() (err error) {
			blob, err = f.store.BackupSecret(f.Context(), name)
			return err
		}},
		{"DeleteSecret", func() error {
			_, err := f.store.DeleteSecret(f.Context(), name)
			return err
		}},
		{"RecoverSecret", func() error {
			_, err := f.store.RecoverSecret(f.Context(), name)
			return err
		}},
		{"DeleteSecret, again", func() error {
			_, err := f.store.DeleteSecret(f.Context(), name)
			return err
		}},
		{"PurgeSecret", func() error { return f.store.PurgeSecret(f.Context(), name) }},
		{"RestoreSecret", func() error {
			_, err := f.store.RestoreSecret(f.Context(), f.vault, blob)
			return err
		}},
	} {
		if err := write.do(); err != nil {
			f.Fatalf("%s: %v", write.what, err)
		}
		f.wantWhole(whole, write.what)
	}
}

// wantWhole checks that the whole lists are sorted, and have what the pages
// have of this test's secrets.
func (f fixture) wantWhole(store broker.WholeLister, after string) {
	f.Helper()
	live, err := store.AllSecrets(f.Context(), f.vault)
	if err != nil {
		f.Fatalf("AllSecrets after %s: %v", after, err)
	}
	deleted, err := store.AllDeletedSecrets(f.Context(), f.vault)
	if err != nil {
		f.Fatalf("AllDeletedSecrets after %s: %v", after, err)
	}
	byName := make(map[broker.Name]broker.DeletedSecret)
	wantOrder(f, "AllDeletedSecrets after "+after, deleted.Items, func(d *broker.DeletedSecret) broker.Name {
		byName[d.Name] = *d
		return d.Name
	})
	for d := range f.listDeleted(0, broker.MaxStorePage) {
		if !strings.HasPrefix(d.Name.ObjectName(), f.unique) {
			continue
		}
		got, ok := byName[d.Name]
		if !ok {
			f.Errorf("AllDeletedSecrets after %s lacks %v", after, d.Name)
			continue
		}
		f.wantSame("AllDeletedSecrets after "+after, got.Secret, d.Secret)
		f.wantSameDeletion("AllDeletedSecrets after "+after, got, d)
		delete(byName, d.Name)
	}
	pages := f.listed()
	wantOrder(f, "AllSecrets after "+after, live.Items, func(s *broker.Secret) broker.Name {
		if strings.HasPrefix(s.Name.ObjectName(), f.unique) {
			if want, ok := pages[s.Name]; ok {
				f.wantSame("AllSecrets after "+after, *s, want)
				delete(pages, s.Name)
			} else {
				f.Errorf("AllSecrets after %s has %v, which is not there", after, s.Name)
			}
		}
		return s.Name
	})
	for name := range pages {
		if strings.HasPrefix(name.ObjectName(), f.unique) {
			f.Errorf("AllSecrets after %s lacks %v", after, name)
		}
	}
	for name := range byName {
		if strings.HasPrefix(name.ObjectName(), f.unique) {
			f.Errorf("AllDeletedSecrets after %s has %v, which is not there", after, name)
		}
	}
}

func wantOrder[T any](f fixture, what string, items []T, name func(T) broker.Name) {
	f.Helper()
	last := ""
	for _, item := range items {
		object := name(item).ObjectName()
		if object <= last {
			f.Errorf("%s: %s is behind %s", what, object, last)
		}
		last = object
	}
}
