package localvault

import (
	"bytes"
	"testing"
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
