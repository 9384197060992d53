package broker

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"unicode/utf16"

	"software.sslmate.com/src/go-pkcs12"
)

// Of RFC 7292 and RFC 2315.
var (
	oidData          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidEncryptedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 6}
	oidKeyBag        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 1}
	oidSHA256        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
)

type pfxContent struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"tag:0,explicit,optional"`
}

type pfxMAC struct {
	Digest struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	Salt       []byte
	Iterations int
}

// keySealedTwice reports whether a sealed bag of a PFX has a key in it, which may be
// sealed again, with a count that nobody has looked at.
//
// The library opens both seals or none. But it takes one key, and complains of a
// second before it opens it: so each sealed bag is opened behind a key of ours.
func keySealedTwice(der []byte, password string) bool {
	var outer struct {
		Version int
		Safe    pfxContent
		MAC     asn1.RawValue `asn1:"optional"`
	}
	var content asn1.RawValue
	var bags []asn1.RawValue
	for _, of := range []struct {
		der *[]byte
		as  any
	}{{&der, &outer}, {&outer.Safe.Content.Bytes, &content}, {&content.Bytes, &bags}} {
		if _, err := asn1.Unmarshal(*of.der, of.as); err != nil {
			return false // nor can the library
		}
	}
	words := [][]byte{bmpString(password)}
	if password == "" {
		words = append(words, nil) // some take no bytes at all for it
	}
	for _, bag := range bags[:min(len(bags), 2)] { // more are refused
		var b pfxContent
		if _, err := asn1.Unmarshal(bag.FullBytes, &b); err != nil || !b.Type.Equal(oidEncryptedData) {
			continue
		}
		for _, w := range words {
			_, _, _, err := pkcs12.DecodeChain(behindKey(bag, w), password)
			if err != nil && err.Error() == "pkcs12: expected exactly one key bag" {
				return true
			}
		}
	}
	return false
}

// behindKey returns a PFX of a key in the clear, and then the bag.
func behindKey(bag asn1.RawValue, password []byte) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil
	}
	keyBag := marshalDER([]pfxContent{{oidKeyBag, explicit(pkcs8)}})
	first := marshalDER(pfxContent{oidData, explicit(marshalDER(keyBag))})
	return sealedPFX(marshalDER([]asn1.RawValue{{FullBytes: first}, bag}), password)
}

// sealedPFX returns a PFX of bags, under a MAC of RFC 7292 appendix B.2, of one
// iteration and no salt.
func sealedPFX(bags, password []byte) []byte {
	const block = sha256.BlockSize
	derived := bytes.Repeat([]byte{3}, block)
	if n := len(password); n > 0 {
		full := (n + block - 1) / block * block
		derived = append(derived, bytes.Repeat(password, full/n+1)[:full]...)
	}
	key := sha256.Sum256(derived)
	mac := hmac.New(sha256.New, key[:])
	mac.Write(bags)
	m := pfxMAC{Salt: []byte{}, Iterations: 1}
	m.Digest.Algorithm.Algorithm, m.Digest.Digest = oidSHA256, mac.Sum(nil)
	return marshalDER(struct {
		Version int
		Safe    pfxContent
		MAC     pfxMAC
	}{3, pfxContent{oidData, explicit(marshalDER(bags))}, m})
}

func explicit(content []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: content}
}

// marshalDER is of what is made here, which never fails.
func marshalDER(v any) []byte {
	der, _ := asn1.Marshal(v)
	return der
}

// bmpString is how PKCS #12 writes a password: RFC 7292 appendix B.1.
func bmpString(s string) []byte {
	var out []byte
	for _, u := range utf16.Encode([]rune(s)) {
		out = binary.BigEndian.AppendUint16(out, u)
	}
	return append(out, 0, 0)
}
