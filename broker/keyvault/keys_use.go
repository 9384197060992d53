package keyvault

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	encrypt   = "Encrypt"
	decrypt   = "Decrypt"
	wrapKey   = "WrapKey"
	unwrapKey = "UnwrapKey"
	sign      = "Sign"
	verify    = "Verify"
)

// Encrypt implements broker.KeyStore.
func (c *Client) Encrypt(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return c.cipher(ctx, encrypt, name, alg, in)
}

// Decrypt implements broker.KeyStore.
func (c *Client) Decrypt(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return c.cipher(ctx, decrypt, name, alg, in)
}

// WrapKey implements broker.KeyStore.
func (c *Client) WrapKey(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return c.cipher(ctx, wrapKey, name, alg, in)
}

// UnwrapKey implements broker.KeyStore.
func (c *Client) UnwrapKey(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return c.cipher(ctx, unwrapKey, name, alg, in)
}

func (c *Client) cipher(ctx context.Context, operation string, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return use(ctx, c, operation, name, FromCipher(alg, in), func(w KeyUsed) (broker.CipherResult, error) {
		n, err := c.used(name, alg, w)
		if err != nil {
			return broker.CipherResult{}, err
		}
		if err := readable(operation, alg, in, w); err != nil {
			return broker.CipherResult{}, err
		}
		return broker.CipherResult{Cipher: broker.Cipher{Data: w.Value.Value, IV: w.IV, AAD: w.AAD, Tag: w.Tag}, Key: n}, nil
	})
}

// Sign implements broker.KeyStore.
func (c *Client) Sign(ctx context.Context, name broker.Name, alg broker.Algorithm, digest []byte) (broker.Signature, error) {
	in := KeyUse{Algorithm: alg, Value: &Blob{broker.NewValue(string(digest))}}
	return use(ctx, c, sign, name, in, func(w KeyUsed) (broker.Signature, error) {
		n, err := c.used(name, alg, w)
		if err != nil {
			return broker.Signature{}, err
		}
		if !signatureLen(alg, w.Value.Len()) {
			return broker.Signature{}, errors.New("a signature of a length that the algorithm has none of")
		}
		return broker.Signature{Value: []byte(w.Value.Reveal()), Key: n}, nil
	})
}

// Verify implements broker.KeyStore. Only a Managed HSM tells the version that it
// used: else the verdict has that of name, if any.
func (c *Client) Verify(ctx context.Context, name broker.Name, alg broker.Algorithm, digest, signature []byte) (broker.Verdict, error) {
	in := KeyUse{Algorithm: alg, Digest: digest, Value: &Blob{broker.NewValue(string(signature))}}
	return use(ctx, c, verify, name, in, func(w KeyVerified) (broker.Verdict, error) {
		if w.Value == nil || w.Algorithm != "" && w.Algorithm != alg {
			return broker.Verdict{}, errors.New("a verification without a verdict, or with another algorithm")
		}
		n := name
		if w.KeyID != "" {
			var err error
			if n, err = c.keyVersion(name, w.KeyID); err != nil {
				return broker.Verdict{}, err
			}
		}
		return broker.Verdict{Valid: *w.Value, Key: n}, nil
	})
}

// use performs a use of a key, whose path is its name in lower case.
func use[W, T any](ctx context.Context, c *Client, operation string, name broker.Name, in KeyUse, convert func(W) (T, error)) (T, error) {
	asked := time.Now()
	k, err := call{
		operation: operation, method: http.MethodPost, path: keyVersionPath(name) + "/" + strings.ToLower(operation),
		keys: true, repeat: ifFailed, limit: maxReplyLen,
	}.with(in)
	if err != nil {
		var none T
		return none, err
	}
	got, err := invoke(ctx, c, k, convert)
	return got, c.moves.judge(name, live, asked, err)
}
