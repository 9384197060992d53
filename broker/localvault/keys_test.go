package localvault_test

import (
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

func keyName(t *testing.T, object string) broker.Name {
	t.Helper()
	n, err := vaultName(t).Object(broker.KindKeys, object)
	must(t, err)
	return n
}

func TestKeyStore(t *testing.T) {
	brokertest.RunKeyStore(t, func(t *testing.T) (broker.KeyStore, broker.Name) {
		t.Helper()
		return open(t, config(t.TempDir())).Keys(), vaultName(t)
	})
}

func TestKeyStoreOfAManagedHSM(t *testing.T) {
	newStore := func(t *testing.T) (broker.KeyStore, broker.Name) {
		t.Helper()
		c := config(t.TempDir())
		c.ManagedHSM = true
		return open(t, c).Keys(), vaultName(t)
	}
	brokertest.RunKeyStore(t, newStore)
	brokertest.RunSymmetricKeyStore(t, newStore)
}
