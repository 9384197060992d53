package brokertest

import (
	"context"

	"github.com/keyward/keyward/broker"
)

// KeyStore is a broker.KeyStore that counts its calls and can be made to fail or
// to wait; for the rest it is the one inside. A hook knows its methods by the
// names that the interface has for them. Its own may be called concurrently.
type KeyStore struct {
	hooks

	inside broker.KeyStore
}

var _ broker.KeyStore = (*KeyStore)(nil)

// NewKeyStore returns a store that passes its calls on to inside.
func NewKeyStore(inside broker.KeyStore) *KeyStore { return &KeyStore{inside: inside} }

// CreateKey implements broker.KeyStore.
func (s *KeyStore) CreateKey(ctx context.Context, name broker.Name, k broker.NewKey) (broker.Key, error) {
	return hooked(ctx, &s.hooks, "CreateKey", name, func() (broker.Key, error) { return s.inside.CreateKey(ctx, name, k) })
}

// ImportKey implements broker.KeyStore.
func (s *KeyStore) ImportKey(ctx context.Context, name broker.Name, k broker.KeyImport) (broker.Key, error) {
	return hooked(ctx, &s.hooks, "ImportKey", name, func() (broker.Key, error) { return s.inside.ImportKey(ctx, name, k) })
}

// GetKey implements broker.KeyStore.
func (s *KeyStore) GetKey(ctx context.Context, name broker.Name) (broker.Key, error) {
	return hooked(ctx, &s.hooks, "GetKey", name, func() (broker.Key, error) { return s.inside.GetKey(ctx, name) })
}

// UpdateKey implements broker.KeyStore.
func (s *KeyStore) UpdateKey(ctx context.Context, name broker.Name, u broker.KeyUpdate) (broker.Key, error) {
	return hooked(ctx, &s.hooks, "UpdateKey", name, func() (broker.Key, error) { return s.inside.UpdateKey(ctx, name, u) })
}

// DeleteKey implements broker.KeyStore.
func (s *KeyStore) DeleteKey(ctx context.Context, name broker.Name) (broker.DeletedKey, error) {
	return hooked(ctx, &s.hooks, "DeleteKey", name, func() (broker.DeletedKey, error) { return s.inside.DeleteKey(ctx, name) })
}

// ListKeys implements broker.KeyStore.
func (s *KeyStore) ListKeys(ctx context.Context, vault broker.Name, p broker.Page) (broker.KeyPage, error) {
	return hooked(ctx, &s.hooks, "ListKeys", vault, func() (broker.KeyPage, error) { return s.inside.ListKeys(ctx, vault, p) })
}

// ListKeyVersions implements broker.KeyStore.
func (s *KeyStore) ListKeyVersions(ctx context.Context, name broker.Name) ([]broker.Key, error) {
	return hooked(ctx, &s.hooks, "ListKeyVersions", name, func() ([]broker.Key, error) { return s.inside.ListKeyVersions(ctx, name) })
}

// GetDeletedKey implements broker.KeyStore.
func (s *KeyStore) GetDeletedKey(ctx context.Context, name broker.Name) (broker.DeletedKey, error) {
	return hooked(ctx, &s.hooks, "GetDeletedKey", name, func() (broker.DeletedKey, error) { return s.inside.GetDeletedKey(ctx, name) })
}

// ListDeletedKeys implements broker.KeyStore.
func (s *KeyStore) ListDeletedKeys(ctx context.Context, vault broker.Name, p broker.Page) (broker.DeletedKeyPage, error) {
	return hooked(ctx, &s.hooks, "ListDeletedKeys", vault, func() (broker.DeletedKeyPage, error) { return s.inside.ListDeletedKeys(ctx, vault, p) })
}

// RecoverKey implements broker.KeyStore.
func (s *KeyStore) RecoverKey(ctx context.Context, name broker.Name) (broker.Key, error) {
	return hooked(ctx, &s.hooks, "RecoverKey", name, func() (broker.Key, error) { return s.inside.RecoverKey(ctx, name) })
}

