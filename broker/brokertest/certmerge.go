package brokertest

import (
	"bytes"
	"crypto/x509"
	"math/big"
	"slices"
	"time"

	"github.com/keyward/keyward/broker"
)

// signed returns what an authority makes of a signing request.
func (f certFixture) signed(csr []byte, by issued) issued {
	f.Helper()
	r, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		f.Fatal(err)
	}
	if err := r.CheckSignature(); err != nil {
		f.Fatal(err)
	}
	return sign(f.T, &x509.Certificate{
		SerialNumber: big.NewInt(7), RawSubject: r.RawSubject, ExtraExtensions: r.Extensions,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().AddDate(1, 0, 0),
	}, by.key, r.PublicKey, by)
}

func testMergeCertificate(f certFixture) {
	ctx, name, by := f.Context(), f.name("merge"), authority(f.T)
	p := toSign()
	p.Names.DNSNames = []string{"example.org"}
	op := f.begin(name, broker.NewCertificate{Policy: p, Enabled: true, Tags: map[string]string{"a": "b"}})
	if op.Status != broker.OperationInProgress || op.Done() || op.Issuer != broker.IssuerUnknown || op.CancellationRequested {
		f.Errorf("CreateCertificate: %+v", op)
	}
	if _, ok := f.listed()[name]; ok {
		f.Error("ListCertificates shows what is still being made")
	}
	if got, err := f.store.GetCertificatePolicy(ctx, name); err != nil || got.Subject != p.Subject {
		f.Errorf("GetCertificatePolicy while it is made: %v, %v", got, err)
	}
	if got := f.get(name); got.Enabled || len(got.DER) != 0 || got.Policy == nil {
		f.Errorf("GetCertificate while it is made: %v", got)
	}
	_, err := f.store.CreateCertificate(ctx, name, broker.NewCertificate{Policy: selfSigned(), Enabled: true})
	f.wantCode("CreateCertificate while one is made", err, broker.CodeOperationInProgress)
	if again := f.operation(name); again.RequestID != op.RequestID || !bytes.Equal(again.CSR, op.CSR) || again.Done() {
		f.Errorf("GetCertificateOperation: %+v", again)
	}

	got := f.signed(op.CSR, by)
	c, err := f.store.MergeCertificate(ctx, name, broker.CertificateMerge{Chain: got.ders(), Enabled: true})
	if err != nil {
		f.Fatalf("MergeCertificate: %v", err)
	}
	f.wantWhole("MergeCertificate", c)
	f.wantSame("GetCertificate", f.get(name), c)
	if !bytes.Equal(c.DER, got.chain[0].Raw) || !c.Enabled || f.parse(c.DER).VerifyHostname("example.org") != nil {
		f.Errorf("MergeCertificate: another certificate, or enabled %v", c.Enabled)
	}
	m := f.material(c)
	if !slices.EqualFunc(m.Chain, got.ders(), bytes.Equal) || m.Key.Len() == 0 {
		f.Errorf("the secret has a chain of %d", len(m.Chain))
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(f.parse(m.Chain[2]))
	between.AddCert(f.parse(m.Chain[1]))
	if _, err := f.parse(c.DER).Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: "example.org"}); err != nil {
		f.Errorf("the chain does not verify: %v", err)
	}
	if done := f.operation(name); done.Status != broker.OperationCompleted || done.Target.Base() != name || done.RequestID != op.RequestID {
		f.Errorf("GetCertificateOperation: %+v", done)
	}
	_, err = f.store.MergeCertificate(ctx, name, broker.CertificateMerge{Chain: got.ders(), Enabled: true})
	f.wantCode("MergeCertificate, again", err, broker.CodeOperationNotFound)
	if v := f.versions(name); len(v) != 1 {
		f.Errorf("%d versions, want 1", len(v))
	}
	// The next one beside a version that is there.
	op = f.begin(name, broker.NewCertificate{Enabled: true})
	f.wantSame("GetCertificate while the next is made", f.get(name), c)
	next, err := f.store.MergeCertificate(ctx, name, broker.CertificateMerge{Chain: f.signed(op.CSR, by).ders()[:1], Enabled: true})
	if err != nil || next.Name == c.Name {
		f.Fatalf("MergeCertificate of the next: %v, %v", next.Name, err)
	}
	if v := f.versions(name); len(v) != 2 || v[0].Name != next.Name {
		f.Errorf("versions %v", v)
	}
}

