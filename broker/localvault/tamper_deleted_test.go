package localvault

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/keyward/keyward/broker"
)

// What is damaged while it is deleted is refused as such, or once it is back. A
// damage never makes a deleted secret a live one.
func TestDamagedDeletedSecrets(t *testing.T) {
	v := openFilled(t)
	store, gone := v.Secrets(), name(t, "b")
	whole := snapshot(t, v, sorted(records(t, v)))
	if _, err := store.DeleteSecret(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	all := records(t, v)
	rows := sorted(all)
	deleted := snapshotDeleted(t, v)
	if len(deleted) != 2 {
		t.Fatalf("answers of one deleted secret: %v", deleted)
	}
	for _, r := range rows {
		if r.belongsTo() != "b" {
			continue
		}
		for i := range all[r] {
			what := fmt.Sprint("byte ", i, " of ", r)
			damaged := bytes.Clone(all[r])
			damaged[i] ^= 1 << (i % 8)
			write(t, v, map[record][]byte{r: damaged})
			for question, got := range snapshotDeleted(t, v) {
				if got != deleted[question] {
					t.Errorf("%s: %s is answered with something else", what, question)
				}
			}
			if _, err := store.GetSecret(t.Context(), gone); err == nil {
				t.Errorf("%s: the deleted secret is served", what)
			}
			if _, err := store.RecoverSecret(t.Context(), gone); err == nil {
				checkDetected(t, what, whole, snapshot(t, v, rows), "b")
			} else if broker.CodeOf(err) != broker.CodeVaultUnavailable {
				t.Errorf("%s: RecoverSecret: %v", what, err)
			}
			write(t, v, all)
		}
	}
}

// A purge takes every row of the name, damaged ones too, and nobody else's.
func TestPurgeOverDamage(t *testing.T) {
	v := openFilled(t)
	store, gone := v.Secrets(), name(t, "b")
	if _, err := store.DeleteSecret(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	left := records(t, v)
	for r, stored := range left {
		if r.belongsTo() != "b" {
			continue
		}
		if r.bucket != string(secretShelf.heads) {
			stored[0] ^= 1
			write(t, v, map[record][]byte{r: stored})
		}
		delete(left, r)
	}
	if err := store.PurgeSecret(t.Context(), gone); err != nil {
		t.Fatalf("PurgeSecret: %v", err)
	}
	got := records(t, v)
	for r := range got {
		if _, ok := left[r]; !ok {
			t.Errorf("%v is left of the purged secret", r)
		}
	}
	for r := range left {
		if _, ok := got[r]; !ok {
			t.Errorf("%v of another secret was purged", r)
		}
	}
}

// snapshotDeleted is all that a vault answers of deleted secrets, by question.
func snapshotDeleted(t *testing.T, v *Vault) map[string]string {
	t.Helper()
	store, all := v.Secrets(), make(map[string]string)
	for _, object := range []string{"a", "b", "c"} {
		d, err := store.GetDeletedSecret(t.Context(), name(t, object))
		switch broker.CodeOf(err) {
		case "":
			all["get "+object] = fmt.Sprint(d)
		case broker.CodeVaultUnavailable, broker.CodeSecretNotFound:
		default:
			t.Errorf("GetDeletedSecret %s: %v", object, err)
		}
	}
	page, err := store.ListDeletedSecrets(t.Context(), name(t, "a").Vault(), broker.Page{})
	if err != nil {
		t.Errorf("ListDeletedSecrets: %v", err)
	}
	for _, d := range page.Secrets {
		all["list "+d.Name.ObjectName()] = fmt.Sprint(d)
	}
	return all
}
