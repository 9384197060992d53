package localvault

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

// owner returns the object that the record is part of, as "keys/a".
func (r record) owner() string {
	kind := broker.KindSecrets
	if strings.HasPrefix(r.bucket, "key") {
		kind = broker.KindKeys
	}
	return string(kind) + "/" + r.belongsTo()
}

// openWithKeys returns a vault of two keys and a secret that is named as one of
// them, each of two versions. The keys are symmetric: what they answer is always
// the same.
func openWithKeys(tb testing.TB) *Vault {
	tb.Helper()
	dir := tb.TempDir()
	v, err := Open(Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key"), ManagedHSM: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = v.Close() })
	v.db.NoSync = true
	for _, object := range []string{"a", "b"} {
		for i := range 2 {
			material := fmt.Sprintf(`{"kty":"oct","k":"%s"}`, base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "sixteen byte %s.%d", object, i)))
			_, err := v.Keys().ImportKey(tb.Context(), name(tb, object).As(broker.KindKeys), broker.KeyImport{
				NewKey:   broker.NewKey{Enabled: true, Tags: map[string]string{"of": fmt.Sprint(object, i)}},
				Material: broker.NewValue(material),
			})
			if err != nil {
				tb.Fatal(err)
			}
			if object == "b" {
				continue
			}
			// As long as a key, so that moved records would fit.
			value := broker.NewSecret{Value: broker.NewValue(fmt.Sprint("sixteen bytes: ", i)), Enabled: true}
			if _, err := v.Secrets().SetSecret(tb.Context(), name(tb, object), value); err != nil {
				tb.Fatal(err)
			}
		}
		_, err := v.Keys().UpdateRotationPolicy(tb.Context(), name(tb, object).As(broker.KindKeys), broker.RotationPolicy{ExpiryTime: "P1Y"})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return v
}

// snapshotKeys is all that a vault answers, by question. What it refuses is "".
func snapshotKeys(tb testing.TB, v *Vault, rows []record) map[string]string {
	tb.Helper()
	ctx, store, all := tb.Context(), v.Keys(), make(map[string]string)
	answer := func(question string, n broker.Name, got any, err error) {
		question = string(n.Kind()) + "/" + n.ObjectName() + "/" + n.Version() + " " + question
		switch broker.CodeOf(err) {
		case "":
			all[question] = fmt.Sprint(got)
		case broker.CodeVaultUnavailable, broker.CodeKeyNotFound, broker.CodeSecretNotFound:
			all[question] = ""
		default:
			tb.Errorf("%s: %v", question, err)
		}
	}
	use := func(n broker.Name) {
		k, err := store.GetKey(ctx, n)
		answer("get", n, k, err)
		s, err := store.Sign(ctx, n, "HS256", []byte("x"))
		answer("sign", n, s, err)
	}
	for _, object := range []string{"a", "b"} {
		n := name(tb, object).As(broker.KindKeys)
		use(n)
		p, err := store.GetRotationPolicy(ctx, n)
		answer("policy", n, p, err)
		versions, err := store.ListKeyVersions(ctx, n)
		answer("versions", n, "", err)
		for _, k := range versions {
			answer("listed", k.Name, k, nil)
		}
		blob, err := store.BackupKey(ctx, n)
		if err == nil {
			b, err := v.openBackup(keyShelf, blob)
			if err != nil {
				tb.Errorf("a backup does not open: %v", err)
			}
			text, err := json.Marshal(b)
			answer("backup", n, string(text), err)
		}
	}
	for _, r := range rows {
		object, id, ok := strings.Cut(r.key, "\x00")
		if !ok || !strings.HasSuffix(r.bucket, "-metadata") {
			continue
		}
		kind, _, _ := strings.Cut(r.owner(), "/")
		n, err := name(tb, object).As(broker.Kind(kind)).WithVersion(fmt.Sprintf("%x", id))
		if err != nil {
			tb.Fatal(err)
		}
		if n.Kind() == broker.KindKeys {
			use(n)
			continue
		}
		s, err := v.Secrets().GetSecret(ctx, n)
		s.Fetched = time.Time{}
		answer("get", n, []any{s.Secret, s.Value.Reveal()}, err)
	}
	page, err := store.ListKeys(ctx, name(tb, "a").Vault(), broker.Page{})
	if err != nil {
		tb.Errorf("ListKeys: %v", err)
	}
	for _, k := range page.Keys {
		answer("in the list", k.Name, k, nil)
	}
	return all
}

