package vaulthttp

import (
	"context"
	"slices"
	"time"

	"github.com/keyward/keyward/broker"
)

// settlingKeys is settling of keys.
type settlingKeys struct {
	broker.KeyStore
	*unsettled
}

func newSettlingKeys(s broker.KeyStore, takes time.Duration) *settlingKeys {
	return &settlingKeys{KeyStore: s, unsettled: newUnsettled(takes)}
}

// live fails for what was recovered and is not seen yet.
func (s *settlingKeys) live(name broker.Name) error {
	if _, recovered := s.moving(name); recovered {
		return &broker.Error{Code: broker.CodeKeyNotFound}
	}
	return nil
}

// gone fails for what was deleted and cannot be moved again yet.
func (s *settlingKeys) gone(name broker.Name) error {
	if deleted, _ := s.moving(name); deleted {
		return &broker.Error{Code: broker.CodeKeyInTransition}
	}
	return nil
}

// free fails for a name that no key can be made under yet.
func (s *settlingKeys) free(name broker.Name) error {
	if s.live(name) != nil {
		return beingRecovered("Key")
	}
	return s.gone(name)
}

func (s *settlingKeys) CreateKey(ctx context.Context, name broker.Name, n broker.NewKey) (broker.Key, error) {
	if err := s.free(name); err != nil {
		return broker.Key{}, err
	}
	return s.KeyStore.CreateKey(ctx, name, n)
}

func (s *settlingKeys) ImportKey(ctx context.Context, name broker.Name, i broker.KeyImport) (broker.Key, error) {
	if err := s.free(name); err != nil {
		return broker.Key{}, err
	}
	return s.KeyStore.ImportKey(ctx, name, i)
}

func (s *settlingKeys) DeleteKey(ctx context.Context, name broker.Name) (broker.DeletedKey, error) {
	if err := s.live(name); err != nil {
		return broker.DeletedKey{}, err
	}
	d, err := s.KeyStore.DeleteKey(ctx, name)
	if err == nil {
		s.moved(name, false)
	}
	return d, err
}

func (s *settlingKeys) RecoverKey(ctx context.Context, name broker.Name) (broker.Key, error) {
	if err := s.gone(name); err != nil {
		return broker.Key{}, err
	}
	got, err := s.KeyStore.RecoverKey(ctx, name)
	if err == nil {
		s.moved(name, true)
	}
	return got, err
}

func (s *settlingKeys) PurgeKey(ctx context.Context, name broker.Name) error {
	if err := s.gone(name); err != nil {
		return err
	}
	err := s.KeyStore.PurgeKey(ctx, name)
	if err == nil {
		s.moved(name, false)
	}
	return err
}

func (s *settlingKeys) GetDeletedKey(ctx context.Context, name broker.Name) (broker.DeletedKey, error) {
	if s.gone(name) != nil {
		return broker.DeletedKey{}, &broker.Error{Code: broker.CodeKeyNotFound}
	}
	return s.KeyStore.GetDeletedKey(ctx, name)
}

func (s *settlingKeys) ListDeletedKeys(ctx context.Context, vault broker.Name, p broker.Page) (broker.DeletedKeyPage, error) {
	page, err := s.KeyStore.ListDeletedKeys(ctx, vault, p)
	page.Keys = slices.DeleteFunc(page.Keys, func(k broker.DeletedKey) bool { return s.gone(k.Name) != nil })
	return page, err
}

func (s *settlingKeys) ListKeys(ctx context.Context, vault broker.Name, p broker.Page) (broker.KeyPage, error) {
	page, err := s.KeyStore.ListKeys(ctx, vault, p)
	page.Keys = slices.DeleteFunc(page.Keys, func(k broker.Key) bool { return s.live(k.Name) != nil })
	return page, err
}

func (s *settlingKeys) GetKey(ctx context.Context, name broker.Name) (broker.Key, error) {
	if err := s.live(name); err != nil {
		return broker.Key{}, err
	}
	return s.KeyStore.GetKey(ctx, name)
}

func (s *settlingKeys) UpdateKey(ctx context.Context, name broker.Name, u broker.KeyUpdate) (broker.Key, error) {
	if err := s.live(name); err != nil {
		return broker.Key{}, err
	}
	return s.KeyStore.UpdateKey(ctx, name, u)
}

func (s *settlingKeys) ListKeyVersions(ctx context.Context, name broker.Name) ([]broker.Key, error) {
	if err := s.live(name); err != nil {
		return nil, err
	}
	return s.KeyStore.ListKeyVersions(ctx, name)
}

func (s *settlingKeys) BackupKey(ctx context.Context, name broker.Name) (broker.Value, error) {
	if err := s.live(name); err != nil {
		return broker.Value{}, err
	}
	return s.KeyStore.BackupKey(ctx, name)
}

func (s *settlingKeys) RotateKey(ctx context.Context, name broker.Name) (broker.Key, error) {
	if err := s.live(name); err != nil {
		return broker.Key{}, err
	}
	return s.KeyStore.RotateKey(ctx, name)
}

func (s *settlingKeys) GetRotationPolicy(ctx context.Context, name broker.Name) (broker.RotationPolicy, error) {
	if err := s.live(name); err != nil {
		return broker.RotationPolicy{}, err
	}
	return s.KeyStore.GetRotationPolicy(ctx, name)
}

func (s *settlingKeys) UpdateRotationPolicy(ctx context.Context, name broker.Name, p broker.RotationPolicy) (broker.RotationPolicy, error) {
	if err := s.live(name); err != nil {
		return broker.RotationPolicy{}, err
	}
	return s.KeyStore.UpdateRotationPolicy(ctx, name, p)
}

func (s *settlingKeys) Encrypt(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	if err := s.live(name); err != nil {
		return broker.CipherResult{}, err
	}
	return s.KeyStore.Encrypt(ctx, name, alg, in)
}

func (s *settlingKeys) Decrypt(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	if err := s.live(name); err != nil {
		return broker.CipherResult{}, err
	}
	return s.KeyStore.Decrypt(ctx, name, alg, in)
}

func (s *settlingKeys) WrapKey(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	if err := s.live(name); err != nil {
		return broker.CipherResult{}, err
	}
	return s.KeyStore.WrapKey(ctx, name, alg, in)
}

func (s *settlingKeys) UnwrapKey(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	if err := s.live(name); err != nil {
		return broker.CipherResult{}, err
	}
	return s.KeyStore.UnwrapKey(ctx, name, alg, in)
}

func (s *settlingKeys) Sign(ctx context.Context, name broker.Name, alg broker.Algorithm, digest []byte) (broker.Signature, error) {
	if err := s.live(name); err != nil {
		return broker.Signature{}, err
	}
	return s.KeyStore.Sign(ctx, name, alg, digest)
}

func (s *settlingKeys) Verify(ctx context.Context, name broker.Name, alg broker.Algorithm, digest, signature []byte) (broker.Verdict, error) {
	if err := s.live(name); err != nil {
		return broker.Verdict{}, err
	}
	return s.KeyStore.Verify(ctx, name, alg, digest, signature)
}
