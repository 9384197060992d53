package main

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/keyward/keyward/broker"
)

// The object identifiers of SEC 2 and RFC 5480.
var (
	oidP256K       = asn1.ObjectIdentifier{1, 3, 132, 0, 10}
	oidECPublicKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
)

// sec1Key is an EC private key (RFC 5915). The curve may be left out where it
// stands around the key.
type sec1Key struct {
	Version int
	Private []byte
	Curve   asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
	Public  asn1.BitString        `asn1:"optional,explicit,tag:1"`
}

// pkcs8Key is a private key (RFC 5958), but for what may follow it.
type pkcs8Key struct {
	Version   int
	Algorithm pkix.AlgorithmIdentifier
	Private   []byte
}

var errNoP256K = errors.New("no private key on the curve P-256K")

// p256kOfPKCS8 converts a key of P-256K, which crypto/x509 does not know, to a JSON
// Web Key. Errors quote nothing of it.
func p256kOfPKCS8(der []byte) ([]byte, error) {
	var k pkcs8Key
	if rest, err := asn1.Unmarshal(der, &k); err != nil || len(rest) > 0 || !k.Algorithm.Algorithm.Equal(oidECPublicKey) {
		return nil, errNoP256K
	}
	defer clear(k.Private)
	var curve asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(k.Algorithm.Parameters.FullBytes, &curve); err != nil || len(rest) > 0 {
		return nil, errNoP256K
	}
	return p256k(curve, k.Private)
}

// p256kOfSEC1 is p256kOfPKCS8 of the other form.
func p256kOfSEC1(der []byte) ([]byte, error) { return p256k(nil, der) }

// p256k converts a SEC 1 key whose curve is the given one, if it is given.
func p256k(curve asn1.ObjectIdentifier, der []byte) ([]byte, error) {
	var k sec1Key
	if rest, err := asn1.Unmarshal(der, &k); err != nil || len(rest) > 0 || k.Version != 1 {
		return nil, errNoP256K
	}
	defer clear(k.Private)
	for _, oid := range []asn1.ObjectIdentifier{curve, k.Curve} {
		if oid != nil && !oid.Equal(oidP256K) {
			return nil, errNoP256K
		}
	}
	var d secp256k1.ModNScalar
	defer d.Zero()
	if curve == nil && k.Curve == nil || len(k.Private) > broker.CurveP256K.Size() || d.SetByteSlice(k.Private) || d.IsZero() {
		return nil, errNoP256K
	}
	private := secp256k1.NewPrivateKey(&d)
	defer private.Zero()
	public := private.PubKey()
	if k.Public.BitLength > 0 {
		// A half that is another key's is a damaged file.
		if stated, err := secp256k1.ParsePubKey(k.Public.RightAlign()); err != nil || !stated.IsEqual(public) {
			return nil, errNoP256K
		}
	}
	point, text := public.SerializeUncompressed(), base64.RawURLEncoding.EncodeToString // 4, x, y
	return json.Marshal(map[string]string{
		"kty": string(broker.KeyTypeEC), "crv": string(broker.CurveP256K),
		"x": text(point[1:33]), "y": text(point[33:]), "d": text(private.Serialize()),
	})
}
