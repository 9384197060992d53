package brokertest

import (
	"bytes"
	"crypto/sha1" // a thumbprint, x5t
	"crypto/x509"
	"maps"
	"testing"

	"github.com/keyward/keyward/broker"
)

// certFixture is what a test of certificates works with and on.
type certFixture struct {
	*testing.T
	store   broker.CertificateStore
	keys    broker.KeyStore
	secrets broker.SecretStore
	vault   broker.Name
	unique  string
}

// in returns the fixture for a subtest.
func (f certFixture) in(t *testing.T) certFixture {
	t.Helper()
	f.T = t
	return f
}

func (f certFixture) name(label string) broker.Name {
	f.Helper()
	n, err := f.vault.Object(broker.KindCertificates, f.unique+"-"+label)
	if err != nil {
		f.Fatal(err)
	}
	return n
}

// selfSigned is the quickest certificate there is.
func selfSigned() *broker.CertificatePolicy {
	return &broker.CertificatePolicy{Issuer: broker.IssuerSelf, Subject: "CN=example.org", KeyType: broker.KeyTypeEC}
}

// toSign is a signing request.
func toSign() *broker.CertificatePolicy {
	p := selfSigned()
	p.Issuer = broker.IssuerUnknown
	return p
}

func (f certFixture) begin(name broker.Name, n broker.NewCertificate) broker.CertificateOperation {
	f.Helper()
	op, err := f.store.CreateCertificate(f.Context(), name, n)
	if err != nil {
		f.Fatalf("CreateCertificate %v: %v", name, err)
	}
	if op.Name != name || op.RequestID == "" || len(op.CSR) == 0 {
		f.Fatalf("CreateCertificate %v: an operation of %v, request %q, %d bytes to sign", name, op.Name, op.RequestID, len(op.CSR))
	}
	return op
}

// create makes a version and waits for it.
func (f certFixture) create(name broker.Name, n broker.NewCertificate) broker.Certificate {
	f.Helper()
	begun := f.begin(name, n)
	const enough = 1000
	for range enough {
		op := f.operation(name)
		if op.RequestID != begun.RequestID {
			f.Fatalf("GetCertificateOperation %v: request %q, want %q", name, op.RequestID, begun.RequestID)
		}
		if !op.Done() {
			continue
		}
		if op.Status != broker.OperationCompleted || op.Target.Base() != name || !bytes.Equal(op.CSR, begun.CSR) {
			f.Fatalf("the operation of %v ended %q (%s %s), target %v", name, op.Status, op.ErrorCode, op.ErrorMessage, op.Target)
		}
		return f.get(name)
	}
	f.Fatalf("the operation of %v does not end", name)
	return broker.Certificate{}
}

// make makes a version of a policy, enabled.
func (f certFixture) make(name broker.Name, p *broker.CertificatePolicy) broker.Certificate {
	f.Helper()
	return f.create(name, broker.NewCertificate{Policy: p, Enabled: true})
}

func (f certFixture) operation(name broker.Name) broker.CertificateOperation {
	f.Helper()
	op, err := f.store.GetCertificateOperation(f.Context(), name)
	if err != nil {
		f.Fatalf("GetCertificateOperation %v: %v", name, err)
	}
	return op
}

func (f certFixture) get(name broker.Name) broker.Certificate {
	f.Helper()
	c, err := f.store.GetCertificate(f.Context(), name)
	if err != nil {
		f.Fatalf("GetCertificate %v: %v", name, err)
	}
	return c
}

func (f certFixture) versions(name broker.Name) []broker.Certificate {
	f.Helper()
	all, err := f.store.ListCertificateVersions(f.Context(), name)
	if err != nil {
		f.Fatalf("ListCertificateVersions %v: %v", name, err)
	}
	return all
}

func (f certFixture) listed() map[broker.Name]broker.Certificate {
	f.Helper()
	all := make(map[broker.Name]broker.Certificate)
	for c := range pages(f.T, "ListCertificates", 0, broker.MaxStorePage, func(p broker.Page) ([]broker.Certificate, string, error) {
		page, err := f.store.ListCertificates(f.Context(), f.vault, p)
		return page.Certificates, page.Next, err
	}) {
		all[c.Name] = c
	}
	return all
}

