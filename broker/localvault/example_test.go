package localvault_test

import (
	"context"
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
