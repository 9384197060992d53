package localvault

import (
	"bytes"
	"context"
	"encoding/json"
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

// openWithCertificates returns a vault of two certificates, of which one waits for a
// merge, and of a plain secret and key.
func openWithCertificates(tb testing.TB) *Vault {
	tb.Helper()
	dir := tb.TempDir()
	v, err := Open(Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = v.Close() })
	v.db.NoSync = true
	begin := func(object, issuer string) {
		_, err := v.Certificates().CreateCertificate(tb.Context(), name(tb, object).As(broker.KindCertificates), broker.NewCertificate{
			Policy: &broker.CertificatePolicy{Issuer: issuer, Subject: "CN=a", KeyType: broker.KeyTypeEC}, Enabled: true,
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	begin("a", broker.IssuerSelf)
	begin("b", broker.IssuerSelf)
	begin("b", broker.IssuerSelf)
	begin("a", broker.IssuerUnknown)
	if _, err := v.Secrets().SetSecret(tb.Context(), name(tb, "c"), broker.NewSecret{Value: broker.NewValue("plain"), Enabled: true}); err != nil {
		tb.Fatal(err)
	}
	if _, err := v.Keys().CreateKey(tb.Context(), name(tb, "d").As(broker.KindKeys), broker.NewKey{Type: broker.KeyTypeEC, Enabled: true}); err != nil {
		tb.Fatal(err)
	}
	return v
}

// snapshotCertificates is all that a vault answers, by question: "a" stands for the
// certificate, its key and its secret. What it refuses is "".
func snapshotCertificates(tb testing.TB, v *Vault, rows []record) map[string]string {
	tb.Helper()
	ctx, store, all := tb.Context(), v.Certificates(), make(map[string]string)
	answer := func(question string, n broker.Name, got any, err error) {
		question = n.ObjectName() + "/" + n.Version() + " " + question
		switch broker.CodeOf(err) {
		case "":
			all[question] = fmt.Sprint(got)
		case broker.CodeVaultUnavailable, broker.CodeKeyNotFound, broker.CodeSecretNotFound, broker.CodeCertificateNotFound, broker.CodeOperationNotFound:
			all[question] = ""
		default:
			tb.Errorf("%s: %v", question, err)
		}
	}
	use := func(n broker.Name) {
		c, err := store.GetCertificate(ctx, versionOf(tb, n, broker.KindCertificates))
		policy := c.Policy
		c.Policy = nil
		answer("certificate", n, c, err)
		if policy != nil {
			text, err := json.Marshal(policy)
			answer("policy of the certificate", n, string(text), err)
		}
		k, err := v.Keys().GetKey(ctx, versionOf(tb, n, broker.KindKeys))
		answer("key", n, k, err)
		_, err = v.Keys().Sign(ctx, versionOf(tb, n, broker.KindKeys), "ES256", make([]byte, 32))
		answer("sign", n, "yes", err)
		s, err := v.Secrets().GetSecret(ctx, versionOf(tb, n, broker.KindSecrets))
		s.Fetched = time.Time{}
		answer("secret", n, []any{s.Secret, s.Value.Reveal()}, err)
	}
	seen := make(map[broker.Name]bool)
	for _, r := range rows {
		object, id, ok := strings.Cut(r.key, "\x00")
		n := name(tb, object)
		if ok {
			var err error
			if n, err = n.WithVersion(fmt.Sprintf("%x", id)); err != nil {
				tb.Fatal(err)
			}
		}
		if !seen[n] {
			seen[n] = true
			use(n)
		}
	}
	for _, object := range []string{"a", "b"} {
		n := name(tb, object).As(broker.KindCertificates)
		op, err := store.GetCertificateOperation(ctx, n)
		answer("operation", n, op, err)
		if op.Status == broker.OperationInProgress {
			answer("pending key", n, "yes", pendingOpens(ctx, v, n))
		}
		versions, err := store.ListCertificateVersions(ctx, n)
		answer("versions", n, "yes", err)
		for _, c := range versions {
			answer("listed", c.Name, c, nil)
		}
		blob, err := store.BackupCertificate(ctx, n)
		if err != nil {
			answer("backup", n, "", err)
			continue
		}
		b, err := v.openBackup(certificateShelf, blob)
		if err != nil {
			tb.Errorf("a backup does not open: %v", err)
		}
		text, err := json.Marshal(b)
		answer("backup", n, string(text), err)
	}
	page, err := store.ListCertificates(ctx, name(tb, "a").Vault(), broker.Page{})
	if err != nil {
		tb.Errorf("ListCertificates: %v", err)
	}
	for _, c := range page.Certificates {
		answer("in the list", c.Name, c, nil)
	}
	return all
}

// versionOf returns n in another collection, with its version.
func versionOf(tb testing.TB, n broker.Name, kind broker.Kind) broker.Name {
	tb.Helper()
	as := n.As(kind)
	if n.Version() == "" {
		return as
	}
	as, err := as.WithVersion(n.Version())
	if err != nil {
		tb.Fatal(err)
	}
	return as
}

func pendingOpens(ctx context.Context, v *Vault, n broker.Name) error {
	return v.db.View(func(tx *bbolt.Tx) error {
		s := v.certificates()
		h, err := s.head(ctx, tx, n)
		if err == nil {
			_, err = s.pendingKey(tx, h, h.state.Operation)
		}
		if err != nil {
			return &broker.Error{Code: broker.CodeVaultUnavailable, Err: err}
		}
		return nil
	})
}

func TestFlippedBytesOfCertificatesAreDetected(t *testing.T) {
	v := openWithCertificates(t)
	all := records(t, v)
	rows := sorted(all)
	before := snapshotCertificates(t, v, rows)
	flips := 0
	for _, r := range rows {
		if r.belongsTo() != "a" {
			continue
		}
		step := max(1, len(all[r])/60) // of long ones not each byte
		for i := 0; i < len(all[r]); i += step {
			changed := bytes.Clone(all[r])
			changed[i] ^= 1 << (i % 8)
			write(t, v, map[record][]byte{r: changed})
			checkKeysDetected(t, fmt.Sprint("byte ", i, " of ", r), before, snapshotCertificates(t, v, rows), "a")
			flips++
		}
		for _, cut := range [][]byte{{}, all[r][:len(all[r])/2], all[r][:len(all[r])-1], append(bytes.Clone(all[r]), 0), nil} {
			write(t, v, map[record][]byte{r: cut})
			checkKeysDetected(t, fmt.Sprint(r, " cut to ", len(cut)), before, snapshotCertificates(t, v, rows), "a")
		}
		write(t, v, map[record][]byte{r: all[r]})
	}
	if flips < 600 {
		t.Errorf("only %d bytes flipped", flips)
	}
	if got := snapshotCertificates(t, v, rows); !maps.Equal(got, before) {
		t.Error("the vault does not answer as before once its records are")
	}
}

// Records are swapped with each other, across versions, names and kinds.
func TestMovedRecordsOfCertificatesAreDetected(t *testing.T) {
	v := openWithCertificates(t)
	all := records(t, v)
	rows := sorted(all)
	before := snapshotCertificates(t, v, rows)
	moves := 0
	for i, a := range rows {
		for _, b := range rows[i+1:] {
			write(t, v, map[record][]byte{a: all[b], b: all[a]})
			checkKeysDetected(t, fmt.Sprint(a, " swapped with ", b), before, snapshotCertificates(t, v, rows), a.belongsTo(), b.belongsTo())
			write(t, v, map[record][]byte{a: all[a], b: all[b]})
			moves++
		}
	}
	if moves < 300 {
		t.Errorf("only %d moves", moves)
	}
}

// The key and the secret of a certificate cannot be made plain, and changed so, by
// whoever writes the file.
func TestManagedStaysManaged(t *testing.T) {
	v := openWithCertificates(t)
	all := records(t, v)
	write(t, v, map[record][]byte{
		{"secrets", "b"}: all[record{"secrets", "c"}],
		{"keys", "b"}:    all[record{"keys", "d"}],
	})
	n := name(t, "b")
	if _, err := v.Secrets().DeleteSecret(t.Context(), n); broker.CodeOf(err) != broker.CodeVaultUnavailable {
		t.Errorf("DeleteSecret: %v", err)
	}
	if _, err := v.Keys().RotateKey(t.Context(), n.As(broker.KindKeys)); broker.CodeOf(err) != broker.CodeVaultUnavailable {
		t.Errorf("RotateKey: %v", err)
	}
	if _, err := v.Certificates().DeleteCertificate(t.Context(), n.As(broker.KindCertificates)); broker.CodeOf(err) != broker.CodeVaultUnavailable {
		t.Errorf("DeleteCertificate: %v", err)
	}
	write(t, v, map[record][]byte{{"secrets", "b"}: nil, {"keys", "b"}: nil})
	if _, err := v.Secrets().SetSecret(t.Context(), n, broker.NewSecret{Value: broker.NewValue("x"), Enabled: true}); broker.CodeOf(err) != broker.CodeCertificateManaged {
		t.Errorf("SetSecret in place of a certificate's: %v", err)
	}
}

func TestDamagedContacts(t *testing.T) {
	v := openWithCertificates(t)
	store, vault := v.Certificates(), name(t, "a").Vault()
	contacts := []broker.CertificateContact{{Email: "a@example.org", Name: "A"}}
	if _, err := store.SetCertificateContacts(t.Context(), vault, contacts); err != nil {
		t.Fatal(err)
	}
	var stored []byte
	err := v.db.View(func(tx *bbolt.Tx) error {
		stored = bytes.Clone(tx.Bucket(bucketVault).Get(contactsKey))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(stored, []byte("example")) {
		t.Error("contacts are stored in the clear")
	}
	for i := range stored {
		changed := bytes.Clone(stored)
		changed[i] ^= 1 << (i % 8)
		write(t, v, map[record][]byte{{string(bucketVault), string(contactsKey)}: changed})
		if got, err := store.GetCertificateContacts(t.Context(), vault); broker.CodeOf(err) != broker.CodeVaultUnavailable {
			t.Fatalf("byte %d: %v, %v", i, got, err)
		}
	}
	if _, err := store.DeleteCertificateContacts(t.Context(), vault); err != nil {
		t.Errorf("DeleteCertificateContacts: %v", err)
	}
	if got, err := store.SetCertificateContacts(t.Context(), vault, contacts); err != nil || !slices.Equal(got, contacts) {
		t.Errorf("SetCertificateContacts: %v, %v", got, err)
	}
}

// Whatever lies in a record, the vault answers as before or refuses it.
func FuzzStoredCertificateRecords(f *testing.F) {
	fuzzRecords(f, openWithCertificates(f), snapshotCertificates, checkKeysDetected)
}
