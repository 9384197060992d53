package brokertest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
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

// What a policy asks for stands in the certificate, and in the signing request.
func testCertificateKinds(f certFixture) {
	tests := map[string]struct {
		policy broker.CertificatePolicy
		check  func(*x509.Certificate) bool
	}{
		"rsa 3072": {broker.CertificatePolicy{KeyType: broker.KeyTypeRSA, KeySize: 3072}, func(c *x509.Certificate) bool {
			k, ok := c.PublicKey.(*rsa.PublicKey)
			return ok && k.N.BitLen() == 3072 && c.SignatureAlgorithm == x509.SHA256WithRSA
		}},
		"p-256": {broker.CertificatePolicy{KeyType: broker.KeyTypeEC, Curve: broker.CurveP256}, func(c *x509.Certificate) bool {
			return onCurve(c, elliptic.P256()) && c.SignatureAlgorithm == x509.ECDSAWithSHA256
		}},
		"p-384": {broker.CertificatePolicy{KeyType: broker.KeyTypeEC, Curve: broker.CurveP384}, func(c *x509.Certificate) bool {
			return onCurve(c, elliptic.P384())
		}},
		"p-521": {broker.CertificatePolicy{KeyType: broker.KeyTypeEC, Curve: broker.CurveP521}, func(c *x509.Certificate) bool {
			return onCurve(c, elliptic.P521())
		}},
		"an authority": {
			broker.CertificatePolicy{CA: new(true), KeyUsages: []string{"keyCertSign", "cRLSign"}, EKUs: []string{}},
			func(c *x509.Certificate) bool {
				return c.IsCA && c.KeyUsage == x509.KeyUsageCertSign|x509.KeyUsageCRLSign && len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 &&
					c.CheckSignatureFrom(c) == nil
			},
		},
		"all usages": {
			broker.CertificatePolicy{KeyUsages: []string{
				"decipherOnly", "digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly",
			}, EKUs: []string{"1.3.6.1.5.5.7.3.3", "1.2.3.4"}},
			func(c *x509.Certificate) bool {
				return c.KeyUsage == 1<<9-1 && slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}) &&
					len(c.UnknownExtKeyUsage) == 1 && c.UnknownExtKeyUsage[0].String() == "1.2.3.4"
			},
		},
		"two months": {broker.CertificatePolicy{ValidityMonths: 2}, func(c *x509.Certificate) bool {
			days := c.NotAfter.Sub(c.NotBefore).Hours() / 24
			return days > 58 && days < 63
		}},
		"a century": {broker.CertificatePolicy{ValidityMonths: 1200}, func(c *x509.Certificate) bool {
			return c.NotAfter.Year() == c.NotBefore.Add(10*time.Minute).Year()+100
		}},
		"names": {
			broker.CertificatePolicy{Names: broker.AlternativeNames{
				DNSNames: []string{"example.org", "*.example.org"}, Emails: []string{"a@example.org"}, UPNs: []string{"ü@example.org"},
				URIs: []string{"spiffe://example.org/a"}, IPAddresses: []string{"192.0.2.1", "2001:db8::1"},
			}},
			func(c *x509.Certificate) bool {
				return slices.Equal(c.DNSNames, []string{"example.org", "*.example.org"}) && slices.Equal(c.EmailAddresses, []string{"a@example.org"}) &&
					len(c.URIs) == 1 && c.URIs[0].String() == "spiffe://example.org/a" && len(c.IPAddresses) == 2 &&
					c.IPAddresses[0].String() == "192.0.2.1" && c.VerifyHostname("www.example.org") == nil && c.VerifyHostname("2001:db8::1") == nil &&
					bytes.Contains(extension(c.Extensions, "2.5.29.17"), []byte("ü@example.org"))
			},
		},
	}
	for label, tt := range tests {
		f.Run(label, func(t *testing.T) {
			f := f.in(t)
			tt.policy.Issuer, tt.policy.Subject = broker.IssuerSelf, "CN=example.org"
			if tt.policy.KeyType == "" {
				tt.policy.KeyType = broker.KeyTypeEC
			}
			name := f.name("kind-" + strings.ReplaceAll(label, " ", "-"))
			c := f.make(name, &tt.policy)
			f.wantWhole(label, c)
			leaf := f.parse(c.DER)
			if !tt.check(leaf) {
				f.Errorf("the certificate is not what was asked for: %v %v %v %v to %v", leaf.PublicKeyAlgorithm, leaf.KeyUsage, leaf.ExtKeyUsage, leaf.NotBefore, leaf.NotAfter)
			}
			csr, err := x509.ParseCertificateRequest(f.operation(name).CSR)
			if err != nil || csr.CheckSignature() != nil {
				f.Fatalf("the signing request: %v", err)
			}
			for _, oid := range []string{"2.5.29.15", "2.5.29.37", "2.5.29.17", "2.5.29.19"} {
				if !bytes.Equal(extension(csr.Extensions, oid), extension(leaf.Extensions, oid)) {
					f.Errorf("the signing request and the certificate differ in %s", oid)
				}
			}
			if !bytes.Equal(csr.RawSubject, leaf.RawSubject) || !bytes.Equal(csr.RawSubjectPublicKeyInfo, leaf.RawSubjectPublicKeyInfo) {
				f.Error("the signing request and the certificate differ in subject or key")
			}
			m := f.material(c)
			if _, err := tls.X509KeyPair([]byte(m.ChainPEM()), []byte(m.KeyPEM().Reveal())); err != nil {
				f.Errorf("the secret is no pair: %v", err)
			}
		})
	}
}

