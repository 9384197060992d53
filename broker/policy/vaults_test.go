package policy

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keyward/keyward/broker"
)

func TestMayPermit(t *testing.T) {
	for label, tt := range map[string]struct {
		policy        string
		secrets, keys bool // of vault pay
	}{
		"nothing":              {`forbid (principal, action, resource);`, false, false},
		"anything":             {`permit (principal, action, resource);`, true, true},
		"anything in a vault":  {`permit (principal, action, resource in Vault::"pay");`, true, true},
		"… in another":         {`permit (principal, action, resource in Vault::"hr");`, false, false},
		"any key":              {`permit (principal, action, resource is Key);`, false, true},
		"any secret of one":    {`permit (principal, action, resource is Secret in Vault::"pay");`, true, false},
		"any key of another":   {`permit (principal, action, resource is Key in Vault::"hr");`, false, false},
		"one key":              {`permit (principal, action == Action::"signKey", resource == Key::"vaults/pay/keys/k");`, false, true},
		"one key of another":   {`permit (principal, action == Action::"signKey", resource == Key::"vaults/hr/keys/k");`, false, false},
		"a use, in any vault":  {`permit (principal, action in Action::"useKeys", resource);`, false, true},
		"reads, and no keys":   {`permit (principal, action in [Action::"readSecrets"], resource in Vault::"pay");`, true, false},
		"under a condition":    {`permit (principal, action == Action::"getKey", resource) when { context.transport == "grpc" };`, false, true},
		"a restore of a vault": {`permit (principal, action == Action::"restoreKey", resource == Vault::"pay");`, false, false},
	} {
		t.Run(label, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "a.cedar"), []byte(tt.policy), 0o600); err != nil {
				t.Fatal(err)
			}
			e, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			vault, err := broker.VaultName("pay")
			if err != nil {
				t.Fatal(err)
			}
			if s, k := e.MayPermit(vault, broker.KindSecrets), e.MayPermit(vault, broker.KindKeys); s != tt.secrets || k != tt.keys {
				t.Errorf("secrets %v and keys %v, want %v and %v", s, k, tt.secrets, tt.keys)
			}
		})
	}
}
