package keyvault

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/keyward/keyward/broker"
)

// Encrypt implements broker.KeyStore. Using a key changes nothing: it may be
// tried again.
func (c *Client) Encrypt(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return c.cipher(ctx, "Encrypt", "/encrypt", name, alg, in)
}

// Decrypt implements broker.KeyStore.
func (c *Client) Decrypt(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return c.cipher(ctx, "Decrypt", "/decrypt", name, alg, in)
}

// WrapKey implements broker.KeyStore.
func (c *Client) WrapKey(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return c.cipher(ctx, "WrapKey", "/wrapkey", name, alg, in)
}

// UnwrapKey implements broker.KeyStore.
func (c *Client) UnwrapKey(ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	return c.cipher(ctx, "UnwrapKey", "/unwrapkey", name, alg, in)
}

func (c *Client) cipher(ctx context.Context, operation, path string, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
	w, used, err := c.use(ctx, operation, path, name, OperationRequest{
		Algorithm: alg, Value: &Sealed{Value: in.Data}, IV: in.IV, AAD: in.AAD, Tag: in.Tag,
	})
	if err != nil {
		return broker.CipherResult{}, err
	}
	return broker.CipherResult{Cipher: broker.Cipher{Data: w.Value.Value, IV: w.IV, AAD: w.AAD, Tag: w.Tag}, Key: used}, nil
}

// Sign implements broker.KeyStore.
func (c *Client) Sign(ctx context.Context, name broker.Name, alg broker.Algorithm, digest []byte) (broker.Signature, error) {
	w, used, err := c.use(ctx, "Sign", "/sign", name, OperationRequest{Algorithm: alg, Value: &Sealed{Value: broker.NewValue(string(digest))}})
	if err != nil {
		return broker.Signature{}, err
	}
	return broker.Signature{Value: []byte(w.Value.Reveal()), Key: used}, nil
}

// use performs an operation, and returns which version did it.
func (c *Client) use(ctx context.Context, operation, path string, name broker.Name, body OperationRequest) (w OperationResult, used broker.Name, err error) {
	asked := time.Now()
	k := call{operation: operation, method: http.MethodPost, path: keyVersionPath(name) + path, field: "value", repeat: ifFailed, limit: maxReplyLen}
	if err := k.encode(body); err != nil {
		return w, used, err
	}
	defer clear(k.body)
	w, err = invoke(ctx, c, k, func(w OperationResult) (OperationResult, error) {
		n, err := nameOf(name.Vault(), broker.KindKeys, w.KeyID)
		switch {
		case err != nil:
			return w, err
		case n.Base() != name.Base() || name.Version() != "" && n != name:
			return w, errOtherKey
		case w.Value == nil:
			return w, errors.New("a result without its value")
		}
		used = n
		return w, nil
	})
	return w, used, c.moves.judge(name, live, asked, err)
}

// Verify implements broker.KeyStore. Key Vault does not say which version it
// used: that is the one that was asked for, if any.
func (c *Client) Verify(ctx context.Context, name broker.Name, alg broker.Algorithm, digest, signature []byte) (broker.Verdict, error) {
	asked := time.Now()
	k := call{operation: "Verify", method: http.MethodPost, path: keyVersionPath(name) + "/verify", field: "value", repeat: ifFailed, limit: maxReplyLen}
	if err := k.encode(VerifyRequest{Algorithm: alg, Digest: digest, Signature: signature}); err != nil {
		return broker.Verdict{}, err
	}
	v, err := invoke(ctx, c, k, func(w VerifyResult) (broker.Verdict, error) {
		if w.Value == nil {
			return broker.Verdict{}, errors.New("a verdict without its value")
		}
		return broker.Verdict{Valid: *w.Value, Key: name}, nil
	})
	return v, c.moves.judge(name, live, asked, err)
}
