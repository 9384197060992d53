package broker_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
)

func describedKey(k broker.Key) string {
	return fmt.Sprintf("%v %+v %v %v %v %v %v %v %v %v", k.Name, k.JWK, k.Ops, k.Tags, k.Enabled, k.Created, k.Updated, k.NotBefore, k.Expires, k.RecoveryLevel)
}

// keyLists are what a store lists: live keys, deleted ones and w.name's versions.
func (w *keyWorld) keyLists(t *testing.T, s broker.KeyStore) (live, deleted, versions []string) {
	t.Helper()
	l, err := s.ListKeys(t.Context(), w.name.Vault(), broker.Page{})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range l.Keys {
		live = append(live, describedKey(k))
	}
	d, err := s.ListDeletedKeys(t.Context(), w.name.Vault(), broker.Page{})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range d.Keys {
		deleted = append(deleted, describedKey(k.Key)+k.Deleted.String()+k.Purges.String())
	}
	all, err := s.ListKeyVersions(t.Context(), w.name)
	if err != nil && broker.CodeOf(err) != broker.CodeKeyNotFound {
		t.Fatal(err)
	}
	for _, k := range all {
		versions = append(versions, describedKey(k))
	}
	return live, deleted, versions
}

// wantKeyLists checks that the cache lists what is there.
func (w *keyWorld) wantKeyLists(t *testing.T, after string) {
	t.Helper()
	var live, deleted, versions []string
	l, err := w.AllKeys(t.Context(), w.name.Vault())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range l.Items {
		live = append(live, describedKey(*k))
	}
	d, err := w.AllDeletedKeys(t.Context(), w.name.Vault())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range d.Items {
		deleted = append(deleted, describedKey(k.Key)+k.Deleted.String()+k.Purges.String())
	}
	v, err := w.AllKeyVersions(t.Context(), w.name)
	if err != nil && broker.CodeOf(err) != broker.CodeKeyNotFound {
		t.Fatal(err)
	}
	for _, k := range v.Items {
		versions = append(versions, describedKey(k))
	}
	wantLive, wantDeleted, wantVersions := w.keyLists(t, w.store)
	for what, lists := range map[string][2][]string{"live": {live, wantLive}, "deleted": {deleted, wantDeleted}, "versions": {versions, wantVersions}} {
		if !slices.Equal(lists[0], lists[1]) {
			t.Errorf("after %s, %s listed\n%q\nwant\n%q", after, what, lists[0], lists[1])
		}
	}
}

