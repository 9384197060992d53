package brokertest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/keyward/keyward/broker"
)

func testCancelledKey(f keyFixture) {
	name, absent, free, deleted := f.name("cancelled"), f.name("absent"), f.name("free"), f.name("gone")
	made := f.create(name, ecKey())
	f.create(free, ecKey())
	blob := f.backup(free)
	f.purge(free)
	f.create(deleted, ecKey())
	f.delete(deleted)
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	digest, in := make([]byte, 32), broker.Cipher{Data: broker.NewValue("x")}
	calls := map[string]func() error{
		"CreateKey": func() error { _, err := f.store.CreateKey(ctx, absent, ecKey()); return err },
		"ImportKey": func() error {
			_, err := f.store.ImportKey(ctx, absent, broker.KeyImport{NewKey: ecKey(), Material: broker.NewValue(libraryEC(broker.CurveP256).material())})
			return err
		},
		"GetKey": func() error { _, err := f.store.GetKey(ctx, name); return err },
		"UpdateKey": func() error {
			_, err := f.store.UpdateKey(ctx, name, broker.KeyUpdate{Enabled: new(false)})
			return err
		},
		"DeleteKey":         func() error { _, err := f.store.DeleteKey(ctx, name); return err },
		"ListKeys":          func() error { _, err := f.store.ListKeys(ctx, f.vault, broker.Page{}); return err },
		"ListKeyVersions":   func() error { _, err := f.store.ListKeyVersions(ctx, name); return err },
		"GetDeletedKey":     func() error { _, err := f.store.GetDeletedKey(ctx, deleted); return err },
		"ListDeletedKeys":   func() error { _, err := f.store.ListDeletedKeys(ctx, f.vault, broker.Page{}); return err },
		"RecoverKey":        func() error { _, err := f.store.RecoverKey(ctx, deleted); return err },
		"PurgeKey":          func() error { return f.store.PurgeKey(ctx, deleted) },
		"BackupKey":         func() error { _, err := f.store.BackupKey(ctx, name); return err },
		"RestoreKey":        func() error { _, err := f.store.RestoreKey(ctx, f.vault, blob); return err },
		"RotateKey":         func() error { _, err := f.store.RotateKey(ctx, name); return err },
		"GetRotationPolicy": func() error { _, err := f.store.GetRotationPolicy(ctx, name); return err },
		"UpdateRotationPolicy": func() error {
			_, err := f.store.UpdateRotationPolicy(ctx, name, broker.RotationPolicy{ExpiryTime: "P90D"})
			return err
		},
		"Sign":      func() error { _, err := f.store.Sign(ctx, name, "ES256", digest); return err },
		"Verify":    func() error { _, err := f.store.Verify(ctx, name, "ES256", digest, make([]byte, 64)); return err },
		"Encrypt":   func() error { _, err := f.store.Encrypt(ctx, name, "RSA-OAEP", in); return err },
		"Decrypt":   func() error { _, err := f.store.Decrypt(ctx, name, "RSA-OAEP", in); return err },
		"WrapKey":   func() error { _, err := f.store.WrapKey(ctx, name, "RSA-OAEP", in); return err },
		"UnwrapKey": func() error { _, err := f.store.UnwrapKey(ctx, name, "RSA-OAEP", in); return err },
	}
	for label, call := range calls {
		f.wantCode(label, call(), broker.CodeCanceled)
	}
	f.wantSame("GetKey", f.get(name), made)
	if got := f.versions(name); len(got) != 1 {
		f.Errorf("%d versions after a cancelled rotation, want 1", len(got))
	}
	for _, n := range []broker.Name{absent, free} {
		_, err := f.store.GetKey(f.Context(), n)
		f.wantCode(fmt.Sprintf("GetKey %v after a cancelled create, import or restore", n), err, broker.CodeKeyNotFound)
	}
	if _, err := f.store.GetDeletedKey(f.Context(), deleted); err != nil {
		f.Errorf("GetDeletedKey after a cancelled recovery and purge: %v", err)
	}
}

