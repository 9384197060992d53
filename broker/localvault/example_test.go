package localvault_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "vault")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	v, err := localvault.Open(localvault.Config{
		Path:    filepath.Join(dir, "vault.db"),
		KeyFile: filepath.Join(dir, "vault.key"),
	})
	if err != nil {
		panic(err)
	}
	defer func() { _ = v.Close() }()

	name, err := broker.ParseName(broker.KindSecrets, "vaults/dev/secrets/db-password")
	if err != nil {
		panic(err)
	}
	ctx, store := context.Background(), v.Secrets()
	if _, err := store.SetSecret(ctx, name, broker.NewSecret{Value: broker.NewValue("hunter2"), Enabled: true}); err != nil {
		panic(err)
	}
	s, err := store.GetSecret(ctx, name)
	if err != nil {
		panic(err)
	}
	fmt.Println(s.Value, len(s.Value.Reveal()), s.RecoveryLevel)
	// Output: [redacted] 7 Recoverable+Purgeable
}

// A key signs, and is never seen.
func ExampleVault_Keys() {
	dir, err := os.MkdirTemp("", "vault")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	v, err := localvault.Open(localvault.Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")})
	if err != nil {
		panic(err)
	}
	defer func() { _ = v.Close() }()

	name, err := broker.ParseName(broker.KindKeys, "vaults/dev/keys/invoices")
	if err != nil {
		panic(err)
	}
	ctx, store := context.Background(), v.Keys()
	key, err := store.CreateKey(ctx, name, broker.NewKey{Type: broker.KeyTypeEC, Curve: broker.CurveP256, Enabled: true})
	if err != nil {
		panic(err)
	}
	digest := sha256.Sum256([]byte("invoice 1"))
	s, err := store.Sign(ctx, name, "ES256", digest[:])
	if err != nil {
		panic(err)
	}
	// Whoever has the public half can check it without the vault.
	public, err := broker.NewPublicKey(key.JWK)
	if err != nil {
		panic(err)
	}
	good, err := public.Verify("ES256", digest[:], s.Value)
	fmt.Println(len(s.Value), good, err)
	// Output: 64 true <nil>
}
