package openapi_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"testing"
	"time"
)

// forSigning has a certificate made that somebody else signs.
func forSigning(_ *testing.T, r *request, _ reply) {
	r.parameters["certificate"] = "signed"
	object(object(r.body)["policy"])["issuerName"] = "Unknown"
}

// signed has the signing request in the last reply signed by an authority of the
// test's.
func signed(t *testing.T, r *request, after reply) {
	var op struct {
		CSR []byte `json:"csrDer"`
	}
	if err := json.Unmarshal(after.body, &op); err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(op.CSR)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: csr.Subject, DNSNames: csr.DNSNames,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "ca.example.org"}}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, csr.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	object(r.body)["x509Certificates"] = []any{der}
}