// PurgeKey implements broker.KeyStore.
func (s *KeyStore) PurgeKey(ctx context.Context, name broker.Name) error {
	_, err := hooked(ctx, &s.hooks, "PurgeKey", name, func() (struct{}, error) { return struct{}{}, s.inside.PurgeKey(ctx, name) })
	return err
}

// BackupKey implements broker.KeyStore.
func (s *KeyStore) BackupKey(ctx context.Context, name broker.Name) (broker.Value, error) {
	return hooked(ctx, &s.hooks, "BackupKey", name, func() (broker.Value, error) { return s.inside.BackupKey(ctx, name) })
}

// RestoreKey implements broker.KeyStore.
func (s *KeyStore) RestoreKey(ctx context.Context, vault broker.Name, blob broker.Value) (broker.Key, error) {
	return hooked(ctx, &s.hooks, "RestoreKey", vault, func() (broker.Key, error) { return s.inside.RestoreKey(ctx, vault, blob) })
}

// RotateKey implements broker.KeyStore.
func (s *KeyStore) RotateKey(ctx context.Context, name broker.Name) (broker.Key, error) {
	return hooked(ctx, &s.hooks, "RotateKey", name, func() (broker.Key, error) { return s.inside.RotateKey(ctx, name) })
}

// GetRotationPolicy implements broker.KeyStore.
func (s *KeyStore) GetRotationPolicy(ctx context.Context, name broker.Name) (broker.RotationPolicy, error) {
	return hooked(ctx, &s.hooks, "GetRotationPolicy", name, func() (broker.RotationPolicy, error) { return s.inside.GetRotationPolicy(ctx, name) })
}

// UpdateRotationPolicy implements broker.KeyStore.
func (s *KeyStore) UpdateRotationPolicy(ctx context.Context, name broker.Name, p broker.RotationPolicy) (broker.RotationPolicy, error) {
	return hooked(ctx, &s.hooks, "UpdateRotationPolicy", name, func() (broker.RotationPolicy, error) { return s.inside.UpdateRotationPolicy(ctx, name, p) })
}

// Encrypt implements broker.KeyStore.
func (s *KeyStore) Encrypt(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return hooked(ctx, &s.hooks, "Encrypt", name, func() (broker.CipherResult, error) { return s.inside.Encrypt(ctx, name, alg, in) })
}

// Decrypt implements broker.KeyStore.
func (s *KeyStore) Decrypt(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return hooked(ctx, &s.hooks, "Decrypt", name, func() (broker.CipherResult, error) { return s.inside.Decrypt(ctx, name, alg, in) })
}

// WrapKey implements broker.KeyStore.
func (s *KeyStore) WrapKey(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return hooked(ctx, &s.hooks, "WrapKey", name, func() (broker.CipherResult, error) { return s.inside.WrapKey(ctx, name, alg, in) })
}

// UnwrapKey implements broker.KeyStore.
func (s *KeyStore) UnwrapKey(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return hooked(ctx, &s.hooks, "UnwrapKey", name, func() (broker.CipherResult, error) { return s.inside.UnwrapKey(ctx, name, alg, in) })
}

// Sign implements broker.KeyStore.
func (s *KeyStore) Sign(ctx context.Context, name broker.Name, alg broker.Algorithm, digest []byte) (broker.Signature, error) {
	return hooked(ctx, &s.hooks, "Sign", name, func() (broker.Signature, error) { return s.inside.Sign(ctx, name, alg, digest) })
}

// Verify implements broker.KeyStore.
func (s *KeyStore) Verify(ctx context.Context, name broker.Name, alg broker.Algorithm, digest, signature []byte) (broker.Verdict, error) {
	return hooked(ctx, &s.hooks, "Verify", name, func() (broker.Verdict, error) { return s.inside.Verify(ctx, name, alg, digest, signature) })
}
