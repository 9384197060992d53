package localvault

import (
	"crypto/x509"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/keyward/keyward/broker"
)

// A signing request has the extensions, their order and their encoding that Key
// Vault's have.
func TestSigningRequest(t *testing.T) {
	p, err := newCertificatePolicy(broker.CertificatePolicy{
		Subject: "CN=DefaultPolicy", KeyType: broker.KeyTypeEC,
		KeyUsages: []string{"dataencipherment"}, Names: broker.AlternativeNames{DNSNames: []string{"localhost"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := generate(shape{Type: broker.KeyTypeEC, Curve: broker.CurveP256})
	if err != nil {
		t.Fatal(err)
	}
	der, err := p.request(key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(csr.RawSubject), "3018311630140603550403130d44656661756c74506f6c696379"; got != want {
		t.Errorf("subject %s, want %s", got, want)
	}
	want := []string{
		"2.5.29.15 critical 03020410",
		"2.5.29.37 301406082b0601050507030106082b06010505070302",
		"2.5.29.17 300b82096c6f63616c686f7374",
		"2.5.29.19 3000",
	}
	var got []string
	for _, e := range csr.Extensions {
		text := e.Id.String()
		if e.Critical {
			text += " critical"
		}
		got = append(got, text+" "+hex.EncodeToString(e.Value))
	}
	if !slices.Equal(got, want) {
		t.Errorf("extensions %q, want %q", got, want)
	}
}