func (f certFixture) listedDeleted() map[broker.Name]broker.DeletedCertificate {
	f.Helper()
	all := make(map[broker.Name]broker.DeletedCertificate)
	for c := range pages(f.T, "ListDeletedCertificates", 0, broker.MaxStorePage, func(p broker.Page) ([]broker.DeletedCertificate, string, error) {
		page, err := f.store.ListDeletedCertificates(f.Context(), f.vault, p)
		return page.Certificates, page.Next, err
	}) {
		all[c.Name] = c
	}
	return all
}

func (f certFixture) delete(name broker.Name) broker.DeletedCertificate {
	f.Helper()
	d, err := f.store.DeleteCertificate(f.Context(), name)
	if err != nil {
		f.Fatalf("DeleteCertificate %v: %v", name, err)
	}
	return d
}

func (f certFixture) purge(name broker.Name) {
	f.Helper()
	f.delete(name)
	if err := f.store.PurgeCertificate(f.Context(), name); err != nil {
		f.Fatalf("PurgeCertificate %v: %v", name, err)
	}
}

// material returns what the secret of a version holds.
func (f certFixture) material(c broker.Certificate) broker.CertificateMaterial {
	f.Helper()
	s, err := f.secrets.GetSecret(f.Context(), c.Secret)
	if err != nil {
		f.Fatalf("GetSecret %v: %v", c.Secret, err)
	}
	m, err := broker.ParseCertificateMaterial(s.ContentType, s.Value, broker.Value{})
	if err != nil {
		f.Fatalf("the secret %v: %v", c.Secret, err)
	}
	return m
}

func (f certFixture) wantCode(what string, err error, want broker.Code) {
	f.Helper()
	if got := broker.CodeOf(err); got != want {
		f.Errorf("%s: %q (%v), want %q", what, got, err, want)
	}
}

func (f certFixture) parse(der []byte) *x509.Certificate {
	f.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		f.Fatalf("no X.509 certificate: %v", err)
	}
	return c
}

// wantWhole checks a version as a get shows it: the certificate, its dates, and the
// pair that goes with it.
func (f certFixture) wantWhole(what string, c broker.Certificate) {
	f.Helper()
	if !versionPattern.MatchString(c.Name.Version()) {
		f.Fatalf("%s: %v names no version", what, c.Name)
	}
	leaf := f.parse(c.DER)
	if want := sha1.Sum(c.DER); !bytes.Equal(c.Thumbprint, want[:]) {
		f.Errorf("%s: thumbprint %x, want %x", what, c.Thumbprint, want)
	}
	if !c.NotBefore.Equal(leaf.NotBefore) || !c.Expires.Equal(leaf.NotAfter) {
		f.Errorf("%s: %v to %v, the certificate says %v to %v", what, c.NotBefore, c.Expires, leaf.NotBefore, leaf.NotAfter)
	}
	if c.Policy == nil || c.ContentType == "" || c.RecoveryLevel == "" || c.Created.IsZero() || c.Updated.Before(c.Created) {
		f.Errorf("%s: policy %v, content type %q, recovery level %q, created %v, updated %v",
			what, c.Policy != nil, c.ContentType, c.RecoveryLevel, c.Created, c.Updated)
	}
	for kind, of := range map[broker.Kind]broker.Name{broker.KindKeys: c.Key, broker.KindSecrets: c.Secret} {
		if of.Base() != c.Name.As(kind) || of.Version() != c.Name.Version() {
			f.Errorf("%s: %v has the pair %v", what, c.Name, of)
		}
	}
}

// wantSame checks that two answers tell the same of a version.
func (f certFixture) wantSame(what string, got, want broker.Certificate) {
	f.Helper()
	if got.Name != want.Name || got.ETag() != want.ETag() || !bytes.Equal(got.DER, want.DER) ||
		!bytes.Equal(got.Thumbprint, want.Thumbprint) || got.Enabled != want.Enabled || !maps.Equal(got.Tags, want.Tags) ||
		!got.Created.Equal(want.Created) || !got.NotBefore.Equal(want.NotBefore) || !got.Expires.Equal(want.Expires) {
		f.Errorf("%s: %v\nwant %v", what, got, want)
	}
}
