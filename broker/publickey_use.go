package broker

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"math/big"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secp256k1ecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// Verify reports whether the signature of the digest is good. One that is not,
// whatever it looks like, is no error. The algorithm and the digest must fit the
// key.
func (k PublicKey) Verify(alg Algorithm, digest, signature []byte) (bool, error) {
	if err := CheckAlgorithm(KeyOpVerify, alg, k.jwk.Type, k.jwk.Curve, 0); err != nil {
		return false, err
	}
	if err := CheckDigest(alg, digest); err != nil {
		return false, err
	}
	switch f := algorithms[alg]; {
	case k.rsa != nil && strings.HasPrefix(string(alg), "PS"):
		// RFC 7518 section 3.5: the salt is as long as the digest.
		return rsa.VerifyPSS(k.rsa, f.Hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil, nil
	case k.rsa != nil:
		return rsa.VerifyPKCS1v15(k.rsa, f.Hash, digest, signature) == nil, nil
	case k.ec != nil:
		r, s, ok := halves(signature, k.jwk.Curve.Size())
		return ok && ecdsa.Verify(k.ec, digest, new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)), nil
	case k.k256 != nil:
		r, s, ok := halves(signature, k.jwk.Curve.Size())
		return ok && verifyK256(k.k256, digest, r, s), nil
	default:
		return false, errNoKey
	}
}

// halves takes r‖s apart.
func halves(signature []byte, size int) (r, s []byte, ok bool) {
	if len(signature) != 2*size {
		return nil, nil, false
	}
	return signature[:size], signature[size:], true
}

// verifyK256 takes a high s as well as a low one: RFC 8812 asks for neither.
func verifyK256(key *secp256k1.PublicKey, digest, r, s []byte) bool {
	var rs, ss secp256k1.ModNScalar
	if rs.SetByteSlice(r) || ss.SetByteSlice(s) || rs.IsZero() || ss.IsZero() {
		return false
	}
	return secp256k1ecdsa.NewSignature(&rs, &ss).Verify(digest, key)
}

// Encrypt encrypts with an RSA key. WrapKey is the same: RFC 7518 has one set of
// algorithms for both. A plaintext that is too long for the key is CodeBadField
// of "value".
func (k PublicKey) Encrypt(alg Algorithm, plaintext []byte) ([]byte, error) {
	if err := CheckAlgorithm(KeyOpEncrypt, alg, k.jwk.Type, k.jwk.Curve, 0); err != nil {
		return nil, err
	}
	if k.rsa == nil {
		return nil, errNoKey
	}
	var ciphertext []byte
	var err error
	if hash := algorithms[alg].Hash; hash != 0 {
		ciphertext, err = rsa.EncryptOAEP(hash.New(), rand.Reader, k.rsa, plaintext, nil)
	} else {
		ciphertext, err = rsa.EncryptPKCS1v15(rand.Reader, k.rsa, plaintext) //nolint:staticcheck // RSA1_5 is what the caller asked for
	}
	switch {
	case errors.Is(err, rsa.ErrMessageTooLong):
		return nil, badInput("the plaintext is too long for this key and " + string(alg))
	case err != nil:
		return nil, err
	}
	return ciphertext, nil
}
