package brokertest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

// wantPair checks whether the key and the secret of a certificate can be read and
// used, and how they are shown as deleted.
func (f certFixture) wantPair(when string, c broker.Certificate, lives bool) {
	f.Helper()
	ctx := f.Context()
	_, signs := f.keys.Sign(ctx, c.Key, "ES256", make([]byte, 32))
	_, reads := f.secrets.GetSecret(ctx, c.Secret)
	_, deletedKey := f.keys.GetDeletedKey(ctx, c.Key.Base())
	_, deletedSecret := f.secrets.GetDeletedSecret(ctx, c.Secret.Base())
	if lives {
		f.wantCode("Sign "+when, signs, "")
		f.wantCode("GetSecret "+when, reads, "")
		f.wantCode("GetDeletedKey "+when, deletedKey, broker.CodeKeyNotFound)
		f.wantCode("GetDeletedSecret "+when, deletedSecret, broker.CodeSecretNotFound)
		return
	}
	f.wantCode("Sign "+when, signs, broker.CodeKeyNotFound)
	f.wantCode("GetSecret "+when, reads, broker.CodeSecretNotFound)
	f.wantCode("GetDeletedKey "+when, deletedKey, "")
	f.wantCode("GetDeletedSecret "+when, deletedSecret, "")
	for d := range (keyFixture{T: f.T, store: f.keys, vault: f.vault}).listDeleted(0, broker.MaxStorePage) {
		if d.Name == c.Key.Base() {
			f.Errorf("ListDeletedKeys %s shows a certificate's", when)
		}
	}
	for d := range (fixture{T: f.T, store: f.secrets, vault: f.vault}).listDeleted(0, broker.MaxStorePage) {
		if d.Name == c.Secret.Base() {
			f.Errorf("ListDeletedSecrets %s shows a certificate's", when)
		}
	}
}

func testDeleteCertificate(f certFixture) {
	ctx, name := f.Context(), f.name("deleted")
	first := f.make(name, selfSigned())
	last := f.create(name, broker.NewCertificate{Enabled: true, Tags: map[string]string{"a": "b"}})
	kept := f.make(f.name("deleted-not"), selfSigned())
	d := f.delete(name)
	if d.Name != name || d.Deleted.IsZero() || d.Purges.Before(d.Deleted.Add(7*24*time.Hour)) || !bytes.Equal(d.DER, last.DER) || d.Tags["a"] != "b" {
		f.Errorf("DeleteCertificate: %v, %v, %v", d.Name, d.Deleted, d.Purges)
	}
	for _, n := range []broker.Name{name, first.Name} {
		_, err := f.store.GetCertificate(ctx, n)
		f.wantCode("GetCertificate", err, broker.CodeCertificateNotFound)
	}
	_, err := f.store.CreateCertificate(ctx, name, broker.NewCertificate{Policy: selfSigned(), Enabled: true})
	f.wantCode("CreateCertificate over a deleted one", err, broker.CodeCertificateSoftDeleted)
	_, err = f.store.ImportCertificate(ctx, name, broker.CertificateImport{Material: issueFor(f.T).pem(), Enabled: true})
	f.wantCode("ImportCertificate over a deleted one", err, broker.CodeCertificateSoftDeleted)
	if _, ok := f.listed()[name]; ok {
		f.Error("ListCertificates shows a deleted one")
	}
	item, ok := f.listedDeleted()[name]
	if !ok || !item.Deleted.Equal(d.Deleted) || !bytes.Equal(item.Thumbprint, last.Thumbprint) || len(item.DER) != 0 {
		f.Errorf("ListDeletedCertificates: %v, %v", ok, item)
	}
	got, err := f.store.GetDeletedCertificate(ctx, name)
	if err != nil || !got.Deleted.Equal(d.Deleted) || !got.Purges.Equal(d.Purges) || !bytes.Equal(got.DER, last.DER) || got.Policy == nil {
		f.Errorf("GetDeletedCertificate: %v, %v", got, err)
	}
	f.wantPair("of a deleted certificate", last, false)
	f.wantPair("of another", kept, true)

	recovered, err := f.store.RecoverCertificate(ctx, name)
	if err != nil {
		f.Fatalf("RecoverCertificate: %v", err)
	}
	f.wantSame("RecoverCertificate", recovered, last)
	f.wantSame("the first version", f.get(first.Name), first)
	f.wantPair("of a recovered certificate", first, true)
	_, err = f.store.RecoverCertificate(ctx, name)
	f.wantCode("RecoverCertificate, again", err, broker.CodeCertificateNotFound)

	f.purge(name)
	_, err = f.store.GetDeletedCertificate(ctx, name)
	f.wantCode("GetDeletedCertificate of a purged one", err, broker.CodeCertificateNotFound)
	_, err = f.keys.GetDeletedKey(ctx, last.Key.Base())
	f.wantCode("GetDeletedKey of a purged one", err, broker.CodeKeyNotFound)
	_, err = f.secrets.GetDeletedSecret(ctx, last.Secret.Base())
	f.wantCode("GetDeletedSecret of a purged one", err, broker.CodeSecretNotFound)
	// The name is free, for whatever.
	if _, err := f.secrets.SetSecret(ctx, last.Secret.Base(), broker.NewSecret{Value: broker.NewValue("plain"), Enabled: true}); err != nil {
		f.Errorf("SetSecret over a purged certificate: %v", err)
	}
}

