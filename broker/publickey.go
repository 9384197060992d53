package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math"
	"math/big"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// PublicKey is a key's public half, checked, and what can be done with it. Exactly
// one of the three is set.
type PublicKey struct {
	rsa  *rsa.PublicKey
	ec   *ecdsa.PublicKey
	k256 *secp256k1.PublicKey // of P-256K, which the standard library lacks
	jwk  JWK
}

// NewPublicKey checks a JWK: the numbers as long as RFC 7518 has them, a point
// on its curve, an RSA modulus of 2048 to 8192 bits with an odd exponent of 3 to
// 2^31-1. The error says what is wrong, and is no *Error.
func NewPublicKey(j JWK) (PublicKey, error) {
	k := PublicKey{jwk: j}
	var err error
	switch t := j.Type.Software(); {
	case t == KeyTypeRSA && j.Curve == "" && len(j.X)+len(j.Y) == 0:
		k.rsa, err = rsaPublicKey(j.N, j.E)
	case t == KeyTypeEC && len(j.N)+len(j.E) == 0 && j.Curve == CurveP256K:
		k.k256, err = k256PublicKey(j.X, j.Y)
	case t == KeyTypeEC && len(j.N)+len(j.E) == 0:
		k.ec, err = ecPublicKey(j.Curve, j.X, j.Y)
	default:
		err = errors.New("this is no public key of type RSA or EC")
	}
	if err != nil {
		return PublicKey{}, err
	}
	return k, nil
}

func rsaPublicKey(n, e []byte) (*rsa.PublicKey, error) {
	if len(n) == 0 || n[0] == 0 || len(n) > maxRSABits/8 {
		return nil, errors.New("the modulus is empty, begins with a zero byte or is too long")
	}
	modulus := new(big.Int).SetBytes(n)
	if modulus.BitLen() < minRSABits || modulus.Bit(0) == 0 {
		return nil, errors.New("the modulus is even, or has less than 2048 bits")
	}
	if len(e) == 0 || e[0] == 0 || len(e) > 4 {
		return nil, errors.New("the exponent is empty, begins with a zero byte or is too long")
	}
	exponent := new(big.Int).SetBytes(e)
	if exponent.Bit(0) == 0 || exponent.Cmp(big.NewInt(3)) < 0 || exponent.Cmp(big.NewInt(math.MaxInt32)) > 0 {
		return nil, errors.New("the exponent is even, or not from 3 to 2^31-1")
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, nil
}

// Elliptic returns the curve as the standard library has it, or nil: it has no
// P-256K.
func (c Curve) Elliptic() elliptic.Curve {
	switch c {
	case CurveP256:
		return elliptic.P256()
	case CurveP384:
		return elliptic.P384()
	case CurveP521:
		return elliptic.P521()
	default:
		return nil
	}
}

// Size returns the bytes of a coordinate, or 0 of a curve that is not known.
func (c Curve) Size() int {
	switch c {
	case CurveP256, CurveP256K:
		return 32
	case CurveP384:
		return 48
	case CurveP521:
		return 66
	default:
		return 0
	}
}

func ecPublicKey(c Curve, x, y []byte) (*ecdsa.PublicKey, error) {
	curve := c.Elliptic()
	if curve == nil {
		return nil, errors.New("the curve is none of P-256, P-384, P-521 and P-256K")
	}
	point, err := uncompressed(c, x, y)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, errOffCurve
	}
	return key, nil
}

func k256PublicKey(x, y []byte) (*secp256k1.PublicKey, error) {
	point, err := uncompressed(CurveP256K, x, y)
	if err != nil {
		return nil, err
	}
	key, err := secp256k1.ParsePubKey(point)
	if err != nil {
		return nil, errOffCurve
	}
	return key, nil
}

var errOffCurve = errors.New("the point is not on its curve")

// uncompressed encodes a point by SEC 1.
func uncompressed(c Curve, x, y []byte) ([]byte, error) {
	if len(x) != c.Size() || len(y) != c.Size() {
		return nil, errors.New("a coordinate is not as long as its curve's are")
	}
	point := make([]byte, 0, 1+2*c.Size())
	point = append(point, 4)
	point = append(point, x...)
	return append(point, y...), nil
}

// JWK returns what the key was made of.
func (k PublicKey) JWK() JWK { return k.jwk }

// Object identifiers of RFC 5480 and SEC 2.
var (
	oidECPublicKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidSecp256k1   = asn1.ObjectIdentifier{1, 3, 132, 0, 10}
)

// PEM returns the key as a SubjectPublicKeyInfo (RFC 5280) in PEM.
func (k PublicKey) PEM() (string, error) {
	var der []byte
	var err error
	switch {
	case k.rsa != nil:
		der, err = x509.MarshalPKIXPublicKey(k.rsa)
	case k.ec != nil:
		der, err = x509.MarshalPKIXPublicKey(k.ec)
	case k.k256 != nil:
		der, err = k256SPKI(k.k256.SerializeUncompressed())
	default:
		err = errNoKey
	}
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

var errNoKey = errors.New("there is no key")

// k256SPKI encodes a point of secp256k1, which crypto/x509 refuses.
func k256SPKI(point []byte) ([]byte, error) {
	curve, err := asn1.Marshal(oidSecp256k1)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{
		pkix.AlgorithmIdentifier{Algorithm: oidECPublicKey, Parameters: asn1.RawValue{FullBytes: curve}},
		asn1.BitString{Bytes: point, BitLength: 8 * len(point)},
	})
}
