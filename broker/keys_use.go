package broker

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Limits of what a key is used on, in bytes: what Key Vault takes at most is
// less, and differs by key and algorithm.
const (
	MaxCipherLen = 16 << 10
	maxDigestLen = 64
)

// Encrypt encrypts with the named version of a key, or with the latest.
func (b *Broker) Encrypt(ctx context.Context, c Caller, name Name, alg Algorithm, in Cipher) (CipherResult, error) {
	return b.cipher(ctx, c, ActionEncryptKey, name, alg, in, "plaintext", KeyStore.Encrypt)
}

// Decrypt is the inverse of Encrypt.
func (b *Broker) Decrypt(ctx context.Context, c Caller, name Name, alg Algorithm, in Cipher) (CipherResult, error) {
	return b.cipher(ctx, c, ActionDecryptKey, name, alg, in, "ciphertext", KeyStore.Decrypt)
}

// WrapKey encrypts a symmetric key.
func (b *Broker) WrapKey(ctx context.Context, c Caller, name Name, alg Algorithm, in Cipher) (CipherResult, error) {
	return b.cipher(ctx, c, ActionWrapKey, name, alg, in, "key", KeyStore.WrapKey)
}

// UnwrapKey is the inverse of WrapKey.
func (b *Broker) UnwrapKey(ctx context.Context, c Caller, name Name, alg Algorithm, in Cipher) (CipherResult, error) {
	return b.cipher(ctx, c, ActionUnwrapKey, name, alg, in, "wrapped_key", KeyStore.UnwrapKey)
}

// cipher guards one of the four. It changes nothing in the vault, and what it
// gives is disclosed: a read. field is what the request calls the data.
func (b *Broker) cipher(
	ctx context.Context, c Caller, a Action, name Name, alg Algorithm, in Cipher, field string,
	use func(KeyStore, context.Context, Name, Algorithm, Cipher) (CipherResult, error),
) (CipherResult, error) {
	if err := checkAlgorithm(alg); err != nil {
		return CipherResult{}, err
	}
	for f, n := range map[string]int{field: in.Data.Len(), "iv": len(in.IV), "aad": len(in.AAD), "tag": len(in.Tag)} {
		if n > MaxCipherLen {
			return CipherResult{}, &Error{Code: CodeBadField, Field: f, Message: f + " is at most 16 KiB; encrypt larger data with a key of your own, and wrap that"}
		}
	}
	if in.Data.Len() == 0 {
		return CipherResult{}, &Error{Code: CodeBadField, Field: field, Message: field + " is required"}
	}
	return read(ctx, b, c, a, name, func(ctx context.Context, ev *Event) (CipherResult, error) {
		store, err := b.keys(name)
		if err != nil {
			return CipherResult{}, err
		}
		r, err := use(store, ctx, name, alg, in)
		b.usedHere(ctx, ev, r.Local)
		return r, ofData(field, err)
	})
}

// Sign signs a digest with the named version of a key, or with the latest.
func (b *Broker) Sign(ctx context.Context, c Caller, name Name, alg Algorithm, digest []byte) (Signature, error) {
	if err := checkDigest(alg, digest); err != nil {
		return Signature{}, err
	}
	return read(ctx, b, c, ActionSignKey, name, func(ctx context.Context, _ *Event) (Signature, error) {
		store, err := b.keys(name)
		if err != nil {
			return Signature{}, err
		}
		s, err := store.Sign(ctx, name, alg, digest)
		return s, ofData("digest", err)
	})
}

// Verify says whether a signature of a digest is good. One that is not is no
// error.
func (b *Broker) Verify(ctx context.Context, c Caller, name Name, alg Algorithm, digest, signature []byte) (Verdict, error) {
	if err := checkDigest(alg, digest); err != nil {
		return Verdict{}, err
	}
	if n := len(signature); n == 0 || n > MaxCipherLen {
		return Verdict{}, &Error{Code: CodeBadField, Field: "signature", Message: "a signature is 1 byte to 16 KiB"}
	}
	return read(ctx, b, c, ActionVerifyKey, name, func(ctx context.Context, ev *Event) (Verdict, error) {
		store, err := b.keys(name)
		if err != nil {
			return Verdict{}, err
		}
		v, err := store.Verify(ctx, name, alg, digest, signature)
		b.usedHere(ctx, ev, v.Local)
		return v, ofData("signature", err)
	})
}

// usedHere tells whether the broker used the key itself: in the record, and apart
// from the vaults' calls.
func (b *Broker) usedHere(ctx context.Context, ev *Event, local bool) {
	if !local {
		return
	}
	ev.Cached = true
	b.localUses.Add(ctx, 1, metric.WithAttributes(
		attribute.String("vault", ev.Resource.VaultAlias()), attribute.String("action", string(ev.Action))))
}

// ofData calls what a store found wrong with the data as the request does.
func ofData(field string, err error) error {
	e := AsError(err)
	if e == nil || e.Code != CodeBadField || e.Field != "value" {
		return err
	}
	named := *e
	named.Field = field
	return &named
}

func checkAlgorithm(alg Algorithm) error {
	if alg == "" || len(alg) > 32 {
		return &Error{Code: CodeBadField, Field: "algorithm", Message: "name an algorithm, such as RS256, ES256 or RSA-OAEP-256"}
	}
	return nil
}

func checkDigest(alg Algorithm, digest []byte) error {
	if n := len(digest); n == 0 || n > maxDigestLen {
		return &Error{Code: CodeBadField, Field: "digest", Message: "digest what is to be signed, by the hash that the algorithm has in its name: 32, 48 or 64 bytes"}
	}
	return checkAlgorithm(alg)
}
