package brokertest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/keyward/keyward/broker"
)

func testCancelled(f fixture) {
	name, absent := f.name("cancelled"), f.name("absent")
	f.set(name, plain("kept"))
	deleted, free := f.name("cancelled-deleted"), f.name("cancelled-free")
	f.set(deleted, plain("kept, too"))
	f.delete(deleted)
	f.set(free, plain("saved"))
	blob := f.backup(free)
	f.purge(free)
	ctx, cancel := context.WithCancel(f.Context())
	cancel()

	_, err := f.store.GetSecret(ctx, name)
	f.wantCode("GetSecret", err, broker.CodeCanceled)
	_, err = f.store.SetSecret(ctx, absent, plain("v"))
	f.wantCode("SetSecret", err, broker.CodeCanceled)
	_, err = f.store.UpdateSecret(ctx, name, broker.SecretUpdate{ContentType: new("late")})
	f.wantCode("UpdateSecret", err, broker.CodeCanceled)
	_, err = f.store.DeleteSecret(ctx, name)
	f.wantCode("DeleteSecret", err, broker.CodeCanceled)
	_, err = f.store.GetDeletedSecret(ctx, deleted)
	f.wantCode("GetDeletedSecret", err, broker.CodeCanceled)
	_, err = f.store.ListDeletedSecrets(ctx, f.vault, broker.Page{})
	f.wantCode("ListDeletedSecrets", err, broker.CodeCanceled)
	_, err = f.store.RecoverSecret(ctx, deleted)
	f.wantCode("RecoverSecret", err, broker.CodeCanceled)
	f.wantCode("PurgeSecret", f.store.PurgeSecret(ctx, deleted), broker.CodeCanceled)
	_, err = f.store.BackupSecret(ctx, name)
	f.wantCode("BackupSecret", err, broker.CodeCanceled)
	_, err = f.store.RestoreSecret(ctx, f.vault, blob)
	f.wantCode("RestoreSecret", err, broker.CodeCanceled)
	_, err = f.store.ListSecrets(ctx, f.vault, broker.Page{})
	f.wantCode("ListSecrets", err, broker.CodeCanceled)
	_, err = f.store.ListSecretVersions(ctx, name)
	f.wantCode("ListSecretVersions", err, broker.CodeCanceled)

	if got := f.get(name); got.Value.Reveal() != "kept" || got.ContentType != "" {
		f.Error("a cancelled delete or update changed the secret")
	}
	for _, n := range []broker.Name{absent, free} {
		_, err = f.store.GetSecret(f.Context(), n)
		f.wantCode(fmt.Sprintf("GetSecret %v after a cancelled set or restore", n), err, broker.CodeSecretNotFound)
	}
	if _, err = f.store.GetDeletedSecret(f.Context(), deleted); err != nil {
		f.Errorf("GetDeletedSecret after a cancelled recovery and purge: %v", err)
	}
}

func testConcurrentSets(f fixture) {
	const writers, each = 8, 4
	name := f.name("concurrent")
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		sets = make(map[broker.Name]string)
	)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				value := fmt.Sprintf("writer %d, set %d", w, i)
				s, err := f.store.SetSecret(f.Context(), name, plain(value))
				if err != nil {
					f.Errorf("SetSecret: %v", err)
					return
				}
				mu.Lock()
				sets[s.Name] = value
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(sets) != writers*each {
		f.Errorf("%d versions made, want %d", len(sets), writers*each)
	}
	listed := make(map[broker.Name]bool)
	for _, s := range f.versions(name) {
		listed[s.Name] = true
	}
	if len(listed) != len(sets) {
		f.Errorf("%d versions listed, want %d", len(listed), len(sets))
	}
	for n, want := range sets {
		if !listed[n] {
			f.Errorf("version %v was acknowledged and is not listed", n)
		}
		if got := f.get(n); got.Value.Reveal() != want {
			f.Errorf("version %v has another writer's value", n)
		}
	}
	if latest := f.get(name); sets[latest.Name] != latest.Value.Reveal() {
		f.Errorf("the latest, %v, is none of the versions set", latest.Name)
	}
}

// testConcurrentMix checks that a reader sees a secret whole or not at all
// while it is set and deleted.
func testConcurrentMix(f fixture) {
	const names = 4
	var wg sync.WaitGroup
	for i := range names {
		name := f.name(fmt.Sprint("mix-", i))
		wg.Go(func() {
			for v := range 3 {
				if _, err := f.store.SetSecret(f.Context(), name, plain(name.ObjectName()+fmt.Sprint(v))); err != nil {
					f.Errorf("SetSecret: %v", err)
				}
			}
			if _, err := f.store.DeleteSecret(f.Context(), name); err != nil {
				f.Errorf("DeleteSecret: %v", err)
			}
			_, err := f.store.GetSecret(f.Context(), name)
			f.wantCode("GetSecret after DeleteSecret returned", err, broker.CodeSecretNotFound)
		})
		wg.Go(func() {
			for range 6 {
				v, err := f.store.GetSecret(f.Context(), name)
				switch {
				case err == nil && !strings.HasPrefix(v.Value.Reveal(), name.ObjectName()):
					f.Errorf("%v has another secret's value", v.Name)
				case err != nil && broker.CodeOf(err) != broker.CodeSecretNotFound:
					f.Errorf("GetSecret: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func testConcurrentRestores(f fixture) {
	name := f.name("restores")
	for i := range 3 {
		f.set(name, plain(fmt.Sprint(i)))
	}
	want := f.versions(name)
	blob := f.backup(name)
	f.purge(name)
	var (
		wg       sync.WaitGroup
		restored atomic.Int32
	)
	for range 8 {
		wg.Go(func() {
			_, err := f.store.RestoreSecret(f.Context(), f.vault, blob)
			if err == nil {
				restored.Add(1)
				return
			}
			f.wantCode("RestoreSecret", err, broker.CodeSecretExists)
		})
	}
	wg.Wait()
	if got := restored.Load(); got != 1 {
		f.Errorf("%d restores succeeded, want 1", got)
	}
	if got := f.versions(name); len(got) != len(want) {
		f.Errorf("%d versions, want %d", len(got), len(want))
	}
}
