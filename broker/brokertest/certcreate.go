package brokertest

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"time"

	"github.com/keyward/keyward/broker"
)

func testCertificateDefaults(f certFixture) {
	name := f.name("defaults")
	c := f.make(name, &broker.CertificatePolicy{Issuer: "self", Subject: "CN=DefaultPolicy"})
	f.wantWhole("GetCertificate", c)
	f.wantSame("GetCertificate of the version", f.get(c.Name), c)
	if !c.Enabled || c.ContentType != broker.ContentTypePKCS12 || len(c.Tags) != 0 {
		f.Errorf("enabled %v, content type %q, tags %v", c.Enabled, c.ContentType, c.Tags)
	}
	p := *c.Policy
	if p.Issuer != "self" || p.Subject != "CN=DefaultPolicy" || p.ValidityMonths != 12 || p.CA == nil || *p.CA ||
		p.KeyType != broker.KeyTypeRSA || p.KeySize != 2048 || p.Exportable == nil || !*p.Exportable || p.ReuseKey == nil || *p.ReuseKey ||
		!slices.Equal(p.EKUs, []string{"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"}) ||
		!slices.Equal(p.KeyUsages, []string{"digitalSignature", "keyEncipherment"}) ||
		!slices.Equal(p.Actions, []broker.CertificateAction{{Type: broker.ActionTypeAutoRenew, LifetimePercentage: 80}}) {
		f.Errorf("the policy is %+v", p)
	}
	leaf := f.parse(c.DER)
	if leaf.Subject.String() != "CN=DefaultPolicy" || leaf.Issuer.String() != "CN=DefaultPolicy" || leaf.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment ||
		!slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}) || leaf.IsCA || !leaf.BasicConstraintsValid {
		f.Errorf("subject %v, issuer %v, usage %v, %v, CA %v", leaf.Subject, leaf.Issuer, leaf.KeyUsage, leaf.ExtKeyUsage, leaf.IsCA)
	}
	if k, ok := leaf.PublicKey.(*rsa.PublicKey); !ok || k.N.BitLen() != 2048 {
		f.Errorf("a key of type %T", leaf.PublicKey)
	}
	if begin := leaf.NotBefore.Add(10 * time.Minute); !leaf.NotAfter.Equal(begin.AddDate(1, 0, 0)) && begin.Day() != 29 || c.Created.Sub(begin).Abs() > time.Minute {
		f.Errorf("valid from %v to %v, made at %v", leaf.NotBefore, leaf.NotAfter, c.Created)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots}); err != nil {
		f.Errorf("it does not verify: %v", err)
	}
	m := f.material(c)
	if len(m.Chain) != 1 || !bytes.Equal(m.Chain[0], c.DER) || m.Key.Len() == 0 {
		f.Errorf("the secret has %d certificates, a key of %d bytes", len(m.Chain), m.Key.Len())
	}
}
