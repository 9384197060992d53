package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secp256k1ecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// azureAlgorithm judges one algorithm, both ways: what the vault makes is good to
// Go's own library, and what the library makes is good to the vault.
type azureAlgorithm struct {
	name string
	run  func(*testing.T, *azureKeys)
}

// signer is a key of the library's; verifier, its public half.
type (
	signer   func(t *testing.T, digest []byte) []byte
	verifier func(digest, signature []byte) bool
)

// signatures are the algorithms of RSA and EC keys.
func (s *azureKeys) signatures(t *testing.T) []azureAlgorithm {
	t.Helper()
	k := must(rsa.GenerateKey(rand.Reader, 2048))
	var all []azureAlgorithm
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		bits, pss := h.String()[len("SHA-"):], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
		all = append(all,
			signing("RS"+bits, h, s.rsaJWK(k), "go-rsa-2048",
				func(_ *testing.T, digest []byte) []byte { return must(rsa.SignPKCS1v15(nil, k, h, digest)) },
				func(k azkeys.JSONWebKey) verifier {
					return func(digest, sig []byte) bool { return rsa.VerifyPKCS1v15(rsaPublic(k), h, digest, sig) == nil }
				}),
			signing("PS"+bits, h, s.rsaJWK(k), "go-rsa-2048",
				func(_ *testing.T, digest []byte) []byte { return must(rsa.SignPSS(rand.Reader, k, h, digest, pss)) },
				func(k azkeys.JSONWebKey) verifier {
					return func(digest, sig []byte) bool { return rsa.VerifyPSS(rsaPublic(k), h, digest, sig, pss) == nil }
				}))
	}
	for _, on := range []struct {
		alg, curve string
		hash       crypto.Hash
	}{
		{"ES256", "P-256", crypto.SHA256},
		{"ES384", "P-384", crypto.SHA384},
		{"ES512", "P-521", crypto.SHA512},
		{"ES256K", "P-256K", crypto.SHA256},
	} {
		k := must(newECKey(on.curve))
		all = append(all, signing(on.alg, on.hash, k.jwk(s.typed(azkeys.KeyTypeEC)), "go-"+on.curve, k.sign, ecVerifier))
	}
	return all
}

// signing judges an algorithm with a key of the library's that the vault takes in,
// and with one that the vault made.
func signing(name string, h crypto.Hash, theirs azkeys.JSONWebKey, made string, sign signer, public func(azkeys.JSONWebKey) verifier) azureAlgorithm {
	return azureAlgorithm{name, func(t *testing.T, s *azureKeys) {
		alg, imported, digest := azkeys.SignatureAlgorithm(name), "go-imported-"+name, digestOf(h)
		s.takeIn(t, imported, theirs)
		for _, key := range []string{imported, made} {
			held, err := s.client.GetKey(t.Context(), key, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.client.Sign(t.Context(), key, "", azkeys.SignParameters{Algorithm: &alg, Value: digest}, nil)
			if err != nil || !public(*held.Key)(digest, got.Result) || *got.KID != *held.Key.KID {
				t.Errorf("the library refuses what the vault signed with %s: %v", key, err)
			}
			s.wantVerified(t, key, alg, digest, got.Result)
		}
		s.wantVerified(t, imported, alg, digest, sign(t, digest))
	}}
}

// wantVerified checks that the vault takes a signature, and not with a bit flipped.
func (s *azureKeys) wantVerified(t *testing.T, key string, alg azkeys.SignatureAlgorithm, digest, sig []byte) {
	t.Helper()
	flipped := slices.Clone(sig)
	flipped[len(flipped)/2] ^= 1
	for _, tt := range []struct {
		sig  []byte
		want bool
	}{{sig, true}, {flipped, false}} {
		got, err := s.client.Verify(t.Context(), key, "", azkeys.VerifyParameters{Algorithm: &alg, Digest: digest, Signature: tt.sig}, nil)
		if err != nil || *got.Value != tt.want {
			t.Errorf("verify with %s: %v, want %v", key, err, tt.want)
		}
	}
}

// encryptions are the algorithms that RSA keys encrypt and wrap with.
func (s *azureKeys) encryptions(t *testing.T) []azureAlgorithm {
	t.Helper()
	k := must(rsa.GenerateKey(rand.Reader, 2048))
	var all []azureAlgorithm
	for _, alg := range []struct {
		name string
		hash crypto.Hash // of OAEP
	}{{"RSA1_5", 0}, {"RSA-OAEP", crypto.SHA1}, {"RSA-OAEP-256", crypto.SHA256}} {
		seal := func(public *rsa.PublicKey, plain []byte) ([]byte, error) {
			if alg.hash == 0 {
				return rsa.EncryptPKCS1v15(rand.Reader, public, plain) //nolint:staticcheck // what RSA1_5 is
			}
			return rsa.EncryptOAEP(alg.hash.New(), rand.Reader, public, plain, nil)
		}
		open := func(sealed []byte) ([]byte, error) {
			if alg.hash == 0 {
				return rsa.DecryptPKCS1v15(nil, k, sealed) //nolint:staticcheck // what RSA1_5 is
			}
			return rsa.DecryptOAEP(alg.hash.New(), nil, k, sealed, nil)
		}
		all = append(all, azureAlgorithm{alg.name, func(t *testing.T, s *azureKeys) {
			imported := "go-imported-" + alg.name
			if alg.hash == 0 {
				imported = "go-imported-RSA15" // names have no underscore
			}
			s.takeIn(t, imported, s.rsaJWK(k))
			for _, key := range []string{imported, "go-rsa-2048"} {
				held, err := s.client.GetKey(t.Context(), key, "", nil)
				if err != nil {
					t.Fatal(err)
				}
				s.wantSealing(t, key, alg.name,
					func(plain []byte) ([]byte, error) { return seal(rsaPublic(*held.Key), plain) },
					map[bool]func([]byte) ([]byte, error){true: open}[key == imported])
			}
		}})
	}
	return all
}

// wantSealing checks that the vault decrypts and unwraps what the library and
// itself sealed; and, where open is not nil, that the library opens the vault's.
func (s *azureKeys) wantSealing(t *testing.T, key, name string, seal, open func([]byte) ([]byte, error)) {
	t.Helper()
	ctx, plain := t.Context(), []byte("plain text")
	in := func(value []byte) azkeys.KeyOperationParameters {
		return azkeys.KeyOperationParameters{Algorithm: new(azkeys.EncryptionAlgorithm(name)), Value: value}
	}
	encrypted, err := s.client.Encrypt(ctx, key, "", in(plain), nil)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := s.client.WrapKey(ctx, key, "", in(plain), nil)
	if err != nil {
		t.Fatal(err)
	}
	if open != nil {
		for what, sealed := range map[string][]byte{"encrypted": encrypted.Result, "wrapped": wrapped.Result} {
			if got, err := open(sealed); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("the library does not open what the vault %s with %s: %v", what, key, err)
			}
		}
	}
	for whose, sealed := range map[string][]byte{"the library": must(seal(plain)), "the vault": encrypted.Result} {
		if got, err := s.client.Decrypt(ctx, key, "", in(sealed), nil); err != nil || !bytes.Equal(got.Result, plain) {
			t.Errorf("the vault does not decrypt with %s what %s encrypted: %v", key, whose, err)
		}
		if got, err := s.client.UnwrapKey(ctx, key, "", in(sealed), nil); err != nil || !bytes.Equal(got.Result, plain) {
			t.Errorf("the vault does not unwrap with %s what %s encrypted: %v", key, whose, err)
		}
	}
	bad := slices.Clone(encrypted.Result)
	bad[len(bad)/2] ^= 1
	if got, err := s.client.Decrypt(ctx, key, "", in(bad), nil); err == nil && bytes.Equal(got.Result, plain) {
		t.Errorf("the vault decrypts with %s what was changed", key)
	}
}