// What is still being made can be deleted and recovered.
func testDeleteUnfinished(f certFixture) {
	ctx, name := f.Context(), f.name("unfinished")
	op := f.begin(name, broker.NewCertificate{Policy: toSign(), Enabled: true})
	if d := f.delete(name); d.Enabled || len(d.DER) != 0 || d.Policy == nil {
		f.Errorf("DeleteCertificate: %v", d)
	}
	if _, err := f.store.RecoverCertificate(ctx, name); err != nil {
		f.Fatalf("RecoverCertificate: %v", err)
	}
	if _, err := f.store.MergeCertificate(ctx, name, broker.CertificateMerge{Chain: f.signed(op.CSR, authority(f.T)).ders(), Enabled: true}); err != nil {
		f.Errorf("MergeCertificate: %v", err)
	}
	f.purge(name)
	f.make(name, selfSigned())
}

func testRestoreCertificate(f certFixture) {
	ctx, name := f.Context(), f.name("restore")
	p := selfSigned()
	p.ValidityMonths = 7
	first := f.make(name, p)
	last := f.create(name, broker.NewCertificate{Policy: p, Tags: map[string]string{"a": "b"}, Enabled: true})
	material := f.material(first)
	blob, err := f.store.BackupCertificate(ctx, name)
	if err != nil {
		f.Fatalf("BackupCertificate: %v", err)
	}
	_, err = f.store.RestoreCertificate(ctx, f.vault, blob)
	f.wantCode("RestoreCertificate over a live one", err, broker.CodeCertificateExists)
	f.create(name, broker.NewCertificate{Enabled: true}) // after the backup
	f.delete(name)
	_, err = f.store.RestoreCertificate(ctx, f.vault, blob)
	f.wantCode("RestoreCertificate over a deleted one", err, broker.CodeCertificateSoftDeleted)
	if err := f.store.PurgeCertificate(ctx, name); err != nil {
		f.Fatal(err)
	}
	restored, err := f.store.RestoreCertificate(ctx, f.vault, blob)
	if err != nil {
		f.Fatalf("RestoreCertificate: %v", err)
	}
	f.wantWhole("RestoreCertificate", restored)
	f.wantSame("RestoreCertificate", restored, last)
	f.wantSame("GetCertificate of the first", f.get(first.Name), first)
	if got := f.material(first); got.Key != material.Key {
		f.Error("the first version came back with another key")
	}
	f.wantPair("of a restored certificate", first, true)
	if restored.Policy.ValidityMonths != 7 || len(f.versions(name)) != 2 {
		f.Errorf("validity %d, %d versions", restored.Policy.ValidityMonths, len(f.versions(name)))
	}
	k, err := f.keys.GetKey(ctx, first.Key)
	if err != nil || !k.Managed {
		f.Errorf("GetKey of a restored certificate: managed %v, %v", k.Managed, err)
	}
	f.create(name, broker.NewCertificate{Enabled: true})
}

