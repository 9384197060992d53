package localvault_test

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"io"
	"os"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

// stored returns the configuration of a vault that lies in testdata.
func stored(t *testing.T, name string) localvault.Config {
	t.Helper()
	c := config(t.TempDir())
	f, err := os.Open("testdata/" + name + ".db.gz")
	must(t, err)
	defer f.Close()
	r, err := gzip.NewReader(f)
	must(t, err)
	db, err := io.ReadAll(r)
	must(t, err)
	must(t, os.WriteFile(c.Path, db, 0o600))
	key, err := os.ReadFile("testdata/" + name + ".key")
	must(t, err)
	must(t, os.WriteFile(c.KeyFile, key, 0o600))
	return c
}

// storedPolicy is of the certificates in testdata.
func storedPolicy() broker.CertificatePolicy {
	return broker.CertificatePolicy{
		Issuer: broker.IssuerSelf, CertificateType: "DV-SSL", Transparency: new(true),
		Subject: "CN=example.org, O=Example", Names: broker.AlternativeNames{
			DNSNames: []string{"example.org"}, Emails: []string{"a@example.org"}, UPNs: []string{"b@example.org"},
			URIs: []string{"spiffe://example.org/a"}, IPAddresses: []string{"192.0.2.1"},
		},
		EKUs: []string{"1.3.6.1.5.5.7.3.1"}, KeyUsages: []string{"digitalSignature", "keyCertSign"}, ValidityMonths: 1200, CA: new(true),
		KeyType: broker.KeyTypeEC, KeySize: 384, Curve: broker.CurveP384, Exportable: new(true), ReuseKey: new(true),
		ContentType: broker.ContentTypePEM, Enabled: new(true),
		Actions: []broker.CertificateAction{
			{Type: broker.ActionTypeAutoRenew, DaysBeforeExpiry: 30}, {Type: broker.ActionTypeEmailContacts, LifetimePercentage: 90},
		},
	}
}

// What lies in a file for years is read as it was written.
func TestStoredCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // at the time at which it was written
		v := open(t, stored(t, "certificates"))
		ctx, store, name := t.Context(), v.Certificates(), certificateName(t, "self")
		policy, err := store.GetCertificatePolicy(ctx, name)
		must(t, err)
		want := storedPolicy()
		want.Created, want.Updated = policy.Created, policy.Updated
		if !reflect.DeepEqual(policy, want) || policy.Created.Year() != 2000 {
			t.Errorf("the policy is %+v, want %+v", policy, want)
		}
		versions, err := store.ListCertificateVersions(ctx, name)
		must(t, err)
		if len(versions) != 2 || versions[0].Tags["version"] != "2" || versions[1].Enabled || versions[0].Subject != "CN=example.org, O=Example" {
			t.Fatalf("versions %v", versions)
		}
		c, err := store.GetCertificate(ctx, name)
		must(t, err)
		s, err := v.Secrets().GetSecret(ctx, c.Secret)
		must(t, err)
		m, err := broker.ParseCertificateMaterial(s.ContentType, s.Value, broker.Value{})
		must(t, err)
		if !s.Managed || !bytes.Equal(m.Chain[0], c.DER) || m.Key.Len() == 0 {
			t.Errorf("the secret is %v", s.Secret)
		}
		_, err = v.Keys().Sign(ctx, c.Key, "ES384", make([]byte, 48))
		must(t, err)
		op, err := store.GetCertificateOperation(ctx, certificateName(t, "waiting"))
		must(t, err)
		csr, err := x509.ParseCertificateRequest(op.CSR)
		must(t, err)
		if op.Done() || !op.CancellationRequested || op.CertificateType != "DV-SSL" || op.RequestID == "" {
			t.Errorf("the operation is %+v", op)
		}
		_, err = store.MergeCertificate(ctx, certificateName(t, "waiting"), broker.CertificateMerge{
			Chain: [][]byte{certificateOfPublic(t, newSigner(t), csr.PublicKey).Raw}, Enabled: true,
		})
		must(t, err)
		recovered, err := store.RecoverCertificate(ctx, certificateName(t, "gone"))
		must(t, err)
		_, err = v.Secrets().GetSecret(ctx, recovered.Secret)
		must(t, err)
		contacts, err := store.GetCertificateContacts(ctx, vaultName(t))
		must(t, err)
		if len(contacts) != 1 || contacts[0] != (broker.CertificateContact{Email: "a@example.org", Name: "A", Phone: "1"}) {
			t.Errorf("contacts %v", contacts)
		}
		blob, err := os.ReadFile("testdata/certificates.backup")
		must(t, err)
		restored, err := store.RestoreCertificate(ctx, vaultName(t), broker.NewValue(string(blob)))
		must(t, err)
		_, err = v.Keys().Sign(ctx, restored.Key, "ES384", make([]byte, 48))
		must(t, err)
		must(t, v.Close())
	})
}