// checkKeysDetected is checkDetected by kind and name.
func checkKeysDetected(tb testing.TB, what string, before, after map[string]string, changed ...string) {
	tb.Helper()
	refused := false
	for question, want := range before {
		got := after[question]
		if got == want {
			continue
		}
		ours := false
		for _, owner := range changed {
			ours = ours || strings.HasPrefix(question, owner+"/")
		}
		switch {
		case !ours:
			tb.Errorf("%s: %s is no longer answered", what, question)
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

func TestFlippedBytesOfKeysAreDetected(t *testing.T) {
	v := openWithKeys(t)
	all := records(t, v)
	rows := sorted(all)
	before := snapshotKeys(t, v, rows)
	flips := 0
	for _, r := range rows {
		if r.owner() != "keys/a" {
			continue
		}
		for i := range all[r] {
			changed := bytes.Clone(all[r])
			changed[i] ^= 1 << (i % 8)
			write(t, v, map[record][]byte{r: changed})
			checkKeysDetected(t, fmt.Sprint("byte ", i, " of ", r), before, snapshotKeys(t, v, rows), r.owner())
			flips++
		}
		for _, cut := range [][]byte{{}, all[r][:len(all[r])/2], all[r][:len(all[r])-1], append(bytes.Clone(all[r]), 0), nil} {
			write(t, v, map[record][]byte{r: cut})
			checkKeysDetected(t, fmt.Sprint(r, " cut to ", len(cut)), before, snapshotKeys(t, v, rows), r.owner())
		}
		write(t, v, map[record][]byte{r: all[r]})
	}
	if flips < 500 {
		t.Errorf("only %d bytes flipped", flips)
	}
	if got := snapshotKeys(t, v, rows); !maps.Equal(got, before) {
		t.Error("the vault does not answer as before once its records are")
	}
}

// Records of keys and secrets are swapped with each other, across versions, names
// and kinds.
func TestMovedRecordsOfKeysAreDetected(t *testing.T) {
	v := openWithKeys(t)
	all := records(t, v)
	rows := sorted(all)
	before := snapshotKeys(t, v, rows)
	moves := 0
	for i, a := range rows {
		for _, b := range rows[i+1:] {
			if !strings.HasPrefix(a.owner(), "keys/") && !strings.HasPrefix(b.owner(), "keys/") {
				continue // that is the secrets' test
			}
			write(t, v, map[record][]byte{a: all[b], b: all[a]})
			checkKeysDetected(t, fmt.Sprint(a, " swapped with ", b), before, snapshotKeys(t, v, rows), a.owner(), b.owner())
			write(t, v, map[record][]byte{a: all[a], b: all[b]})
			moves++
		}
	}
	if moves < 90 {
		t.Errorf("only %d moves", moves)
	}
}

// All records of a key, put on the secrets' shelf: a private key must not be read
// as a secret.
func TestKeysAreNotReadAsSecrets(t *testing.T) {
	v := openWithKeys(t)
	moved := make(map[record][]byte)
	for r, stored := range records(t, v) {
		switch {
		case r.owner() != "keys/b":
		case r.bucket == string(keyShelf.heads):
			moved[record{string(secretShelf.heads), r.key}] = stored
		case r.bucket == string(keyShelf.metadata):
			moved[record{string(secretShelf.metadata), r.key}] = stored
		default:
			moved[record{string(secretShelf.values), r.key}] = stored
		}
	}
	write(t, v, moved)
	if _, err := v.Secrets().GetSecret(t.Context(), name(t, "b")); broker.CodeOf(err) != broker.CodeVaultUnavailable {
		t.Errorf("GetSecret of a key that was moved: %v", err)
	}
}

// Whatever lies in a record, the vault answers as before or refuses it.
func FuzzStoredKeyRecords(f *testing.F) {
	v := openWithKeys(f)
	all := records(f, v)
	rows := sorted(all)
	before := snapshotKeys(f, v, rows)
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
		after := snapshotKeys(t, v, rows)
		if bytes.Equal(stored, all[r]) || r.bucket == string(secretShelf.heads) {
			return // the secrets' own target looks at these
		}
		checkKeysDetected(t, r.String(), before, after, r.owner())
	})
}
