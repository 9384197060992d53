package broker

import (
	"context"
	"time"
)

// Verify implements KeyStore.
func (c *KeyCache) Verify(ctx context.Context, name Name, alg Algorithm, digest, signature []byte) (Verdict, error) {
	return useHere(ctx, c, name, KeyOpVerify, func(k keptKey) (Verdict, error) {
		valid, err := k.public.Verify(alg, digest, signature)
		return Verdict{Valid: valid, Key: k.Name, Local: true}, err
	}, func() (Verdict, Name, error) {
		v, err := c.KeyStore.Verify(ctx, name, alg, digest, signature)
		return v, v.Key, err
	})
}

// Encrypt implements KeyStore.
func (c *KeyCache) Encrypt(ctx context.Context, name Name, alg Algorithm, in Cipher) (CipherResult, error) {
	return c.conceal(ctx, name, KeyOpEncrypt, alg, in, c.KeyStore.Encrypt)
}

// WrapKey implements KeyStore.
func (c *KeyCache) WrapKey(ctx context.Context, name Name, alg Algorithm, in Cipher) (CipherResult, error) {
	return c.conceal(ctx, name, KeyOpWrapKey, alg, in, c.KeyStore.WrapKey)
}

// Decrypt implements KeyStore.
func (c *KeyCache) Decrypt(ctx context.Context, name Name, alg Algorithm, in Cipher) (CipherResult, error) {
	return c.cipherThere(ctx, name, KeyOpDecrypt, alg, in, c.KeyStore.Decrypt)
}

// UnwrapKey implements KeyStore.
func (c *KeyCache) UnwrapKey(ctx context.Context, name Name, alg Algorithm, in Cipher) (CipherResult, error) {
	return c.cipherThere(ctx, name, KeyOpUnwrapKey, alg, in, c.KeyStore.UnwrapKey)
}

// Sign implements KeyStore.
func (c *KeyCache) Sign(ctx context.Context, name Name, alg Algorithm, digest []byte) (Signature, error) {
	return useThere(c, name, KeyOpSign, func() (Signature, Name, error) {
		s, err := c.KeyStore.Sign(ctx, name, alg, digest)
		return s, s.Key, err
	})
}

// cipher is how a store does one of the four.
type cipher func(context.Context, Name, Algorithm, Cipher) (CipherResult, error)

func (c *KeyCache) conceal(ctx context.Context, name Name, op KeyOp, alg Algorithm, in Cipher, there cipher) (CipherResult, error) {
	if len(in.IV)+len(in.AAD)+len(in.Tag) > 0 { // of a symmetric algorithm
		return c.cipherThere(ctx, name, op, alg, in, there)
	}
	return useHere(ctx, c, name, op, func(k keptKey) (CipherResult, error) {
		plain := []byte(in.Data.Reveal())
		defer clear(plain)
		data, err := k.public.Encrypt(alg, plain)
		return CipherResult{Cipher: Cipher{Data: NewValue(string(data))}, Key: k.Name, Local: true}, err
	}, func() (CipherResult, Name, error) {
		r, err := there(ctx, name, alg, in)
		return r, r.Key, err
	})
}

func (c *KeyCache) cipherThere(ctx context.Context, name Name, op KeyOp, alg Algorithm, in Cipher, there cipher) (CipherResult, error) {
	return useThere(c, name, op, func() (CipherResult, Name, error) {
		r, err := there(ctx, name, alg, in)
		return r, r.Key, err
	})
}

// useHere uses the public key that is kept, or that it gets. What the key's state
// or the input does not allow is put to the vault, so that the refusal is the
// vault's own. A broker that may use keys of the vault and not get them is no
// worse off, but for the calls.
func useHere[R any](ctx context.Context, c *KeyCache, name Name, op KeyOp, here func(keptKey) (R, error), there func() (R, Name, error)) (R, error) {
	if !c.public {
		return useThere(c, name, op, there)
	}
	got, err := c.keys.get(ctx, name, untilTTL)
	switch {
	case err != nil && !refusesKey(err):
		// A vault that is throttled or down is not asked twice for one answer.
		var none R
		return none, err
	case err == nil && got.value.Allows(op, time.Now()) == nil:
		if r, err := here(got.value); err == nil {
			return r, nil
		}
	}
	return useThere(c, name, op, there)
}

// useThere has the vault use a key, and learns from what comes of it.
func useThere[R any](c *KeyCache, name Name, op KeyOp, there func() (R, Name, error)) (R, error) {
	r, by, err := there()
	if err != nil {
		c.heed(name, op, err)
		return r, err
	}
	// A key may be rotated elsewhere, and what its new version signed be verified
	// here.
	if k, ok := c.keys.peek(name); ok && by.Version() != "" && k.Name != by {
		c.keys.forget(name)
	}
	return r, nil
}

// heed forgets a key that the vault refuses, unless what is kept says as much. op
// is what the key was to be used for, or "".
func (c *KeyCache) heed(name Name, op KeyOp, err error) {
	if !refusesKey(err) {
		return
	}
	if k, ok := c.keys.peek(name); ok && op != "" && CodeOf(k.Allows(op, time.Now())) == CodeOf(err) {
		return
	}
	c.keys.forget(name)
}

// refusesKey reports whether a vault refused because of what the key is, or of
// what the broker may do with it.
func refusesKey(err error) bool {
	switch CodeOf(err) {
	case CodeKeyNotFound, CodeKeyDisabled, CodeKeyOperationForbidden, CodeKeySoftDeleted, CodeKeyInTransition,
		CodeVaultAuthentication, CodeNotSupported:
		return true
	}
	return false
}
