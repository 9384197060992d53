package brokertest

import (
	"maps"
	"slices"
	"testing"

	"github.com/keyward/keyward/broker"
)

// RunCertificateStore checks that vaults keep the contract of
// broker.CertificateStore. newVault returns a vault with all three stores, and its
// name. What is made is checked with the standard library.
func RunCertificateStore(t *testing.T, newVault func(t *testing.T) (broker.Vault, broker.Name)) {
	t.Helper()
	tests := map[string]func(certFixture){
		"a certificate has the vault's defaults": testCertificateDefaults,
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		t.Run(name, func(t *testing.T) {
			v, vault := newVault(t)
			tests[name](certFixture{T: t, store: v.Certificates, keys: v.Keys, secrets: v.Secrets, vault: vault, unique: uniqueText()})
		})
	}
}
