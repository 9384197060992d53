package localvault

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/keyward/keyward/broker"
)

// privateKey is a whole key, in memory for as long as it is used. Exactly one of
// the four is set. RSA and the NIST curves are used in constant time; how long a
// signature with P-256K takes depends on its nonce, as that module is made.
type privateKey struct {
	rsa  *rsa.PrivateKey
	ec   *ecdsa.PrivateKey
	k256 *secp256k1.PrivateKey // of P-256K, which the standard library lacks
	oct  []byte
}

// shape says which keys are alike: a rotation makes one of the same.
type shape struct {
	Type  broker.KeyType `json:"kty"`
	Curve broker.Curve   `json:"crv,omitempty"`
	Bits  int            `json:"bits,omitempty"` // of RSA and symmetric keys
}

// generate makes a key. An RSA key of 4096 bits takes seconds.
func generate(s shape) (k privateKey, err error) {
	switch t := s.Type.Software(); {
	case t == broker.KeyTypeRSA:
		k.rsa, err = rsa.GenerateKey(rand.Reader, s.Bits)
	case t == broker.KeyTypeEC && s.Curve == broker.CurveP256K:
		k.k256, err = secp256k1.GeneratePrivateKey()
	case t == broker.KeyTypeEC:
		k.ec, err = ecdsa.GenerateKey(s.Curve.Elliptic(), rand.Reader)
	case t == broker.KeyTypeOct:
		k.oct = make([]byte, s.Bits/8)
		_, _ = rand.Read(k.oct) // never fails
	default:
		err = fmt.Errorf("no key is of type %q", s.Type)
	}
	return k, err
}

// bytes returns the key as it is sealed: PKCS #1 of RSA, the number itself of
// elliptic curves, the key itself of a symmetric one.
func (k privateKey) bytes() ([]byte, error) {
	switch {
	case k.rsa != nil:
		return x509.MarshalPKCS1PrivateKey(k.rsa), nil
	case k.ec != nil:
		return k.ec.Bytes()
	case k.k256 != nil:
		return k.k256.Serialize(), nil
	default:
		return append([]byte(nil), k.oct...), nil
	}
}

var errMaterial = errors.New("what is sealed is no key of its type")

// parsePrivate is the inverse of bytes. Errors of the parsers are left out: they
// could quote the key.
func parsePrivate(s shape, b []byte) (privateKey, error) {
	var k privateKey
	var err error
	switch t := s.Type.Software(); {
	case t == broker.KeyTypeRSA:
		k.rsa, err = x509.ParsePKCS1PrivateKey(b)
	case t == broker.KeyTypeEC && s.Curve == broker.CurveP256K:
		k.k256, err = parseK256(b)
	case t == broker.KeyTypeEC && s.Curve.Elliptic() != nil:
		k.ec, err = ecdsa.ParseRawPrivateKey(s.Curve.Elliptic(), b)
	case t == broker.KeyTypeOct && len(b)*8 == s.Bits:
		k.oct = append([]byte(nil), b...)
	default:
		err = errMaterial
	}
	if err != nil {
		return privateKey{}, errMaterial
	}
	return k, nil
}

// parseK256 takes numbers from 1 to the curve's order, of full length.
func parseK256(b []byte) (*secp256k1.PrivateKey, error) {
	var d secp256k1.ModNScalar
	if len(b) != broker.CurveP256K.Size() || d.SetByteSlice(b) || d.IsZero() {
		return nil, errMaterial
	}
	return secp256k1.NewPrivateKey(&d), nil
}

// clear overwrites what of the key can be. The standard library's keys cannot.
func (k privateKey) clear() {
	clear(k.oct)
	if k.k256 != nil {
		k.k256.Zero()
	}
}

// public returns the public half: of a symmetric key, its type alone.
func (k privateKey) public(t broker.KeyType) (broker.JWK, error) {
	j := broker.JWK{Type: t}
	var point []byte
	switch {
	case k.rsa != nil:
		j.N = k.rsa.N.Bytes()
		j.E = big.NewInt(int64(k.rsa.E)).Bytes()
		return j, nil
	case k.ec != nil:
		var err error
		if point, err = k.ec.PublicKey.Bytes(); err != nil {
			return broker.JWK{}, err
		}
		j.Curve = broker.Curve(k.ec.Curve.Params().Name)
	case k.k256 != nil:
		point = k.k256.PubKey().SerializeUncompressed()
		j.Curve = broker.CurveP256K
	default:
		return j, nil
	}
	// An uncompressed point is 4, X, Y.
	j.X, j.Y = point[1:1+j.Curve.Size()], point[1+j.Curve.Size():]
	return j, nil
}
