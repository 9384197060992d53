package localvault

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/keyward/keyward/broker"
)

// openWithoutA returns a vault whose secret "a" is in the blob only.
func openWithoutA(tb testing.TB) (v *Vault, blob string) {
	tb.Helper()
	v = openFilled(tb)
	store := v.Secrets()
	b, err := store.BackupSecret(tb.Context(), name(tb, "a"))
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := store.DeleteSecret(tb.Context(), name(tb, "a")); err != nil {
		tb.Fatal(err)
	}
	if err := store.PurgeSecret(tb.Context(), name(tb, "a")); err != nil {
		tb.Fatal(err)
	}
	return v, b.Reveal()
}

// wantRefused checks that a blob is refused, and leaves nothing in the file.
func wantRefused(tb testing.TB, v *Vault, what, blob string) {
	tb.Helper()
	before := records(tb, v)
	_, err := v.Secrets().RestoreSecret(tb.Context(), name(tb, "a").Vault(), broker.NewValue(blob))
	if e := broker.AsError(err); e == nil || e.Code != broker.CodeBadField || e.Field != "blob" {
		tb.Errorf("RestoreSecret of %s: %v", what, err)
	}
	if !slices.Equal(sorted(before), sorted(records(tb, v))) {
		tb.Errorf("RestoreSecret of %s left records behind", what)
	}
}

func TestChangedBackupsAreRefused(t *testing.T) {
	v, blob := openWithoutA(t)
	for i := range len(blob) {
		changed := []byte(blob)
		changed[i] ^= 1 << (i % 8)
		wantRefused(t, v, fmt.Sprint("a blob with byte ", i, " changed"), string(changed))
		wantRefused(t, v, fmt.Sprint("a blob cut to ", i), blob[:i])
	}
	wantRefused(t, v, "a blob with more behind", blob+"\x00")
	if _, err := v.Secrets().RestoreSecret(t.Context(), name(t, "a").Vault(), broker.NewValue(blob)); err != nil {
		t.Errorf("RestoreSecret of the blob itself: %v", err)
	}
}

// What the vault itself sealed for another place is no backup.
func TestRecordsAreNoBackups(t *testing.T) {
	v, _ := openWithoutA(t)
	key, err := readMasterKey(filepath.Join(filepath.Dir(v.db.Path()), "vault.key"))
	if err != nil {
		t.Fatal(err)
	}
	plain := []byte(`{"name":"a","versions":[]}`)
	blobs := map[string][]byte{
		"under the master key": newSealer(key, nil).seal(place{purpose: "secret backup"}, plain),
		"for another purpose":  v.backups.seal(place{purpose: "secret state"}, plain),
		"for another secret":   v.backups.seal(place{purpose: "secret backup", name: "a"}, plain),
		"and no JSON":          v.backups.seal(place{purpose: "secret backup"}, []byte("a")),
		"and names no secret":  v.backups.seal(place{purpose: "secret backup"}, []byte(`{"name":"a/b"}`)),
	}
	for r, stored := range records(t, v) {
		blobs["as "+r.String()] = stored
	}
	for _, label := range slices.Sorted(maps.Keys(blobs)) {
		wantRefused(t, v, "a blob sealed "+label, secretShelf.backupPrefix()+string(blobs[label]))
	}
}

// A secret that has lost a record has no backup, whichever it is.
func TestBackupsAreWhole(t *testing.T) {
	v := openFilled(t)
	all := records(t, v)
	versions, err := v.Secrets().ListSecretVersions(t.Context(), name(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	meta := func(i int) record { return rowOf(t, secretShelf.metadata, versions[i].Name) }
	value := func(i int) record { return rowOf(t, secretShelf.values, versions[i].Name) }
	tests := map[string][]record{
		"the first metadata":      {meta(1)},
		"the first value":         {value(1)},
		"the latest metadata":     {meta(0)},
		"the latest value":        {value(0)},
		"all of the latest":       {meta(0), value(0)},
		"all metadata":            {meta(0), meta(1)},
		"all values":              {value(0), value(1)},
		"metadata here and there": {meta(0), value(1)},
	}
	for label, lost := range tests {
		t.Run(label, func(t *testing.T) {
			for _, r := range lost {
				write(t, v, map[record][]byte{r: nil})
			}
			defer write(t, v, all)
			if _, err := v.Secrets().BackupSecret(t.Context(), name(t, "a")); broker.CodeOf(err) != broker.CodeVaultUnavailable {
				t.Errorf("BackupSecret: %v", err)
			}
			if _, err := v.Secrets().BackupSecret(t.Context(), name(t, "b")); err != nil {
				t.Errorf("BackupSecret of another secret: %v", err)
			}
		})
	}
}

func rowOf(t *testing.T, bucket []byte, n broker.Name) record {
	t.Helper()
	ver, ok := parseVersion(n.Version())
	if !ok {
		t.Fatalf("%v has no version", n)
	}
	return record{string(bucket), n.ObjectName() + "\x00" + string(ver[:])}
}

func FuzzRestore(f *testing.F) {
	v, blob := openWithoutA(f)
	f.Add(blob)
	f.Add(blob[:len(blob)-1])
	f.Add(secretShelf.backupPrefix())
	f.Add("")
	f.Fuzz(func(t *testing.T, changed string) {
		if changed == blob {
			t.Skip("the blob itself is restored")
		}
		if len(changed) <= broker.MaxBackupLen {
			wantRefused(t, v, "what is not the blob", changed)
		}
	})
}