// What a write's reply tells is put into the lists as they have it: without the
// public half, the operations and the version. None is walked again for it.
func TestListsOfKeysShowAWriteAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, hourOfPublicKeys)
		other, err := w.name.Object(broker.KindKeys, "b")
		if err != nil {
			t.Fatal(err)
		}
		var blob broker.Value
		w.wantKeyLists(t, "nothing")
		for _, write := range []struct {
			name string
			do   func(context.Context) error
		}{
			{"a new key", func(ctx context.Context) error {
				_, err := w.CreateKey(ctx, other, broker.NewKey{Type: broker.KeyTypeEC, Enabled: true, Tags: map[string]string{"a": "b"}})
				return err
			}},
			{"a new version", func(ctx context.Context) error { _, err := w.CreateKey(ctx, w.name, ec); return err }},
			{"a rotation", func(ctx context.Context) error { _, err := w.RotateKey(ctx, w.name); return err }},
			{"an import", func(ctx context.Context) error { _, err := w.ImportKey(ctx, w.name, rsaImport()); return err }},
			{"an update", func(ctx context.Context) error {
				_, err := w.UpdateKey(ctx, w.name, broker.KeyUpdate{Enabled: new(false), Tags: &map[string]string{"c": "d"}})
				return err
			}},
			{"an update of the first version", func(ctx context.Context) error {
				all, err := w.store.ListKeyVersions(ctx, w.name)
				if err != nil {
					return err
				}
				_, err = w.UpdateKey(ctx, all[len(all)-1].Name, broker.KeyUpdate{Enabled: new(false)})
				return err
			}},
			{"a delete", func(ctx context.Context) (err error) {
				if blob, err = w.BackupKey(ctx, w.name); err != nil {
					return err
				}
				_, err = w.DeleteKey(ctx, w.name)
				return err
			}},
			{"a recovery", func(ctx context.Context) error { _, err := w.RecoverKey(ctx, w.name); return err }},
			{"another delete", func(ctx context.Context) error { _, err := w.DeleteKey(ctx, w.name); return err }},
			{"a purge", func(ctx context.Context) error { return w.PurgeKey(ctx, w.name) }},
			{"a restore", func(ctx context.Context) error {
				_, err := w.RestoreKey(ctx, w.name.Vault(), blob)
				return err
			}},
		} {
			time.Sleep(time.Second)
			if err := write.do(t.Context()); err != nil {
				t.Fatalf("%s: %v", write.name, err)
			}
			for _, method := range []func() (bool, error){
				func() (bool, error) { l, err := w.AllKeys(t.Context(), w.name.Vault()); return l.Cached, err },
				func() (bool, error) { l, err := w.AllDeletedKeys(t.Context(), w.name.Vault()); return l.Cached, err },
			} {
				if cached, err := method(); !cached || err != nil {
					t.Errorf("after %s: cached %v, %v; want the list that is kept", write.name, cached, err)
				}
			}
			w.wantKeyLists(t, write.name)
		}
	})
}

// Versions are asked for once, whoever pages through them, until they are too old
// or there is another.
func TestVersionsOfKeysAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, broker.KeyCacheConfig{TTL: time.Minute})
		if _, err := w.CreateKey(t.Context(), w.name, ec); err != nil {
			t.Fatal(err)
		}
		want := func(versions, calls int) {
			t.Helper()
			for range 3 {
				if all, err := w.ListKeyVersions(t.Context(), w.name); err != nil || len(all) != versions {
					t.Errorf("%d versions, %v; want %d", len(all), err, versions)
				}
			}
			if got := w.store.Calls("ListKeyVersions"); got != calls {
				t.Errorf("the vault was asked %d times, want %d", got, calls)
			}
		}
		want(2, 1)
		if _, err := w.CreateKey(t.Context(), w.name, ec); err != nil {
			t.Fatal(err)
		}
		want(3, 2)
		if _, err := w.store.CreateKey(t.Context(), w.name, ec); err != nil { // elsewhere
			t.Fatal(err)
		}
		time.Sleep(47 * time.Second) // before they are renewed
		want(3, 2)
		time.Sleep(13 * time.Second)
		want(4, 3)
	})
}

// A write that was refused changed nothing, and a busy vault is not walked for it.
func TestListsOfKeysOutliveARefusedWrite(t *testing.T) {
	for _, code := range []broker.Code{
		broker.CodeKeyNotFound, broker.CodeKeyExists, broker.CodeKeyDisabled, broker.CodeKeySoftDeleted, broker.CodeKeyInTransition,
		broker.CodeKeyOperationForbidden, broker.CodeBadField, broker.CodeVaultThrottled,
	} {
		w := newKeyWorld(t, hourOfPublicKeys)
		w.wantKeyLists(t, "nothing")
		w.store.SetHook(func(_ context.Context, method string, _ broker.Name) error {
			if method == "RotateKey" {
				return &broker.Error{Code: code}
			}
			return nil
		})
		if _, err := w.RotateKey(t.Context(), w.name); broker.CodeOf(err) != code {
			t.Fatalf("got %v, want %s", err, code)
		}
		if l, err := w.AllKeys(t.Context(), w.name.Vault()); err != nil || !l.Cached {
			t.Errorf("after %s: cached %v, %v; want the list that is kept", code, l.Cached, err)
		}
	}
}
