package broker

import (
	"bytes"
	"crypto/aes"
	cbc "crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"math/big"
	"testing"
	"time"
)

// TestKeySealedTwice: a count that only an opened seal shows is never followed.
// Without a key in it, or with the key beside it, the same bag is read.
func TestKeySealedTwice(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"", "p", "a long password, longer than what a hash takes at once, żółć"} {
		b := bagger{t, password}
		certBag := b.bag(3, b.der(struct {
			ID  asn1.ObjectIdentifier
			DER []byte `asn1:"explicit,tag:0"`
		}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 22, 1}, cert}))
		keyBag, sealedKeyBag := b.bag(1, pkcs8), b.bag(2, b.sealed(pkcs8))
		for label, tt := range map[string]struct {
			bags  []asn1.RawValue
			twice bool
		}{
			"beside the certificate":               {[]asn1.RawValue{b.plain(sealedKeyBag), b.encrypted(certBag)}, false},
			"behind the certificate":               {[]asn1.RawValue{b.encrypted(certBag), b.plain(sealedKeyBag)}, false},
			"with the certificate":                 {[]asn1.RawValue{b.encrypted(certBag, sealedKeyBag)}, true},
			"in a seal of its own":                 {[]asn1.RawValue{b.plain(certBag), b.encrypted(sealedKeyBag)}, true},
			"sealed once, within the certificates": {[]asn1.RawValue{b.encrypted(keyBag, certBag)}, true},
		} {
			t.Run(label, func(t *testing.T) {
				pfx := b.pfx(tt.bags)
				m, err := ParseCertificateMaterial(ContentTypePKCS12, NewValue(base64.StdEncoding.EncodeToString(pfx)), NewValue(password))
				if tt.twice != errors.Is(err, errSealedTwice) || !tt.twice && (err != nil || m.Key.Reveal() != string(pkcs8)) {
					t.Errorf("password %q: %v, key of %d bytes", password, err, m.Key.Len())
				}
			})
		}
	}
}

// bagger writes PFX that no program writes.
type bagger struct {
	*testing.T

	password string
}

func (b bagger) der(v any) []byte {
	b.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		b.Fatal(err)
	}
	return der
}

func (b bagger) bag(kind int, content []byte) asn1.RawValue {
	b.Helper()
	return asn1.RawValue{FullBytes: b.der(pfxContent{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, kind}, explicit(content)})}
}

func (b bagger) plain(bags ...asn1.RawValue) asn1.RawValue {
	b.Helper()
	return asn1.RawValue{FullBytes: b.der(pfxContent{oidData, explicit(b.der(b.der(bags)))})}
}

func (b bagger) encrypted(bags ...asn1.RawValue) asn1.RawValue {
	b.Helper()
	algorithm, text := b.seal(b.der(bags))
	return asn1.RawValue{FullBytes: b.der(pfxContent{oidEncryptedData, explicit(b.der(struct {
		Version int
		Content struct {
			Type      asn1.ObjectIdentifier
			Algorithm pkix.AlgorithmIdentifier
			Text      []byte `asn1:"tag:0"`
		}
	}{Content: struct {
		Type      asn1.ObjectIdentifier
		Algorithm pkix.AlgorithmIdentifier
		Text      []byte `asn1:"tag:0"`
	}{oidData, algorithm, text}}))})}
}

func (b bagger) sealed(pkcs8 []byte) []byte {
	b.Helper()
	algorithm, text := b.seal(pkcs8)
	return b.der(struct {
		Algorithm pkix.AlgorithmIdentifier
		Text      []byte
	}{algorithm, text})
}

// seal is PBES2 of RFC 8018.
func (b bagger) seal(plain []byte) (pkix.AlgorithmIdentifier, []byte) {
	b.Helper()
	salt, iv := []byte("saltsalt"), make([]byte, aes.BlockSize)
	key, err := pbkdf2.Key(sha256.New, b.password, salt, 2, 32)
	if err != nil {
		b.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		b.Fatal(err)
	}
	n := aes.BlockSize - len(plain)%aes.BlockSize
	text := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(n)}, n)...)
	cbc.NewCBCEncrypter(block, iv).CryptBlocks(text, text)
	of := func(oid []int, parameters any) pkix.AlgorithmIdentifier {
		return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.RawValue{FullBytes: b.der(parameters)}}
	}
	return of([]int{1, 2, 840, 113549, 1, 5, 13}, []pkix.AlgorithmIdentifier{
		of([]int{1, 2, 840, 113549, 1, 5, 12}, struct {
			Salt       []byte
			Iterations int
			PRF        pkix.AlgorithmIdentifier
		}{salt, 2, of([]int{1, 2, 840, 113549, 2, 9}, asn1.NullRawValue)}),
		of([]int{2, 16, 840, 1, 101, 3, 4, 1, 42}, iv),
	}), text
}

func (b bagger) pfx(bags []asn1.RawValue) []byte {
	b.Helper()
	return sealedPFX(b.der(bags), bmpString(b.password))
}
