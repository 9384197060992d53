package localvault

import (
	"context"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// Encrypt implements broker.KeyStore.
func (s keys) Encrypt(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return s.conceal(ctx, name, broker.KeyOpEncrypt, alg, in)
}

// WrapKey implements broker.KeyStore.
func (s keys) WrapKey(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return s.conceal(ctx, name, broker.KeyOpWrapKey, alg, in)
}

// Decrypt implements broker.KeyStore.
func (s keys) Decrypt(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return s.open(ctx, name, broker.KeyOpDecrypt, alg, in)
}

// UnwrapKey implements broker.KeyStore.
func (s keys) UnwrapKey(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return s.open(ctx, name, broker.KeyOpUnwrapKey, alg, in)
}

// conceal encrypts or wraps.
func (s keys) conceal(ctx context.Context, name broker.Name, op broker.KeyOp, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	u, err := s.use(ctx, name, op, alg)
	if err != nil {
		return broker.CipherResult{}, err
	}
	defer u.clear()
	plain := []byte(in.Data.Reveal())
	defer clear(plain)
	result := broker.CipherResult{Key: u.name}
	if u.key.oct != nil {
		result.Cipher, err = encryptSymmetric(u.key.oct, alg, plain, in)
		return result, err
	}
	if len(in.IV)+len(in.AAD)+len(in.Tag) != 0 {
		return broker.CipherResult{}, badInput(string(alg) + " takes no IV, additional data or tag")
	}
	public, err := broker.NewPublicKey(u.jwk)
	if err != nil {
		return broker.CipherResult{}, s.damaged(ctx, name, err)
	}
	ciphertext, err := public.Encrypt(alg, plain)
	result.Data = broker.NewValue(string(ciphertext))
	return result, err
}

// open decrypts or unwraps.
func (s keys) open(ctx context.Context, name broker.Name, op broker.KeyOp, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	u, err := s.use(ctx, name, op, alg)
	if err != nil {
		return broker.CipherResult{}, err
	}
	defer u.clear()
	plain, err := u.key.decrypt(alg, in)
	if err != nil {
		return broker.CipherResult{}, err
	}
	defer clear(plain)
	return broker.CipherResult{Cipher: broker.Cipher{Data: broker.NewValue(string(plain))}, Key: u.name}, nil
}

// Sign implements broker.KeyStore.
func (s keys) Sign(ctx context.Context, name broker.Name, alg broker.Algorithm, digest []byte) (broker.Signature, error) {
	u, err := s.use(ctx, name, broker.KeyOpSign, alg)
	if err != nil {
		return broker.Signature{}, err
	}
	defer u.clear()
	if err := broker.CheckDigest(alg, digest); err != nil {
		return broker.Signature{}, err
	}
	signature, err := u.key.sign(alg, digest)
	if err != nil {
		return broker.Signature{}, err
	}
	return broker.Signature{Value: signature, Key: u.name}, nil
}

// Verify implements broker.KeyStore. A signature that is not good, whatever it
// looks like, is no error.
func (s keys) Verify(ctx context.Context, name broker.Name, alg broker.Algorithm, digest, signature []byte) (broker.Verdict, error) {
	u, err := s.use(ctx, name, broker.KeyOpVerify, alg)
	if err != nil {
		return broker.Verdict{}, err
	}
	defer u.clear()
	if u.key.oct != nil {
		return broker.Verdict{Valid: u.key.verifyMAC(alg, digest, signature), Key: u.name}, nil
	}
	public, err := broker.NewPublicKey(u.jwk)
	if err != nil {
		return broker.Verdict{}, s.damaged(ctx, name, err)
	}
	valid, err := public.Verify(alg, digest, signature)
	if err != nil {
		return broker.Verdict{}, err
	}
	return broker.Verdict{Valid: valid, Key: u.name}, nil
}

// usable is a version of a key that may do what is asked.
type usable struct {
	name broker.Name // with the version
	jwk  broker.JWK
	key  privateKey
}

func (u usable) clear() { u.key.clear() }

// use returns the named version, or the latest, if it may be used now for op and
// fits alg. The file is not held while the key is used.
func (s keys) use(ctx context.Context, name broker.Name, op broker.KeyOp, alg broker.Algorithm) (u usable, err error) {
	var m metadata
	var private []byte
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		var ver version
		if ver, m, err = s.version(ctx, tx, h, name); err != nil {
			return err
		}
		k, err := s.key(name, ver, m)
		if err != nil {
			return s.damaged(ctx, name, err)
		}
		u.name, u.jwk = k.Name, k.JWK
		if err := k.Allows(op, time.Now()); err != nil {
			return err
		}
		if err := broker.CheckAlgorithm(op, alg, m.Key.Type, m.Key.Curve, m.Key.Bits); err != nil {
			return err
		}
		if private, err = h.value(tx, ver); err != nil {
			return s.damaged(ctx, name, err)
		}
		return nil
	})
	if err != nil {
		return usable{}, err
	}
	defer clear(private)
	if u.key, err = parsePrivate(m.Key.shape, private); err != nil {
		return usable{}, s.damaged(ctx, name, err)
	}
	return u, nil
}