func testBadMerges(f certFixture) {
	ctx, name, by := f.Context(), f.name("bad-merge"), authority(f.T)
	op := f.begin(name, broker.NewCertificate{Policy: toSign(), Enabled: true})
	other := f.begin(f.name("other-merge"), broker.NewCertificate{Policy: toSign(), Enabled: true})
	good := f.signed(op.CSR, by)
	tests := map[string][][]byte{
		"nothing":           nil,
		"no certificate":    {[]byte("hello")},
		"what is cut short": {good.chain[0].Raw[:100]},
		"another key's":     f.signed(other.CSR, by).ders(),
		"the chain alone":   good.ders()[1:],
		"a broken chain":    {good.chain[0].Raw, []byte("hello")},
		"a long chain":      slices.Repeat(good.ders()[:1], broker.MaxChain+1),
	}
	for label, chain := range tests {
		_, err := f.store.MergeCertificate(ctx, name, broker.CertificateMerge{Chain: chain, Enabled: true})
		f.wantCode("MergeCertificate of "+label, err, broker.CodeBadField)
	}
	if f.operation(name).Done() {
		f.Error("a refused merge ended the operation")
	}
	if _, err := f.store.MergeCertificate(ctx, name, broker.CertificateMerge{Chain: good.ders(), Enabled: true}); err != nil {
		f.Errorf("MergeCertificate after refused ones: %v", err)
	}
	_, err := f.store.MergeCertificate(ctx, f.name("never"), broker.CertificateMerge{Chain: good.ders(), Enabled: true})
	f.wantCode("MergeCertificate without an operation", err, broker.CodeOperationNotFound)
}

func testOperations(f certFixture) {
	ctx, name := f.Context(), f.name("operation")
	op := f.begin(name, broker.NewCertificate{Policy: toSign(), Enabled: true})
	cancelled, err := f.store.CancelCertificateOperation(ctx, name)
	if err != nil || !cancelled.CancellationRequested || cancelled.RequestID != op.RequestID || cancelled.Status == broker.OperationCompleted {
		f.Errorf("CancelCertificateOperation: %+v, %v", cancelled, err)
	}
	if got := f.operation(name); !got.CancellationRequested {
		f.Errorf("GetCertificateOperation: %+v", got)
	}
	deleted, err := f.store.DeleteCertificateOperation(ctx, name)
	if err != nil || deleted.RequestID != op.RequestID {
		f.Errorf("DeleteCertificateOperation: %+v, %v", deleted, err)
	}
	_, err = f.store.GetCertificateOperation(ctx, name)
	f.wantCode("GetCertificateOperation of a deleted one", err, broker.CodeOperationNotFound)
	_, err = f.store.GetCertificate(ctx, name)
	f.wantCode("GetCertificate without a version", err, broker.CodeCertificateNotFound)

	c := f.make(name, selfSigned())
	if _, err := f.store.CancelCertificateOperation(ctx, name); err != nil || !f.operation(name).Done() {
		f.Errorf("CancelCertificateOperation of one that is done: %v", err)
	}
	if _, err := f.store.DeleteCertificateOperation(ctx, name); err != nil {
		f.Errorf("DeleteCertificateOperation of one that is done: %v", err)
	}
	f.wantSame("GetCertificate", f.get(name), c)
	f.begin(name, broker.NewCertificate{Policy: toSign(), Enabled: true})
	if _, err := f.store.DeleteCertificateOperation(ctx, name); err != nil {
		f.Errorf("DeleteCertificateOperation beside a version: %v", err)
	}
	if got := f.get(name); got.Name != c.Name || !bytes.Equal(got.DER, c.DER) {
		f.Errorf("GetCertificate: %v", got)
	}
	f.create(name, broker.NewCertificate{Policy: selfSigned(), Enabled: true})
}