func (s *azureKeys) rsaJWK(k *rsa.PrivateKey) azkeys.JSONWebKey {
	return azkeys.JSONWebKey{
		Kty: s.typed(azkeys.KeyTypeRSA), N: k.N.Bytes(), E: big.NewInt(int64(k.E)).Bytes(), D: k.D.Bytes(),
		P: k.Primes[0].Bytes(), Q: k.Primes[1].Bytes(),
		DP: k.Precomputed.Dp.Bytes(), DQ: k.Precomputed.Dq.Bytes(), QI: k.Precomputed.Qinv.Bytes(),
	}
}

func rsaPublic(k azkeys.JSONWebKey) *rsa.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).SetBytes(k.N), E: int(new(big.Int).SetBytes(k.E).Int64())}
}

// ecKey is a key of the library's on one of Key Vault's curves.
type ecKey struct {
	curve   azkeys.CurveName
	x, y, d []byte
	sign    signer // r and s, as JOSE has them
}

var nistCurves = map[azkeys.CurveName]elliptic.Curve{
	azkeys.CurveNameP256: elliptic.P256(), azkeys.CurveNameP384: elliptic.P384(), azkeys.CurveNameP521: elliptic.P521(),
}

func newECKey(curve string) (ecKey, error) {
	name := azkeys.CurveName(curve)
	if name == azkeys.CurveNameP256K {
		k, err := secp256k1.GeneratePrivateKey()
		if err != nil {
			return ecKey{}, err
		}
		point := k.PubKey().SerializeUncompressed()[1:]
		return ecKey{curve: name, x: point[:32], y: point[32:], d: k.Serialize(), sign: func(_ *testing.T, digest []byte) []byte {
			return secp256k1ecdsa.SignCompact(k, digest, false)[1:]
		}}, nil
	}
	k, err := ecdsa.GenerateKey(nistCurves[name], rand.Reader)
	if err != nil {
		return ecKey{}, err
	}
	point, d := must(k.PublicKey.Bytes())[1:], must(k.Bytes())
	size := len(d)
	return ecKey{curve: name, x: point[:size], y: point[size:], d: d, sign: func(t *testing.T, digest []byte) []byte {
		r, s, err := ecdsa.Sign(rand.Reader, k, digest)
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	}}, nil
}

func (k ecKey) jwk(kty *azkeys.KeyType) azkeys.JSONWebKey {
	return azkeys.JSONWebKey{Kty: kty, Crv: &k.curve, X: k.x, Y: k.y, D: k.d}
}

// ecVerifier is the library's with the public half that the vault tells.
func ecVerifier(k azkeys.JSONWebKey) verifier {
	point, size := slices.Concat([]byte{4}, k.X, k.Y), len(k.X)
	return func(digest, sig []byte) bool {
		if len(sig) != 2*size {
			return false
		}
		if *k.Crv != azkeys.CurveNameP256K {
			public, err := ecdsa.ParseUncompressedPublicKey(nistCurves[*k.Crv], point)
			return err == nil && ecdsa.Verify(public, digest, new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:]))
		}
		var r, z secp256k1.ModNScalar
		public, err := secp256k1.ParsePubKey(point)
		return err == nil && !r.SetByteSlice(sig[:32]) && !z.SetByteSlice(sig[32:]) && secp256k1ecdsa.NewSignature(&r, &z).Verify(digest, public)
	}
}

func digestOf(h crypto.Hash) []byte {
	d := h.New()
	d.Write([]byte("text"))
	return d.Sum(nil)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