func testBadCertificateBlobs(f certFixture) {
	ctx, name := f.Context(), f.name("blobs")
	f.make(name, selfSigned())
	value, err := f.store.BackupCertificate(ctx, name)
	if err != nil {
		f.Fatal(err)
	}
	f.purge(name)
	secret := name.As(broker.KindSecrets)
	if _, err := f.secrets.SetSecret(ctx, secret, broker.NewSecret{Value: broker.NewValue("plain"), Enabled: true}); err != nil {
		f.Fatal(err)
	}
	_, err = f.store.RestoreCertificate(ctx, f.vault, value)
	f.wantCode("RestoreCertificate over a plain secret", err, broker.CodeCertificateExists)
	plain, err := f.secrets.BackupSecret(ctx, secret)
	if err != nil {
		f.Fatal(err)
	}
	text := value.Reveal()
	for label, blob := range map[string]string{
		"nothing": "", "no backup": "no backup", "a secret's": plain.Reveal(), "cut short": text[:len(text)/2], "longer": text + "7777",
	} {
		_, err := f.store.RestoreCertificate(ctx, f.vault, broker.NewValue(blob))
		f.wantCode("RestoreCertificate of a blob that is "+label, err, broker.CodeBadField)
	}
	_, err = f.secrets.RestoreSecret(ctx, f.vault, value)
	f.wantCode("RestoreSecret of a certificate's blob", err, broker.CodeBadField)
}

func testListCertificates(f certFixture) {
	want := make(map[broker.Name]bool)
	for i := range 28 {
		name := f.name(fmt.Sprintf("listed-%02d", i))
		f.make(name, selfSigned())
		want[name] = true
		if i%9 == 0 { // among them some that are not to be shown
			f.begin(f.name(fmt.Sprintf("listed-%02d-not", i)), broker.NewCertificate{Policy: toSign(), Enabled: true})
		}
	}
	for _, size := range []int{0, 1, 7, 1000} {
		f.Run(fmt.Sprint("size ", size), func(t *testing.T) {
			f := f.in(t)
			most := size
			if most == 0 || most > broker.MaxStorePage {
				most = broker.MaxStorePage
			}
			seen := make(map[broker.Name]bool)
			for c := range pages(f.T, "ListCertificates", size, most, func(p broker.Page) ([]broker.Certificate, string, error) {
				page, err := f.store.ListCertificates(f.Context(), f.vault, p)
				return page.Certificates, page.Next, err
			}) {
				if seen[c.Name] || !want[c.Name] {
					f.Errorf("%v is listed twice, or is not to be listed", c.Name)
				}
				seen[c.Name] = true
			}
			if len(seen) != len(want) {
				f.Errorf("%d listed, want %d", len(seen), len(want))
			}
		})
	}
	_, err := f.store.ListCertificates(f.Context(), f.vault, broker.Page{Token: "\x00 no token"})
	if err == nil {
		f.Error("ListCertificates took a token that it never gave")
	}
}

