package localvault_test

import (
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/localvault"
)

func stores(v *localvault.Vault) broker.Vault {
	return broker.Vault{Secrets: v.Secrets(), Keys: v.Keys(), Certificates: v.Certificates()}
}

func TestCertificateStore(t *testing.T) {
	brokertest.RunCertificateStore(t, func(t *testing.T) (broker.Vault, broker.Name) {
		t.Helper()
		return stores(open(t, config(t.TempDir()))), vaultName(t)
	})
}