func onCurve(c *x509.Certificate, curve elliptic.Curve) bool {
	k, ok := c.PublicKey.(*ecdsa.PublicKey)
	return ok && k.Curve == curve
}

func extension(all []pkix.Extension, oid string) []byte {
	for _, e := range all {
		if e.Id.String() == oid {
			return e.Value
		}
	}
	return nil
}

func testSubjects(f certFixture) {
	tests := map[string]struct{ subject, want string }{
		"one":       {"CN=example.org", "CN=example.org"},
		"several":   {"CN=a, OU=b, O=c, L=d, S=e, C=DE", "CN=a,OU=b,O=c,L=d,ST=e,C=DE"},
		"rfc":       {`CN=a,OU=b,ST=e,C=de,DC=example,DC=org`, "CN=a,OU=b,ST=e,C=de,DC=example,DC=org"},
		"quotes":    {`CN=a, O="Example, Inc."`, `CN=a,O=Example\, Inc.`},
		"escapes":   {`CN=a, O=Example\, \22Inc\22`, `CN=a,O=Example\, \"Inc\"`},
		"unicode":   {`CN=Bücher ✓`, "CN=Bücher ✓"},
		"of two":    {`CN=a+OU=b, O=c`, "CN=a+OU=b,O=c"},
		"same type": {`CN=a, OU=b, OU=c`, "CN=a,OU=b,OU=c"},
	}
	for label, tt := range tests {
		f.Run(label, func(t *testing.T) {
			f := f.in(t)
			p := selfSigned()
			p.Subject = tt.subject
			c := f.make(f.name("subject-"+strings.ReplaceAll(label, " ", "-")), p)
			got := pkixString(f.parse(c.DER).RawSubject)
			if got != tt.want {
				f.Errorf("%q became %q, want %q", tt.subject, got, tt.want)
			}
		})
	}
	p := selfSigned()
	p.Subject, p.Names.DNSNames = "", []string{"example.org"}
	leaf := f.parse(f.make(f.name("no-subject"), p).DER)
	if len(leaf.Subject.Names) != 0 || leaf.VerifyHostname("example.org") != nil {
		f.Errorf("without a subject: %v, %v", leaf.Subject, leaf.DNSNames)
	}
}

// pkixString writes a name as RFC 4514, with the keywords that the library lacks.
func pkixString(der []byte) string {
	var rdns pkix.RDNSequence
	if _, err := asn1.Unmarshal(der, &rdns); err != nil {
		return err.Error()
	}
	s := rdns.String()
	// The library writes the domain component's value in hexadecimal BER.
	s = strings.ReplaceAll(s, "0.9.2342.19200300.100.1.25=#13076578616d706c65", "DC=example")
	return strings.ReplaceAll(s, "0.9.2342.19200300.100.1.25=#13036f7267", "DC=org")
}

