package localvault

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

// A secret whose version is damaged can be set anew; one whose head is damaged
// is refused, because nobody knows whether it was deleted.
func TestSetOverDamage(t *testing.T) {
	v := openFilled(t)
	for r, stored := range records(t, v) {
		if r.bucket != string(secretShelf.heads) || r.key == "b" {
			stored[len(stored)-1] ^= 1
			write(t, v, map[record][]byte{r: stored})
		}
	}
	store, anew := v.Secrets(), broker.NewSecret{Value: broker.NewValue("anew"), Enabled: true}
	if _, err := store.SetSecret(t.Context(), name(t, "a"), anew); err != nil {
		t.Errorf("SetSecret over damaged versions: %v", err)
	}
	if s, err := store.GetSecret(t.Context(), name(t, "a")); err != nil || s.Value.Reveal() != "anew" {
		t.Errorf("GetSecret of the version set anew: %v", err)
	}
	if _, err := store.SetSecret(t.Context(), name(t, "b"), anew); broker.CodeOf(err) != broker.CodeVaultUnavailable {
		t.Errorf("SetSecret over a damaged head: %v", err)
	}
	if _, err := store.DeleteSecret(t.Context(), name(t, "b")); broker.CodeOf(err) != broker.CodeVaultUnavailable {
		t.Errorf("DeleteSecret of a damaged head: %v", err)
	}
}

// An update seals a version anew. It must not do so with one that is damaged.
func TestUpdateOfDamage(t *testing.T) {
	v := openFilled(t)
	all := records(t, v)
	rows := sorted(all)
	for _, r := range rows {
		if r.bucket == string(secretShelf.values) {
			continue // an update reads no value
		}
		damaged := bytes.Clone(all[r])
		damaged[len(damaged)/2] ^= 1
		write(t, v, map[record][]byte{r: damaged})
		n := name(t, r.belongsTo())
		if _, id, ok := strings.Cut(r.key, "\x00"); ok {
			var err error
			if n, err = n.WithVersion(fmt.Sprintf("%x", id)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := v.Secrets().UpdateSecret(t.Context(), n, broker.SecretUpdate{ContentType: new("x")})
		if broker.CodeOf(err) != broker.CodeVaultUnavailable {
			t.Errorf("UpdateSecret over damaged %v: %v", r, err)
		}
		if got := records(t, v)[r]; !bytes.Equal(got, damaged) {
			t.Errorf("UpdateSecret wrote over damaged %v", r)
		}
		write(t, v, map[record][]byte{r: all[r]})
	}
}
