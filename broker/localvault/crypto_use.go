package localvault

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"strings"

	secp256k1ecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/keyward/keyward/broker"
)

// sign signs a digest that fits the algorithm, with a key that does.
func (k privateKey) sign(alg broker.Algorithm, digest []byte) ([]byte, error) {
	f, _ := alg.Facts()
	switch {
	case k.rsa != nil && strings.HasPrefix(string(alg), "PS"):
		return rsa.SignPSS(rand.Reader, k.rsa, f.Hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case k.rsa != nil:
		return rsa.SignPKCS1v15(rand.Reader, k.rsa, f.Hash, digest)
	case k.ec != nil:
		r, s, err := ecdsa.Sign(rand.Reader, k.ec, digest)
		if err != nil {
			return nil, err
		}
		size := f.Curve.Size()
		signature := make([]byte, 2*size)
		r.FillBytes(signature[:size])
		s.FillBytes(signature[size:])
		return signature, nil
	case k.k256 != nil:
		signature := secp256k1ecdsa.Sign(k.k256, digest)
		r, s := signature.R(), signature.S()
		rs, ss := r.Bytes(), s.Bytes()
		return append(rs[:], ss[:]...), nil
	default:
		mac := hmac.New(f.Hash.New, k.oct)
		mac.Write(digest)
		return mac.Sum(nil), nil
	}
}

// verifyMAC checks an HMAC. Other signatures are checked with the public key.
func (k privateKey) verifyMAC(alg broker.Algorithm, data, mac []byte) bool {
	f, _ := alg.Facts()
	want := hmac.New(f.Hash.New, k.oct)
	want.Write(data)
	return hmac.Equal(want.Sum(nil), mac)
}

// decrypt decrypts or unwraps with a key that fits the algorithm. It says nothing
// of why it could not: the one error is the same for a ciphertext of a wrong
// length, a wrong padding, a wrong tag and all else.
//
// What remains is the answer itself, which says whether a padding was right, as
// Key Vault's does: whoever may decrypt with RSA1_5 or CBC can ask it of
// ciphertexts that others made. The RSA paddings are checked in constant time by
// the standard library, CBC's here.
func (k privateKey) decrypt(alg broker.Algorithm, in broker.Cipher) ([]byte, error) {
	ciphertext := []byte(in.Data.Reveal())
	if k.rsa == nil {
		return decryptSymmetric(k.oct, alg, ciphertext, in)
	}
	var plain []byte
	var err error
	if f, _ := alg.Facts(); f.Hash != 0 {
		plain, err = rsa.DecryptOAEP(f.Hash.New(), nil, k.rsa, ciphertext, nil)
	} else {
		plain, err = rsa.DecryptPKCS1v15(nil, k.rsa, ciphertext) //nolint:staticcheck // RSA1_5 is what the caller asked for
	}
	if err != nil || len(in.IV)+len(in.AAD)+len(in.Tag) != 0 {
		clear(plain)
		return nil, errUndecryptable()
	}
	return plain, nil
}

// errUndecryptable is the answer to every ciphertext that is wrong.
func errUndecryptable() error {
	return &broker.Error{
		Code: broker.CodeBadField, Field: "value",
		Message: "the key does not open this; check the ciphertext, what goes with it, the algorithm and the key's version",
	}
}

func badInput(message string) error {
	return &broker.Error{Code: broker.CodeBadField, Field: "value", Message: message}
}
