package brokertest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/keyward/keyward/broker"
)

func testImportCertificate(f certFixture) {
	by := authority(f.T)
	ec := issue(f.T, newECKey(f.T), by, func(*x509.Certificate) {})
	rsa := issue(f.T, newRSAKey(f.T), by, func(*x509.Certificate) {})
	tests := map[string]struct {
		of          issued
		material    broker.Value
		contentType string
		password    string
		want        string // content type
	}{
		"modern":      {ec, ec.pfx(pkcs12.Modern2023, "p"), "", "p", broker.ContentTypePKCS12},
		"old":         {rsa, rsa.pfx(pkcs12.LegacyDES, "p"), broker.ContentTypePKCS12, "p", broker.ContentTypePKCS12},
		"older":       {rsa, rsa.pfx(pkcs12.LegacyRC2, "p"), "", "p", broker.ContentTypePKCS12},
		"no-password": {ec, ec.pfx(pkcs12.LegacyDES, ""), "", "", broker.ContentTypePKCS12},
		"open":        {ec, ec.pfx(pkcs12.Passwordless, ""), "", "", broker.ContentTypePKCS12},
		"pem":         {rsa, rsa.pem(), broker.ContentTypePEM, "", broker.ContentTypePEM},
		"looks-pem":   {ec, ec.pem(), "", "", broker.ContentTypePEM},
	}
	for label, tt := range tests {
		f.Run(label, func(t *testing.T) {
			f := f.in(t)
			name := f.name("import-" + label)
			c, err := f.store.ImportCertificate(f.Context(), name, broker.CertificateImport{
				Material: tt.material, ContentType: tt.contentType, Password: broker.NewValue(tt.password),
				Tags: map[string]string{"a": "b"}, Enabled: true,
			})
			if err != nil {
				f.Fatalf("ImportCertificate: %v", err)
			}
			f.wantWhole("ImportCertificate", c)
			f.wantSame("GetCertificate", f.get(name), c)
			if !bytes.Equal(c.DER, tt.of.chain[0].Raw) || c.Tags["a"] != "b" || !c.Enabled || c.ContentType != tt.want {
				f.Errorf("tags %v, enabled %v, content type %q, or another certificate", c.Tags, c.Enabled, c.ContentType)
			}
			m := f.material(c)
			if len(m.Chain) != 3 || !slices.EqualFunc(m.Chain, tt.of.ders(), bytes.Equal) {
				f.Errorf("the secret has a chain of %d, or in another order", len(m.Chain))
			}
			again, err := x509.ParsePKCS8PrivateKey([]byte(m.Key.Reveal()))
			if k, ok := again.(interface{ Equal(any) bool }); err != nil || ok && !k.Equal(tt.of.key) {
				f.Errorf("the secret has another key: %v", err)
			}
		})
	}
}

func testImportedPolicy(f certFixture) {
	in := issue(f.T, newECKey(f.T), authority(f.T), func(c *x509.Certificate) {
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature|x509.KeyUsageKeyAgreement, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		c.DNSNames, c.EmailAddresses = []string{"example.org"}, []string{"a@example.org"}
	})
	c, err := f.store.ImportCertificate(f.Context(), f.name("derived"), broker.CertificateImport{Material: in.pem(), Enabled: true})
	if err != nil {
		f.Fatal(err)
	}
	p := *c.Policy
	if p.Issuer != broker.IssuerUnknown || p.Subject != "CN=example.org, O=Example, C=DE" || p.ValidityMonths < 3 || p.ValidityMonths > 4 ||
		p.KeyType != broker.KeyTypeEC || p.Curve != broker.CurveP256 || *p.CA || !*p.Exportable || *p.ReuseKey ||
		!slices.Equal(p.KeyUsages, []string{"digitalSignature", "keyAgreement"}) || !slices.Equal(p.EKUs, []string{"1.3.6.1.5.5.7.3.2"}) ||
		!slices.Equal(p.Names.DNSNames, []string{"example.org"}) || !slices.Equal(p.Names.Emails, []string{"a@example.org"}) ||
		!slices.Equal(p.Actions, []broker.CertificateAction{{Type: broker.ActionTypeEmailContacts, LifetimePercentage: 80}}) {
		f.Errorf("the policy is %+v", p)
	}
	k, err := f.keys.GetKey(f.Context(), c.Key)
	if err != nil || !slices.Equal(slices.Sorted(slices.Values(k.Ops)), ecOps) {
		f.Errorf("the key's operations are %v, %v", k.Ops, err)
	}
	c, err = f.store.ImportCertificate(f.Context(), f.name("given"), broker.CertificateImport{
		Material: in.pem(), Enabled: true, Policy: &broker.CertificatePolicy{Exportable: new(false), ContentType: broker.ContentTypePKCS12},
	})
	if err != nil || *c.Policy.Exportable || c.ContentType != broker.ContentTypePKCS12 {
		f.Fatalf("with a policy: %v, exportable %v", err, c.Policy)
	}
	if m := f.material(c); m.Key.Len() != 0 || len(m.Chain) != 3 {
		f.Error("a key that was imported as not exportable is in the secret, or the chain is not")
	}
}

