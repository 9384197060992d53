package main

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"fmt"
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	josecipher "github.com/go-jose/go-jose/v4/cipher"
)

// symmetricAlgorithms are those of a Managed HSM's keys.
func symmetricAlgorithms() []azureAlgorithm {
	var all []azureAlgorithm
	for _, bits := range []int32{128, 192, 256} {
		for _, a := range []struct {
			suffix string
			run    func(symmetric, *testing.T)
		}{
			{"GCM", symmetric.gcm},
			{"CBC", func(k symmetric, t *testing.T) { k.cbc(t, nil) }},
			{"CBCPAD", func(k symmetric, t *testing.T) { k.cbc(t, bytes.Repeat([]byte{16}, 16)) }},
			{"KW", symmetric.wrapping},
		} {
			name := fmt.Sprint("A", bits, a.suffix)
			all = append(all, azureAlgorithm{name, func(t *testing.T, s *azureKeys) {
				key := make([]byte, bits/8)
				_, _ = rand.Read(key)
				imported, made := "go-imported-"+name, "go-made-"+name
				s.takeIn(t, imported, azkeys.JSONWebKey{Kty: new(azkeys.KeyTypeOctHSM), K: key})
				s.make(t, made, azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeOctHSM), KeySize: &bits})
				k := symmetric{s, azkeys.EncryptionAlgorithm(name), imported, must(aes.NewCipher(key))}
				a.run(k, t)
				k.name, k.block = made, nil
				a.run(k, t)
			}})
		}
	}
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		name := "HS" + h.String()[len("SHA-"):]
		all = append(all, azureAlgorithm{name, func(t *testing.T, s *azureKeys) { s.mac(t, name, h) }})
	}
	return all
}

// symmetric is a key, and its cipher if the library has it too. Without it, the
// vault is asked to open what it sealed.
type symmetric struct {
	*azureKeys
	alg   azkeys.EncryptionAlgorithm
	name  string
	block cipher.Block
}

var (
	symmetricPlain = []byte("two whole blocks of plain text..")
	symmetricIV    = []byte("0123456789abcdef")
	symmetricAAD   = []byte("aad")
)

func (k symmetric) encrypt(t *testing.T, p azkeys.KeyOperationParameters) azkeys.KeyOperationResult {
	t.Helper()
	p.Algorithm, p.Value = &k.alg, symmetricPlain
	got, err := k.client.Encrypt(t.Context(), k.name, "", p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return got.KeyOperationResult
}

// wantDecrypted checks that the vault opens p.
func (k symmetric) wantDecrypted(t *testing.T, whose string, p azkeys.KeyOperationParameters) {
	t.Helper()
	p.Algorithm = &k.alg
	got, err := k.client.Decrypt(t.Context(), k.name, "", p, nil)
	if err != nil || !bytes.Equal(got.Result, symmetricPlain) {
		t.Errorf("the vault does not open with %s what %s encrypted: %v", k.name, whose, err)
	}
}

func (k symmetric) gcm(t *testing.T) {
	got := k.encrypt(t, azkeys.KeyOperationParameters{AdditionalAuthenticatedData: symmetricAAD})
	sealed := azkeys.KeyOperationParameters{
		Value: got.Result, AuthenticationTag: got.AuthenticationTag, IV: got.IV, AdditionalAuthenticatedData: symmetricAAD,
	}
	k.wantDecrypted(t, "it", sealed)
	sealed.Algorithm, sealed.AdditionalAuthenticatedData = &k.alg, []byte("other")
	if _, err := k.client.Decrypt(t.Context(), k.name, "", sealed, nil); err == nil {
		t.Error("the vault opens it with other additional data")
	}
	if k.block == nil {
		return
	}
	gcm := must(cipher.NewGCM(k.block))
	if opened, err := gcm.Open(nil, got.IV, slices.Concat(got.Result, got.AuthenticationTag), symmetricAAD); err != nil || !bytes.Equal(opened, symmetricPlain) {
		t.Errorf("the library does not open what the vault encrypted: %v", err)
	}
	theirs := gcm.Seal(nil, symmetricIV[:12], symmetricPlain, symmetricAAD)
	n := len(symmetricPlain)
	k.wantDecrypted(t, "the library", azkeys.KeyOperationParameters{
		Value: theirs[:n], AuthenticationTag: theirs[n:], IV: symmetricIV[:12], AdditionalAuthenticatedData: symmetricAAD,
	})
}

func (k symmetric) cbc(t *testing.T, padding []byte) {
	got := k.encrypt(t, azkeys.KeyOperationParameters{IV: symmetricIV})
	k.wantDecrypted(t, "it", azkeys.KeyOperationParameters{Value: got.Result, IV: symmetricIV})
	if k.block == nil {
		return
	}
	want := slices.Concat(symmetricPlain, padding)
	cipher.NewCBCEncrypter(k.block, symmetricIV).CryptBlocks(want, want)
	if !bytes.Equal(got.Result, want) {
		t.Errorf("the vault made %x of it, the library %x", got.Result, want)
	}
}

func (k symmetric) wrapping(t *testing.T) {
	in := func(v []byte) azkeys.KeyOperationParameters {
		return azkeys.KeyOperationParameters{Algorithm: &k.alg, Value: v}
	}
	wrapped, err := k.client.WrapKey(t.Context(), k.name, "", in(symmetricPlain), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := k.client.UnwrapKey(t.Context(), k.name, "", in(wrapped.Result), nil)
	if err != nil || !bytes.Equal(got.Result, symmetricPlain) {
		t.Errorf("the vault does not unwrap with %s what it wrapped: %v", k.name, err)
	}
	if k.block == nil {
		return
	}
	if want := must(josecipher.KeyWrap(k.block, symmetricPlain)); !bytes.Equal(wrapped.Result, want) {
		t.Errorf("the vault made %x of it, the library %x", wrapped.Result, want)
	}
}

// mac judges an algorithm that has no public half.
func (s *azureKeys) mac(t *testing.T, name string, h crypto.Hash) {
	alg, key, digest := azkeys.SignatureAlgorithm(name), make([]byte, 32), digestOf(h)
	_, _ = rand.Read(key)
	imported := "go-imported-" + name
	s.takeIn(t, imported, azkeys.JSONWebKey{Kty: new(azkeys.KeyTypeOctHSM), K: key})
	mac := hmac.New(h.New, key)
	mac.Write(digest)
	want := mac.Sum(nil)
	got, err := s.client.Sign(t.Context(), imported, "", azkeys.SignParameters{Algorithm: &alg, Value: digest}, nil)
	if err != nil || !hmac.Equal(got.Result, want) {
		t.Errorf("the vault signs otherwise than the library: %v", err)
	}
	s.wantVerified(t, imported, alg, digest, want)
}
