package localvault

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// A record is one entry of the vault's file.
type record struct{ bucket, key string }

func (r record) String() string { return fmt.Sprintf("%s %q", r.bucket, r.key) }

// belongsTo returns the secret that the record is part of.
func (r record) belongsTo() string {
	name, _, _ := strings.Cut(r.key, "\x00")
	return name
}

// openFilled returns a vault of a few secrets, that syncs nothing.
func openFilled(tb testing.TB) *Vault {
	tb.Helper()
	dir := tb.TempDir()
	v, err := Open(Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = v.Close() })
	v.db.NoSync = true
	for _, object := range []string{"a", "b", "c"} {
		for i := range 2 {
			_, err := v.Secrets().SetSecret(tb.Context(), name(tb, object), broker.NewSecret{
				// Equal in length, so that moved records would fit.
				Value: broker.NewValue(fmt.Sprint("value ", object, i)), Enabled: true,
				ContentType: fmt.Sprint("type ", object, i), Tags: map[string]string{"of": fmt.Sprint(object, i)},
			})
			if err != nil {
				tb.Fatal(err)
			}
		}
	}
	return v
}

func name(tb testing.TB, object string) broker.Name {
	tb.Helper()
	v, err := broker.VaultName("local")
	if err != nil {
		tb.Fatal(err)
	}
	n, err := v.Object(broker.KindSecrets, object)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func records(tb testing.TB, v *Vault) map[record][]byte {
	tb.Helper()
	all := make(map[record][]byte)
	err := v.db.View(func(tx *bbolt.Tx) error {
		for _, s := range shelves {
			for _, bucket := range s.buckets() {
				err := tx.Bucket(bucket).ForEach(func(k, stored []byte) error {
					all[record{string(bucket), string(k)}] = bytes.Clone(stored)
					return nil
				})
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

func write(tb testing.TB, v *Vault, changes map[record][]byte) {
	tb.Helper()
	err := v.db.Update(func(tx *bbolt.Tx) error {
		for r, stored := range changes {
			b := tx.Bucket([]byte(r.bucket))
			if stored == nil {
				if err := b.Delete([]byte(r.key)); err != nil {
					return err
				}
			} else if err := b.Put([]byte(r.key), stored); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// snapshot is all that a vault answers, by question. What it refuses is "".
func snapshot(tb testing.TB, v *Vault, versions []record) map[string]string {
	tb.Helper()
	store, all := v.Secrets(), make(map[string]string)
	get := func(n broker.Name) {
		s, err := store.GetSecret(tb.Context(), n)
		switch broker.CodeOf(err) {
		case "":
			s.Fetched = time.Time{}
			all["get "+n.String()] = fmt.Sprint(s.Secret, s.Value.Reveal())
		case broker.CodeVaultUnavailable, broker.CodeSecretNotFound:
			all["get "+n.String()] = ""
		default:
			tb.Errorf("GetSecret %v: %v", n, err)
		}
	}
	for _, object := range []string{"a", "b", "c"} {
		get(name(tb, object))
		list, err := store.ListSecretVersions(tb.Context(), name(tb, object))
		if c := broker.CodeOf(err); c != "" && c != broker.CodeVaultUnavailable && c != broker.CodeSecretNotFound {
			tb.Errorf("ListSecretVersions: %v", err)
		}
		for _, s := range list {
			all["versions "+s.Name.String()] = fmt.Sprint(s)
		}
		blob, err := store.BackupSecret(tb.Context(), name(tb, object))
		switch broker.CodeOf(err) {
		case "":
			b, err := v.openBackup(secretShelf, blob)
			if err != nil {
				tb.Errorf("a backup does not open: %v", err)
			}
			all["backup "+name(tb, object).String()] = fmt.Sprint(b)
		case broker.CodeVaultUnavailable, broker.CodeSecretNotFound:
		default:
			tb.Errorf("BackupSecret: %v", err)
		}
	}
	for _, r := range versions {
		object, id, ok := strings.Cut(r.key, "\x00")
		if !ok || r.bucket != string(secretShelf.metadata) {
			continue
		}
		n, err := name(tb, object).WithVersion(fmt.Sprintf("%x", id))
		if err != nil {
			tb.Fatal(err)
		}
		get(n)
	}
	page, err := store.ListSecrets(tb.Context(), name(tb, "a").Vault(), broker.Page{})
	if c := broker.CodeOf(err); c != "" && c != broker.CodeVaultUnavailable {
		tb.Errorf("ListSecrets: %v", err)
	}
	for _, s := range page.Secrets {
		all["list "+s.Name.String()] = fmt.Sprint(s)
	}
	return all
}

// checkDetected compares answers before and after some secrets' records were
// changed. The vault must have refused something of theirs, answered nothing
// wrong, and served all others as before.
func checkDetected(tb testing.TB, what string, before, after map[string]string, changed ...string) {
	tb.Helper()
	refused := false
	for question, want := range before {
		got := after[question]
		if got == want {
			continue
		}
		ours := false
		for _, object := range changed {
			ours = ours || strings.Contains(question+"/", "/secrets/"+object+"/")
		}
		switch {
		case !ours:
			tb.Errorf("%s: %s is no longer served", what, question)
		case got != "":
			tb.Errorf("%s: %s is answered with something else", what, question)
		}
		refused = true
	}
	for question := range after {
		if _, ok := before[question]; !ok {
			tb.Errorf("%s: %s is new", what, question)
		}
	}
	if !refused {
		tb.Errorf("%s: not detected", what)
	}
}

func TestFlippedBytesAreDetected(t *testing.T) {
	v := openFilled(t)
	all := records(t, v)
	rows := sorted(all)
	before := snapshot(t, v, rows)
	flips := 0
	for _, r := range rows {
		if r.belongsTo() == "c" {
			continue
		}
		for i := range all[r] {
			changed := bytes.Clone(all[r])
			changed[i] ^= 1 << (i % 8)
			write(t, v, map[record][]byte{r: changed})
			checkDetected(t, fmt.Sprint("byte ", i, " of ", r), before, snapshot(t, v, rows), r.belongsTo())
			flips++
		}
		write(t, v, map[record][]byte{r: all[r]})
	}
	if flips < 500 {
		t.Errorf("only %d bytes flipped", flips)
	}
	if got := snapshot(t, v, rows); !maps.Equal(got, before) {
		t.Error("the vault does not answer as before once its records are")
	}
}

func TestCutAndLostRecordsAreNotServed(t *testing.T) {
	v := openFilled(t)
	all := records(t, v)
	rows := sorted(all)
	before := snapshot(t, v, rows)
	for _, r := range rows {
		for _, changed := range [][]byte{
			{}, all[r][:1], all[r][:len(all[r])/2], all[r][:len(all[r])-1], append(bytes.Clone(all[r]), 0), nil,
		} {
			write(t, v, map[record][]byte{r: changed})
			checkDetected(t, fmt.Sprint(r, " cut to ", len(changed)), before, snapshot(t, v, rows), r.belongsTo())
		}
		write(t, v, map[record][]byte{r: all[r]})
	}
}

func TestMovedRecordsAreDetected(t *testing.T) {
	v := openFilled(t)
	all := records(t, v)
	rows := sorted(all)
	before := snapshot(t, v, rows)
	for i, a := range rows {
		for _, b := range rows[i+1:] {
			write(t, v, map[record][]byte{a: all[b], b: all[a]})
			checkDetected(t, fmt.Sprint(a, " swapped with ", b), before, snapshot(t, v, rows), a.belongsTo(), b.belongsTo())
			write(t, v, map[record][]byte{a: all[a], b: all[b]})
		}
	}
}

// A record of one vault does not open in another, even under one master key.
func TestRecordsOfAnotherVaultAreDetected(t *testing.T) {
	dir := t.TempDir()
	var vaults []*Vault
	for _, file := range []string{"one.db", "two.db"} {
		v, err := Open(Config{Path: filepath.Join(dir, file), KeyFile: filepath.Join(dir, "vault.key")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = v.Close() })
		if _, err := v.Secrets().SetSecret(t.Context(), name(t, "a"), broker.NewSecret{Value: broker.NewValue(file), Enabled: true}); err != nil {
			t.Fatal(err)
		}
		vaults = append(vaults, v)
	}
	write(t, vaults[1], records(t, vaults[0]))
	if _, err := vaults[1].Secrets().GetSecret(t.Context(), name(t, "a")); broker.CodeOf(err) != broker.CodeVaultUnavailable {
		t.Errorf("GetSecret of another vault's record: %v", err)
	}
}

func FuzzStoredRecords(f *testing.F) { fuzzRecords(f, openFilled(f), snapshot, checkDetected) }

// fuzzRecords puts whatever there is into one record after another: what is answered
// then, of which snapshot tells, is as before or, as check finds, refused.
func fuzzRecords(
	f *testing.F, v *Vault,
	snapshot func(testing.TB, *Vault, []record) map[string]string,
	check func(tb testing.TB, what string, before, after map[string]string, changed ...string),
) {
	f.Helper()
	all := records(f, v)
	rows := sorted(all)
	before := snapshot(f, v, rows)
	for i, r := range rows {
		f.Add(i, all[r])
		f.Add(i, all[rows[0]])
		f.Add(i, []byte{})
	}
	f.Fuzz(func(t *testing.T, i int, stored []byte) {
		r := rows[uint(i)%uint(len(rows))]
		if stored == nil {
			stored = []byte{}
		}
		write(t, v, map[record][]byte{r: stored})
		defer write(t, v, map[record][]byte{r: all[r]})
		after := snapshot(t, v, rows)
		if bytes.Equal(stored, all[r]) {
			if !maps.Equal(before, after) {
				t.Errorf("%v: an unchanged record is not served", r)
			}
			return
		}
		check(t, r.String(), before, after, r.belongsTo())
	})
}

func sorted(all map[record][]byte) []record {
	return slices.SortedFunc(maps.Keys(all), func(a, b record) int {
		return cmp.Or(strings.Compare(a.bucket, b.bucket), strings.Compare(a.key, b.key))
	})
}

// All records of one secret, moved together under another's name.
func TestRenamedSecretsAreDetected(t *testing.T) {
	v := openFilled(t)
	all := records(t, v)
	moved := make(map[record][]byte)
	for r, stored := range all {
		switch object, version, _ := strings.Cut(r.key, "\x00"); {
		case object == "a" && version == "":
			moved[record{r.bucket, "b"}] = stored
		case object == "a":
			moved[record{r.bucket, "b\x00" + version}] = stored
		}
	}
	write(t, v, moved)
	if _, err := v.Secrets().GetSecret(t.Context(), name(t, "b")); broker.CodeOf(err) != broker.CodeVaultUnavailable {
		t.Errorf("GetSecret of a secret that was renamed in the file: %v", err)
	}
}
