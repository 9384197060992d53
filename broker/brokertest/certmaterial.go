package brokertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/keyward/keyward/broker"
)

// issued is a certificate made outside of any vault, with its chain.
type issued struct {
	*testing.T
	key   crypto.Signer
	chain []*x509.Certificate // the certificate first
}

// authority makes a root and what is between it and its certificates.
func authority(t *testing.T) issued {
	t.Helper()
	root := issue(t, newECKey(t), issued{}, func(c *x509.Certificate) { c.Subject.CommonName, c.IsCA = "root", true })
	return issue(t, newECKey(t), root, func(c *x509.Certificate) { c.Subject.CommonName, c.IsCA = "middle", true })
}

// issueFor makes a certificate of a new key.
func issueFor(t *testing.T) issued {
	t.Helper()
	return issue(t, newECKey(t), authority(t), func(*x509.Certificate) {})
}

func newECKey(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newRSAKey(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// issue makes a certificate of key, signed by another, or by itself.
func issue(t *testing.T, key crypto.Signer, by issued, change func(*x509.Certificate)) issued {
	t.Helper()
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "example.org", Organization: []string{"Example"}, Country: []string{"DE"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 3, 0), BasicConstraintsValid: true,
	}
	change(template)
	return sign(t, template, key, key.Public(), by)
}

func sign(t *testing.T, template *x509.Certificate, key crypto.Signer, public crypto.PublicKey, by issued) issued {
	t.Helper()
	parent, signer := template, key
	if by.key != nil {
		parent, signer = by.chain[0], by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return issued{T: t, key: key, chain: append([]*x509.Certificate{c}, by.chain...)}
}

func (i issued) ders() (all [][]byte) {
	for _, c := range i.chain {
		all = append(all, c.Raw)
	}
	return all
}

// pem returns key and chain as PEM.
func (i issued) pem() broker.Value {
	i.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		i.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for _, c := range i.chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return broker.NewValue(string(text))
}

// pfx returns key and chain as PKCS #12.
func (i issued) pfx(e *pkcs12.Encoder, password string) broker.Value {
	i.Helper()
	der, err := e.Encode(i.key, i.chain[0], i.chain[1:], password)
	if err != nil {
		i.Fatal(err)
	}
	return broker.NewValue(base64.StdEncoding.EncodeToString(der))
}