func testBadPolicies(f certFixture) {
	action := func(a ...broker.CertificateAction) func(*broker.CertificatePolicy) {
		return func(p *broker.CertificatePolicy) { p.Actions = a }
	}
	subject := func(s string) func(*broker.CertificatePolicy) {
		return func(p *broker.CertificatePolicy) { p.Subject = s }
	}
	tests := map[string]func(*broker.CertificatePolicy){
		"no name at all":        subject(""),
		"no attribute":          subject("example.org"),
		"an unknown attribute":  subject("XX=example.org"),
		"no value":              subject("CN="),
		"an open quote":         subject(`CN="a`),
		"what follows a quote":  subject(`CN="a" b`),
		"a bad escape":          subject(`CN=a\q`),
		"an escape at the end":  subject(`CN=a\`),
		"a trailing comma":      subject("CN=a,"),
		"a country of three":    subject("CN=a, C=DEU"),
		"a short RSA key":       func(p *broker.CertificatePolicy) { p.KeyType, p.KeySize = broker.KeyTypeRSA, 1024 },
		"a symmetric key":       func(p *broker.CertificatePolicy) { p.KeyType = broker.KeyTypeOct },
		"a foreign curve":       func(p *broker.CertificatePolicy) { p.Curve = "P-224" },
		"no usage":              func(p *broker.CertificatePolicy) { p.KeyUsages = []string{"everything"} },
		"no OID":                func(p *broker.CertificatePolicy) { p.EKUs = []string{"serverAuth"} },
		"an endless validity":   func(p *broker.CertificatePolicy) { p.ValidityMonths = 1201 },
		"a negative validity":   func(p *broker.CertificatePolicy) { p.ValidityMonths = -1 },
		"another format":        func(p *broker.CertificatePolicy) { p.ContentType = "text/plain" },
		"no DNS name":           func(p *broker.CertificatePolicy) { p.Names.DNSNames = []string{"exa mple.org"} },
		"no address":            func(p *broker.CertificatePolicy) { p.Names.Emails = []string{"example.org"} },
		"no URI":                func(p *broker.CertificatePolicy) { p.Names.URIs = []string{"example"} },
		"no IP address":         func(p *broker.CertificatePolicy) { p.Names.IPAddresses = []string{"192.0.2.256"} },
		"an unknown action":     action(broker.CertificateAction{Type: "Sell", LifetimePercentage: 80}),
		"an action at no time":  action(broker.CertificateAction{Type: broker.ActionTypeAutoRenew}),
		"an action at two":      action(broker.CertificateAction{Type: broker.ActionTypeAutoRenew, LifetimePercentage: 80, DaysBeforeExpiry: 3}),
		"an action at the end":  action(broker.CertificateAction{Type: broker.ActionTypeAutoRenew, LifetimePercentage: 100}),
		"an action before life": action(broker.CertificateAction{Type: broker.ActionTypeAutoRenew, DaysBeforeExpiry: 12*27 + 1}),
	}
	for label, change := range tests {
		p, name := selfSigned(), f.name("bad")
		change(p)
		_, err := f.store.CreateCertificate(f.Context(), name, broker.NewCertificate{Policy: p, Enabled: true})
		f.wantCode("CreateCertificate with "+label, err, broker.CodeBadField)
		_, err = f.store.GetCertificate(f.Context(), name)
		f.wantCode("GetCertificate after "+label, err, broker.CodeCertificateNotFound)
	}
	p := selfSigned()
	p.Issuer = "nobody-knows"
	_, err := f.store.CreateCertificate(f.Context(), f.name("bad"), broker.NewCertificate{Policy: p, Enabled: true})
	f.wantCode("CreateCertificate by an unknown issuer", err, broker.CodeIssuerNotFound)
	_, err = f.store.CreateCertificate(f.Context(), f.name("bad"), broker.NewCertificate{Enabled: true})
	f.wantCode("CreateCertificate without a policy", err, broker.CodeBadField)
}

func testCertificateVersions(f certFixture) {
	name := f.name("versions")
	var made []broker.Certificate
	for i := range 4 {
		n := broker.NewCertificate{Policy: selfSigned(), Enabled: true, Tags: map[string]string{"i": fmt.Sprint(i)}}
		if i > 1 {
			n.Policy = nil // the one that is there
		}
		c := f.create(name, n)
		for _, o := range made {
			if o.Name == c.Name || bytes.Equal(o.DER, c.DER) || bytes.Equal(f.parse(o.DER).RawSubjectPublicKeyInfo, f.parse(c.DER).RawSubjectPublicKeyInfo) {
				f.Fatalf("version %v was made twice, or its key", c.Name)
			}
		}
		made = append(made, c)
	}
	for _, c := range made {
		f.wantSame("GetCertificate of a version", f.get(c.Name), c)
	}
	all := f.versions(name)
	if len(all) != len(made) {
		f.Fatalf("%d versions, want %d", len(all), len(made))
	}
	for i, c := range all {
		want := made[len(made)-1-i]
		if c.Name != want.Name || !bytes.Equal(c.Thumbprint, want.Thumbprint) || !maps.Equal(c.Tags, want.Tags) || len(c.DER) != 0 || c.Policy != nil || !c.Key.IsZero() {
			f.Errorf("version %d from the newest is %v, want %v, or it has more than lists have", i, c.Name, want.Name)
		}
	}
	item, ok := f.listed()[name]
	if !ok || !bytes.Equal(item.Thumbprint, made[3].Thumbprint) || len(item.DER) != 0 || item.Policy != nil || !item.Enabled || item.Tags["i"] != "3" {
		f.Errorf("ListCertificates: %v, %v", ok, item)
	}
	unknown, err := name.WithVersion(strings.Repeat("0", 31) + "f")
	if err != nil {
		f.Fatal(err)
	}
	_, err = f.store.GetCertificate(f.Context(), unknown)
	f.wantCode("GetCertificate of an unknown version", err, broker.CodeCertificateNotFound)
}

func testReuseKey(f certFixture) {
	name, p := f.name("reuse"), selfSigned()
	p.ReuseKey = new(true)
	first := f.make(name, p)
	second := f.create(name, broker.NewCertificate{Enabled: true})
	if !bytes.Equal(f.parse(first.DER).RawSubjectPublicKeyInfo, f.parse(second.DER).RawSubjectPublicKeyInfo) {
		f.Error("the key was not used again")
	}
	if bytes.Equal(first.DER, second.DER) || f.material(first).Key != f.material(second).Key {
		f.Error("the versions are one, or their secrets have two keys")
	}
	p = selfSigned()
	p.ReuseKey, p.Curve = new(true), broker.CurveP384
	if third := f.parse(f.make(name, p).DER); !onCurve(third, elliptic.P384()) {
		f.Error("a key of another curve was used again")
	}
}

// testReuseKeptKey: a key that was promised to stay in the vault is used again by
// versions that promise it too, and by no other.
func testReuseKeptKey(f certFixture) {
	name, p := f.name("reuse-kept"), selfSigned()
	p.ReuseKey, p.Exportable = new(true), new(false)
	key := func(c broker.Certificate) string { return string(f.parse(c.DER).RawSubjectPublicKeyInfo) }
	first := f.make(name, p)
	second := f.create(name, broker.NewCertificate{Enabled: true})
	if key(first) != key(second) {
		f.Error("a key that is kept was not used again")
	}
	if _, err := f.store.UpdateCertificatePolicy(f.Context(), name, broker.CertificatePolicy{Exportable: new(true)}); err != nil {
		f.Fatal(err)
	}
	third := f.create(name, broker.NewCertificate{Enabled: true})
	if key(third) == key(first) {
		f.Error("a key that is kept was used again where it can be exported")
	}
	if f.material(third).Key.Len() == 0 {
		f.Error("the key of an exportable version is not in its secret")
	}

	name = f.name("reuse-merged")
	by := authority(f.T)
	f.make(name, p)
	p = toSign()
	p.ReuseKey, p.Exportable = new(true), new(false)
	op := f.begin(name, broker.NewCertificate{Policy: p, Enabled: true})
	if _, err := f.store.UpdateCertificatePolicy(f.Context(), name, broker.CertificatePolicy{Exportable: new(true)}); err != nil {
		f.Fatal(err)
	}
	merged, err := f.store.MergeCertificate(f.Context(), name, broker.CertificateMerge{Chain: f.signed(op.CSR, by).ders(), Enabled: true})
	if err != nil {
		f.Fatal(err)
	}
	if f.material(merged).Key.Len() > 0 {
		f.Error("a key that is kept is in the secret of a version whose policy changed before its merge")
	}
}

func testMissingCertificate(f certFixture) {
	ctx, name := f.Context(), f.name("missing")
	f.make(f.name("missing-not"), selfSigned()) // a longer name must not be taken for it
	calls := map[string]func() error{
		"GetCertificate": func() error { _, err := f.store.GetCertificate(ctx, name); return err },
		"UpdateCertificate": func() error {
			_, err := f.store.UpdateCertificate(ctx, name, broker.CertificateUpdate{Enabled: new(true)})
			return err
		},
		"GetCertificatePolicy": func() error { _, err := f.store.GetCertificatePolicy(ctx, name); return err },
		"UpdateCertificatePolicy": func() error {
			_, err := f.store.UpdateCertificatePolicy(ctx, name, broker.CertificatePolicy{ValidityMonths: 3})
			return err
		},
		"ListCertificateVersions": func() error { _, err := f.store.ListCertificateVersions(ctx, name); return err },
		"DeleteCertificate":       func() error { _, err := f.store.DeleteCertificate(ctx, name); return err },
		"GetDeletedCertificate":   func() error { _, err := f.store.GetDeletedCertificate(ctx, name); return err },
		"RecoverCertificate":      func() error { _, err := f.store.RecoverCertificate(ctx, name); return err },
		"PurgeCertificate":        func() error { return f.store.PurgeCertificate(ctx, name) },
		"BackupCertificate":       func() error { _, err := f.store.BackupCertificate(ctx, name); return err },
	}
	for label, call := range calls {
		f.wantCode(label, call(), broker.CodeCertificateNotFound)
	}
	_, err := f.store.GetCertificateOperation(ctx, name)
	f.wantCode("GetCertificateOperation", err, broker.CodeOperationNotFound)
	_, err = f.store.CancelCertificateOperation(ctx, name)
	f.wantCode("CancelCertificateOperation", err, broker.CodeOperationNotFound)
	_, err = f.store.DeleteCertificateOperation(ctx, name)
	f.wantCode("DeleteCertificateOperation", err, broker.CodeOperationNotFound)
}
