package vaulthttp

import (
	"context"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// cipher is an encryption, a decryption, a wrapping or an unwrapping.
type cipher func(s broker.KeyStore, ctx context.Context, name broker.Name, alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error)

// useCipher serves the four operations that turn one text into another.
func useCipher(do cipher) action {
	return func(h *handler, ctx context.Context, r request) (any, error) {
		var w keyvault.KeyUse
		if err := keyUse(r, &w); err != nil {
			return nil, err
		}
		got, err := do(h.Keys, ctx, r.route.name, w.Algorithm, w.Cipher())
		if err != nil {
			return nil, err
		}
		return h.used(w, keyvault.KeyUsed{
			KeyID: r.kid(got.Key), Value: &keyvault.Blob{Value: got.Data}, IV: got.IV, AAD: got.AAD, Tag: got.Tag,
		}), nil
	}
}

func (h *handler) sign(ctx context.Context, r request) (any, error) {
	var w keyvault.KeyUse
	if err := keyUse(r, &w); err != nil {
		return nil, err
	}
	got, err := h.Keys.Sign(ctx, r.route.name, w.Algorithm, []byte(w.Value.Reveal()))
	if err != nil {
		return nil, err
	}
	return h.used(w, keyvault.KeyUsed{KeyID: r.kid(got.Key), Value: &keyvault.Blob{Value: broker.NewValue(string(got.Value))}}), nil
}

func (h *handler) verify(ctx context.Context, r request) (any, error) {
	var w keyvault.KeyUse
	if err := keyUse(r, &w); err != nil {
		return nil, err
	}
	got, err := h.Keys.Verify(ctx, r.route.name, w.Algorithm, w.Digest, []byte(w.Value.Reveal()))
	if err != nil {
		return nil, err
	}
	reply := keyvault.KeyVerified{Value: &got.Valid}
	if h.ManagedHSM {
		reply.Algorithm, reply.KeyID = w.Algorithm, r.kid(got.Key)
	}
	return reply, nil
}

// keyUse reads the body of a use.
func keyUse(r request, w *keyvault.KeyUse) error {
	if err := keyBody(r, w); err != nil {
		return err
	}
	switch {
	case w.Algorithm == "":
		return badParameter(`The parameter "alg" is required.`)
	case w.Value == nil:
		return badParameter(`The parameter "value" is required.`)
	}
	return nil
}

// used returns a reply. A Managed HSM repeats the algorithm.
func (h *handler) used(asked keyvault.KeyUse, w keyvault.KeyUsed) keyvault.KeyUsed {
	if h.ManagedHSM {
		w.Algorithm = asked.Algorithm
	}
	return w
}