func testCertificatePolicy(f certFixture) {
	ctx, name := f.Context(), f.name("policy")
	first := f.make(name, &broker.CertificatePolicy{
		Issuer: broker.IssuerSelf, Subject: "CN=DefaultPolicy", KeySize: 2048, ReuseKey: new(true), KeyUsages: []string{"dataEncipherment"},
		Names: broker.AlternativeNames{DNSNames: []string{"localhost"}}, Transparency: new(false),
		Actions: []broker.CertificateAction{{Type: broker.ActionTypeEmailContacts, LifetimePercentage: 98}},
	})
	before, err := f.store.GetCertificatePolicy(ctx, name)
	if err != nil || before.Created.IsZero() || before.Subject != "CN=DefaultPolicy" || !*before.ReuseKey {
		f.Fatalf("GetCertificatePolicy: %+v, %v", before, err)
	}
	after, err := f.store.UpdateCertificatePolicy(ctx, name, broker.CertificatePolicy{KeyType: broker.KeyTypeEC, Curve: broker.CurveP384, ReuseKey: new(false)})
	if err != nil {
		f.Fatalf("UpdateCertificatePolicy: %v", err)
	}
	got, err := f.store.GetCertificatePolicy(ctx, name)
	for what, p := range map[string]broker.CertificatePolicy{"UpdateCertificatePolicy": after, "GetCertificatePolicy": got} {
		if err != nil || p.KeyType != broker.KeyTypeEC || p.Curve != broker.CurveP384 || *p.ReuseKey || p.Subject != before.Subject ||
			!slices.Equal(p.KeyUsages, before.KeyUsages) || !slices.Equal(p.Names.DNSNames, before.Names.DNSNames) || !slices.Equal(p.Actions, before.Actions) ||
			!p.Created.Equal(before.Created) || p.Updated.Before(before.Updated) {
			f.Errorf("%s: %+v, %v", what, p, err)
		}
	}
	f.wantSame("the version that is there", f.get(name), first)
	next := f.create(name, broker.NewCertificate{Enabled: true})
	if k, err := f.keys.GetKey(ctx, next.Key); err != nil || k.JWK.Curve != broker.CurveP384 {
		f.Errorf("the next version's key: %v, %v", k.JWK.Curve, err)
	}
	for label, p := range map[string]broker.CertificatePolicy{
		"a bad subject": {Subject: "nobody"}, "a bad size": {KeyType: broker.KeyTypeRSA, KeySize: 1000}, "a bad validity": {ValidityMonths: 5000},
		"a bad action": {Actions: []broker.CertificateAction{{Type: "Sell", DaysBeforeExpiry: 3}}},
	} {
		_, err := f.store.UpdateCertificatePolicy(ctx, name, p)
		f.wantCode("UpdateCertificatePolicy to "+label, err, broker.CodeBadField)
	}
	if p, err := f.store.GetCertificatePolicy(ctx, name); err != nil || p.Subject != "CN=DefaultPolicy" || p.ValidityMonths != 12 {
		f.Errorf("GetCertificatePolicy after refused updates: %+v, %v", p, err)
	}
}

func testContacts(f certFixture) {
	ctx := f.Context()
	if got, err := f.store.GetCertificateContacts(ctx, f.vault); err != nil || len(got) != 0 {
		f.Errorf("GetCertificateContacts: %v, %v; want none", got, err)
	}
	want := []broker.CertificateContact{{Email: "one@localhost", Name: "One", Phone: "1111111111"}, {Email: "two@localhost"}}
	got, err := f.store.SetCertificateContacts(ctx, f.vault, want)
	if err != nil || !slices.Equal(got, want) {
		f.Errorf("SetCertificateContacts: %v, %v", got, err)
	}
	if got, err = f.store.GetCertificateContacts(ctx, f.vault); err != nil || !slices.Equal(got, want) {
		f.Errorf("GetCertificateContacts: %v, %v", got, err)
	}
	if got, err = f.store.DeleteCertificateContacts(ctx, f.vault); err != nil || !slices.Equal(got, want) {
		f.Errorf("DeleteCertificateContacts: %v, %v", got, err)
	}
	if got, err = f.store.GetCertificateContacts(ctx, f.vault); err != nil || len(got) != 0 {
		f.Errorf("GetCertificateContacts: %v, %v; want none", got, err)
	}
}

func testIssuers(f certFixture) {
	name, err := f.vault.Object(broker.KindCertificateIssuers, f.unique)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := f.store.ListCertificateIssuers(f.Context(), f.vault, broker.Page{}); err != nil {
		f.Errorf("ListCertificateIssuers: %v", err)
	}
	_, err = f.store.GetCertificateIssuer(f.Context(), name)
	f.wantCode("GetCertificateIssuer of none", err, broker.CodeIssuerNotFound)
}
