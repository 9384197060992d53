package broker_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/keyward/keyward/broker"
)

// issued is a certificate with its key.
type issued struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// issue makes a certificate of key, signed by parent, or by itself.
func issue(t testing.TB, name string, key crypto.Signer, parent *issued) issued {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	by := issued{template, key}
	if parent != nil {
		by = *parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return issued{cert, key}
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func rsaKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func certificateBlocks(certs ...*x509.Certificate) string {
	var out strings.Builder
	for _, c := range certs {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return out.String()
}

func keyBlock(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// Every way to write a certificate is read again, to what was written.
func TestCertificateMaterial(t *testing.T) {
	root := issue(t, "root.example", ecKey(t), nil)
	middle := issue(t, "middle.example", ecKey(t), &root)
	for kind, key := range map[string]crypto.Signer{"RSA": rsaKey(t), "EC": ecKey(t)} {
		leaf := issue(t, "leaf.example", key, &middle)
		chain := []*x509.Certificate{middle.cert, root.cert}
		pfx := func(encoder *pkcs12.Encoder, password string) string {
			der, err := encoder.Encode(key, leaf.cert, chain, password)
			if err != nil {
				t.Fatal(err)
			}
			return base64.StdEncoding.EncodeToString(der)
		}
		for name, in := range map[string]struct{ contentType, text, password string }{
			"PFX, modern":           {broker.ContentTypePKCS12, pfx(pkcs12.Modern2023, "p"), "p"},
			"PFX, PBMAC1":           {broker.ContentTypePKCS12, pfx(pkcs12.Modern2026, "p"), "p"},
			"PFX, old ciphers":      {broker.ContentTypePKCS12, pfx(pkcs12.LegacyDES, "p"), "p"},
			"PFX, older ciphers":    {broker.ContentTypePKCS12, pfx(pkcs12.LegacyRC2, "p"), "p"},
			"PFX, empty password":   {broker.ContentTypePKCS12, pfx(pkcs12.LegacyDES, ""), ""},
			"PFX, no password":      {broker.ContentTypePKCS12, pfx(pkcs12.Passwordless, ""), ""},
			"PFX, not said":         {"", pfx(pkcs12.Modern2023, "p"), "p"},
			"PEM, key first":        {broker.ContentTypePEM, keyBlock(t, key) + certificateBlocks(leaf.cert, middle.cert, root.cert), ""},
			"PEM, key last":         {broker.ContentTypePEM, certificateBlocks(leaf.cert, middle.cert, root.cert) + keyBlock(t, key), ""},
			"PEM, leaf in between":  {broker.ContentTypePEM, certificateBlocks(root.cert, leaf.cert, middle.cert) + keyBlock(t, key), ""},
			"PEM, in base64":        {broker.ContentTypePEM, base64.StdEncoding.EncodeToString([]byte(keyBlock(t, key) + certificateBlocks(leaf.cert, middle.cert, root.cert))), ""},
			"PEM, not said":         {"", "Bag Attributes\n" + certificateBlocks(leaf.cert, root.cert, middle.cert) + keyBlock(t, key), ""},
			"PEM, order turned":     {"", certificateBlocks(root.cert, middle.cert, leaf.cert) + keyBlock(t, key), ""},
			"PEM, with line breaks": {"", strings.ReplaceAll(keyBlock(t, key)+certificateBlocks(leaf.cert, middle.cert, root.cert), "\n", "\r\n"), ""},
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				m, err := broker.ParseCertificateMaterial(in.contentType, broker.NewValue(in.text), broker.NewValue(in.password))
				if err != nil {
					t.Fatal(err)
				}
				m = m.Ordered()
				if len(m.Chain) != 3 || !bytes.Equal(m.Chain[0], leaf.cert.Raw) || !bytes.Equal(m.Chain[1], middle.cert.Raw) || !bytes.Equal(m.Chain[2], root.cert.Raw) {
					t.Errorf("the chain is not leaf, middle, root")
				}
				if pair, err := tls.X509KeyPair([]byte(m.ChainPEM()), []byte(m.KeyPEM().Reveal())); err != nil || len(pair.Certificate) != 3 {
					t.Errorf("no pair for a server: %v", err)
				}
				for _, contentType := range []string{broker.ContentTypePKCS12, broker.ContentTypePEM} {
					secret, err := m.Secret(contentType)
					if err != nil {
						t.Fatal(err)
					}
					again, err := broker.ParseCertificateMaterial(contentType, secret, broker.Value{})
					if err != nil || again.Key != m.Key || again.ChainPEM() != m.ChainPEM() {
						t.Errorf("%s: %v, or another than was written", contentType, err)
					}
				}
				for _, password := range []string{"", "pass word, ü"} {
					der, err := m.PFX(broker.NewValue(password))
					if err != nil {
						t.Fatal(err)
					}
					k, c, others, err := pkcs12.DecodeChain([]byte(der.Reveal()), password)
					if err != nil || !c.Equal(leaf.cert) || len(others) != 2 || !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(k.(crypto.Signer).Public()) {
						t.Errorf("password %q: %v, or another than was written", password, err)
					}
				}
			})
		}
	}
}

// A salt is any bytes, and may begin as a bag does.
func TestPFXSalts(t *testing.T) {
	key := ecKey(t)
	leaf := issue(t, "leaf.example", key, nil)
	for _, salt := range []string{"\xe1\x06\xc7\x8f\x05\xa6\xec\x7a", "\x30\x06\x04\x09\x02\x01\x01\x00", "\x30\x06\x04\x01\x00\x02\x01\x01"} {
		der, err := pkcs12.LegacyDES.WithRand(strings.NewReader(strings.Repeat(salt, 99))).Encode(key, leaf.cert, nil, "p")
		if err != nil {
			t.Fatal(err)
		}
		_, err = broker.ParseCertificateMaterial("", broker.NewValue(base64.StdEncoding.EncodeToString(der)), broker.NewValue("p"))
		if err != nil {
			t.Errorf("salt %x: %v", salt, err)
		}
	}
}

// Without a private key there are certificates alone, which are no PFX.
func TestCertificateMaterialWithoutKey(t *testing.T) {
	leaf := issue(t, "leaf.example", ecKey(t), nil)
	want := broker.CertificateMaterial{Chain: [][]byte{leaf.cert.Raw}}
	for _, contentType := range []string{broker.ContentTypePKCS12, broker.ContentTypePEM} {
		secret, err := want.Secret(contentType)
		if err != nil {
			t.Fatal(err)
		}
		got, err := broker.ParseCertificateMaterial(contentType, secret, broker.Value{})
		if err != nil || got.Key.Len() != 0 || got.ChainPEM() != want.ChainPEM() || got.KeyPEM().Len() != 0 {
			t.Errorf("%s: %v %v", contentType, got, err)
		}
	}
	if _, err := want.PFX(broker.Value{}); err == nil {
		t.Error("a PFX without a key")
	}
}

func TestBadCertificateMaterial(t *testing.T) {
	key, other := ecKey(t), ecKey(t)
	leaf := issue(t, "leaf.example", key, nil)
	good, err := pkcs12.Modern2023.Encode(key, leaf.cert, nil, "right")
	if err != nil {
		t.Fatal(err)
	}
	dear, err := pkcs12.LegacyDES.WithIterations(1_000_001).Encode(key, leaf.cert, nil, "right")
	if err != nil {
		t.Fatal(err)
	}
	mixed, err := pkcs12.Modern2023.Encode(other, leaf.cert, nil, "right")
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.StdEncoding.EncodeToString
	const pfxWords = "it is no PFX, PKCS #12 in base64, with an RSA or EC key, or the password is not its own"
	for name, c := range map[string]struct{ contentType, text, password, want string }{
		"wrong password":     {broker.ContentTypePKCS12, encode(good), "wrong", pfxWords},
		"no password":        {broker.ContentTypePKCS12, encode(good), "", pfxWords},
		"cut short":          {broker.ContentTypePKCS12, encode(good[:len(good)-9]), "right", pfxWords},
		"longer":             {broker.ContentTypePKCS12, encode(append(bytes.Clone(good), 0)), "right", pfxWords},
		"no base64":          {broker.ContentTypePKCS12, "%%%", "right", pfxWords},
		"nothing":            {broker.ContentTypePKCS12, "", "", pfxWords},
		"no PFX":             {broker.ContentTypePKCS12, encode(leaf.cert.Raw), "", pfxWords},
		"a million rounds":   {broker.ContentTypePKCS12, encode(dear), "right", pfxWords},
		"too long":           {broker.ContentTypePKCS12, strings.Repeat("A", 100<<10), "", "it is longer than 64 KiB"},
		"of another key":     {broker.ContentTypePKCS12, encode(mixed), "right", "none of its certificates is of its private key"},
		"PEM of another key": {broker.ContentTypePEM, keyBlock(t, other) + certificateBlocks(leaf.cert), "", "none of its certificates is of its private key"},
		"PEM, too long":      {broker.ContentTypePEM, strings.Repeat("\n", 200<<10), "", "it is longer than 64 KiB"},
		"PEM, no block":      {broker.ContentTypePEM, "hello", "", "there is no certificate in it"},
		"PEM, key alone":     {broker.ContentTypePEM, keyBlock(t, key), "", "there is no certificate in it"},
		"PEM, two keys":      {broker.ContentTypePEM, keyBlock(t, key) + keyBlock(t, other) + certificateBlocks(leaf.cert), "", "want one PRIVATE KEY block, PKCS #8 of an RSA or EC key"},
		"PEM, broken":        {broker.ContentTypePEM, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.cert.Raw[1:]})), "", "a CERTIFICATE block holds no X.509 certificate"},
		"PEM, SEC 1":         {broker.ContentTypePEM, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})) + certificateBlocks(leaf.cert), "", "the private key is not in plain PKCS #8; convert it: openssl pkcs8 -topk8 -nodes"},
		"PEM, eleven":        {broker.ContentTypePEM, keyBlock(t, key) + strings.Repeat(certificateBlocks(leaf.cert), 11), "", "there are more than 10 certificates in it"},
		"another type":       {"text/plain", "x", "", "its content type is none of application/x-pkcs12 and application/x-pem-file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := broker.ParseCertificateMaterial(c.contentType, broker.NewValue(c.text), broker.NewValue(c.password))
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// Whatever is read can be written and read again, to the same.
func FuzzCertificateMaterial(f *testing.F) {
	key := ecKey(f)
	leaf := issue(f, "leaf.example", key, nil)
	der, err := pkcs12.Passwordless.Encode(key, leaf.cert, nil, "")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(base64.StdEncoding.EncodeToString(der))
	f.Add(keyBlock(f, key) + certificateBlocks(leaf.cert))
	f.Add(certificateBlocks(leaf.cert))
	deep, err := asn1.Marshal([]asn1.RawValue{{Tag: asn1.TagOctetString, Bytes: der}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(base64.StdEncoding.EncodeToString(deep))
	f.Fuzz(func(t *testing.T, text string) {
		m, err := broker.ParseCertificateMaterial("", broker.NewValue(text), broker.Value{})
		if err != nil {
			return
		}
		for _, contentType := range []string{broker.ContentTypePKCS12, broker.ContentTypePEM} {
			secret, err := m.Secret(contentType)
			if err != nil {
				t.Fatal(err)
			}
			again, err := broker.ParseCertificateMaterial(contentType, secret, broker.Value{})
			if err != nil || again.Key != m.Key || again.ChainPEM() != m.ChainPEM() {
				t.Errorf("%s: %v, or another than was written", contentType, err)
			}
		}
	})
}
