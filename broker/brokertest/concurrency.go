package brokertest

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/keyward/keyward/broker"
)

func testCancelled(f fixture) {
	name, absent := f.name("cancelled"), f.name("absent")
	f.set(name, plain("kept"))
	ctx, cancel := context.WithCancel(f.Context())
	cancel()

	_, err := f.store.GetSecret(ctx, name)
	f.wantCode("GetSecret", err, broker.CodeCanceled)
	_, err = f.store.SetSecret(ctx, absent, plain("v"))
	f.wantCode("SetSecret", err, broker.CodeCanceled)
	_, err = f.store.DeleteSecret(ctx, name)
	f.wantCode("DeleteSecret", err, broker.CodeCanceled)
	_, err = f.store.ListSecrets(ctx, f.vault, broker.Page{})
	f.wantCode("ListSecrets", err, broker.CodeCanceled)
	_, err = f.store.ListSecretVersions(ctx, name)
	f.wantCode("ListSecretVersions", err, broker.CodeCanceled)

	if got := f.get(name); got.Value.Reveal() != "kept" {
		f.Error("a cancelled delete changed the secret")
	}
	_, err = f.store.GetSecret(f.Context(), absent)
	f.wantCode("GetSecret after a cancelled set", err, broker.CodeSecretNotFound)
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