func testChainOrder(f certFixture) {
	in := issueFor(f.T)
	turned := in
	turned.chain = []*x509.Certificate{in.chain[0], in.chain[2], in.chain[1]}
	for label, preserve := range map[string]bool{"ordered": false, "kept": true} {
		c, err := f.store.ImportCertificate(f.Context(), f.name(label), broker.CertificateImport{Material: turned.pem(), Enabled: true, PreserveOrder: &preserve})
		if err != nil || c.PreserveOrder != preserve {
			f.Fatalf("ImportCertificate: %v, order kept %v", err, c.PreserveOrder)
		}
		want := in.ders()
		if preserve {
			want = turned.ders()
		}
		if !slices.EqualFunc(f.material(c).Chain, want, bytes.Equal) {
			f.Errorf("%s: the chain is in another order", label)
		}
	}
}

func testBadCertificates(f certFixture) {
	in, other := issueFor(f.T), issueFor(f.T)
	mixed := in
	mixed.key = other.key
	expired := issue(f.T, newECKey(f.T), issued{}, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	odd := issue(f.T, newCurveKey(f.T, elliptic.P224()), issued{}, func(*x509.Certificate) {})
	text := in.pem().Reveal()
	tests := map[string]broker.CertificateImport{
		"nothing":        {},
		"no certificate": {Material: broker.NewValue("hello")},
		"another key":    {Material: mixed.pem()},
		"no key":         {Material: broker.NewValue(text[strings.Index(text, "-----BEGIN CERT"):])},
		"expired":        {Material: expired.pem()},
		"an odd curve":   {Material: odd.pem()},
		"wrong password": {Material: in.pfx(pkcs12.Modern2023, "right"), Password: broker.NewValue("wrong")},
		"cut short":      {Material: broker.NewValue(in.pfx(pkcs12.Modern2023, "").Reveal()[:400])},
		"another format": {Material: in.pem(), ContentType: broker.ContentTypePKCS12},
	}
	for label, i := range tests {
		i.Enabled = true
		_, err := f.store.ImportCertificate(f.Context(), f.name("bad"), i)
		f.wantCode("ImportCertificate of "+label, err, broker.CodeBadField)
		_, err = f.store.GetCertificate(f.Context(), f.name("bad"))
		f.wantCode("GetCertificate after "+label, err, broker.CodeCertificateNotFound)
	}
}

func newCurveKey(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What a vault made is imported again, into the policy that it was made of.
func testImportOfOwn(f certFixture) {
	p := selfSigned()
	p.Subject, p.ContentType = "CN=example.org, O=\"Example, Inc.\"", broker.ContentTypePEM
	p.KeyUsages, p.EKUs, p.ValidityMonths, p.CA = []string{"digitalSignature", "keyCertSign"}, []string{"1.2.3.4", "1.3.6.1.5.5.7.3.3"}, 30, new(true)
	p.Names = broker.AlternativeNames{
		DNSNames: []string{"example.org", "*.example.org"}, Emails: []string{"a@example.org"}, UPNs: []string{"ü@example.org", "b@example.org"},
		URIs: []string{"spiffe://example.org/a"}, IPAddresses: []string{"192.0.2.1", "2001:db8::1"},
	}
	made := f.make(f.name("own"), p)
	s, err := f.secrets.GetSecret(f.Context(), made.Secret)
	if err != nil {
		f.Fatal(err)
	}
	c, err := f.store.ImportCertificate(f.Context(), f.name("own-again"), broker.CertificateImport{Material: s.Value, ContentType: s.ContentType, Enabled: true})
	if err != nil {
		f.Fatal(err)
	}
	if !bytes.Equal(c.DER, made.DER) || f.material(c).Key != f.material(made).Key {
		f.Error("another certificate, or another key")
	}
	got := *c.Policy
	if got.Subject != `CN=example.org, O=Example\, Inc.` || !reflect.DeepEqual(got.Names, p.Names) || !slices.Equal(got.EKUs, p.EKUs) ||
		!slices.Equal(got.KeyUsages, p.KeyUsages) || got.ValidityMonths < 30 || got.ValidityMonths > 31 || !*got.CA || got.ContentType != broker.ContentTypePEM {
		f.Errorf("the policy is %+v", got)
	}
}
