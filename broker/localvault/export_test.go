package localvault

import (
	"bytes"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// DamageKey flips a bit in each private half of a key.
func DamageKey(tb testing.TB, v *Vault, object string) {
	tb.Helper()
	changed := make(map[record][]byte)
	for r, stored := range records(tb, v) {
		if r.bucket == string(keyShelf.values) && r.belongsTo() == object {
			damaged := bytes.Clone(stored)
			damaged[len(damaged)/2] ^= 1
			changed[r] = damaged
		}
	}
	write(tb, v, changed)
}

// PendingKey returns the private key that waits for its certificate.
func PendingKey(tb testing.TB, v *Vault, name broker.Name) (private []byte) {
	tb.Helper()
	err := v.db.View(func(tx *bbolt.Tx) error {
		s := v.certificates()
		h, err := s.head(tb.Context(), tx, name)
		if err != nil {
			return err
		}
		k, err := s.pendingKey(tx, h, h.state.Operation)
		if err != nil {
			return err
		}
		private, err = k.bytes()
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return private
}