func testConcurrentCreates(f keyFixture) {
	const writers, each = 10, 10
	name := f.name("creates")
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		made = make(map[broker.Name]broker.Key)
	)
	for range writers {
		wg.Go(func() {
			for range each {
				k, err := f.store.CreateKey(f.Context(), name, ecKey())
				if err != nil {
					f.Errorf("CreateKey: %v", err)
					return
				}
				mu.Lock()
				made[k.Name] = k
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	listed := make(map[broker.Name]bool)
	for _, k := range f.versions(name) {
		listed[k.Name] = true
	}
	if len(made) != writers*each || len(listed) != writers*each {
		f.Errorf("%d versions made, %d listed, want %d", len(made), len(listed), writers*each)
	}
	for n, k := range made {
		if !listed[n] {
			f.Errorf("version %v was acknowledged and is not listed", n)
		}
		if !sameKey(f.get(n).JWK, k.JWK) {
			f.Errorf("version %v has another's key", n)
		}
	}
	if _, ok := made[f.get(name).Name]; !ok {
		f.Error("the latest is none of the versions made")
	}
}

// testSignWhileRotating: a signature is always good under the version that it
// names.
func testSignWhileRotating(f keyFixture) {
	const rotations, signers, each = 20, 4, 25
	name, digest := f.name("racing"), digestOf("ES256", "x")
	f.create(name, ecKey())
	var wg sync.WaitGroup
	wg.Go(func() {
		for range rotations {
			if _, err := f.store.RotateKey(f.Context(), name); err != nil {
				f.Errorf("RotateKey: %v", err)
			}
		}
	})
	var mu sync.Mutex
	signatures := make(map[broker.Name][][]byte)
	for range signers {
		wg.Go(func() {
			for range each {
				s, err := f.store.Sign(f.Context(), name, "ES256", digest)
				if err != nil {
					f.Errorf("Sign: %v", err)
					continue
				}
				mu.Lock()
				signatures[s.Key] = append(signatures[s.Key], s.Value)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for n, all := range signatures {
		j := f.get(n).JWK
		for _, s := range all {
			if !verifyWithLibrary(f.T, j, "ES256", digest, s) {
				f.Errorf("a signature that names %v is not its own", n)
			}
		}
	}
	if got := f.versions(name); len(got) != rotations+1 {
		f.Errorf("%d versions after %d rotations", len(got), rotations)
	}
}

func testConcurrentKeyRestores(f keyFixture) {
	name := f.name("restores")
	f.create(name, ecKey())
	latest := f.create(name, ecKey())
	blob := f.backup(name)
	f.purge(name)
	var (
		wg       sync.WaitGroup
		restored atomic.Int32
	)
	for range 8 {
		wg.Go(func() {
			_, err := f.store.RestoreKey(f.Context(), f.vault, blob)
			if err == nil {
				restored.Add(1)
				return
			}
			f.wantCode("RestoreKey", err, broker.CodeKeyExists)
		})
	}
	wg.Wait()
	if got := restored.Load(); got != 1 {
		f.Errorf("%d restores succeeded, want 1", got)
	}
	f.wantSame("GetKey", f.get(name), latest)
}

// testUseWhileDeleting: a key signs, or is not there; once DeleteKey returned it
// does not sign.
func testUseWhileDeleting(f keyFixture) {
	name, digest := f.name("deleting"), digestOf("ES256", "x")
	k := f.create(name, ecKey())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				s, err := f.store.Sign(f.Context(), name, "ES256", digest)
				switch {
				case err == nil && !verifyWithLibrary(f.T, k.JWK, "ES256", digest, s.Value):
					f.Error("a signature that is not good")
				case err != nil && broker.CodeOf(err) != broker.CodeKeyNotFound:
					f.Errorf("Sign: %v", err)
				}
			}
		})
	}
	wg.Go(func() {
		if _, err := f.store.DeleteKey(f.Context(), name); err != nil {
			f.Errorf("DeleteKey: %v", err)
		}
		_, err := f.store.Sign(f.Context(), name, "ES256", digest)
		f.wantCode("Sign after DeleteKey returned", err, broker.CodeKeyNotFound)
	})
	wg.Wait()
}

// testUpdateWhileUsing: once an update that disables a key has returned, it does
// nothing more.
func testUpdateWhileUsing(f keyFixture) {
	name, digest := f.name("updating"), digestOf("ES256", "x")
	f.create(name, ecKey())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				_, err := f.store.Sign(f.Context(), name, "ES256", digest)
				if c := broker.CodeOf(err); c != "" && c != broker.CodeKeyDisabled {
					f.Errorf("Sign: %v", err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 5 {
			if _, err := f.store.UpdateKey(f.Context(), name, broker.KeyUpdate{Enabled: new(false)}); err != nil {
				f.Errorf("UpdateKey: %v", err)
			}
			_, err := f.store.Sign(f.Context(), name, "ES256", digest)
			f.wantCode("Sign after an update that disables", err, broker.CodeKeyDisabled)
			if _, err := f.store.UpdateKey(f.Context(), name, broker.KeyUpdate{Enabled: new(true)}); err != nil {
				f.Errorf("UpdateKey: %v", err)
			}
		}
	})
	wg.Wait()
}
