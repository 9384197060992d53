package vaulthttp

import (
	"context"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// useKey is encrypt, decrypt, wrapkey or unwrapkey.
func useKey(use func(broker.KeyStore, context.Context, broker.Name, broker.Algorithm, broker.Cipher) (broker.CipherResult, error)) action {
	return func(h *handler, ctx context.Context, r request) (any, error) {
		w, err := r.operation()
		if err != nil {
			return nil, err
		}
		got, err := use(h.Keys, ctx, r.route.name, w.Algorithm, broker.Cipher{Data: w.Value.Value, IV: w.IV, AAD: w.AAD, Tag: w.Tag})
		if err != nil {
			return nil, err
		}
		return keyvault.OperationResult{
			KeyID: r.keyID(got.Key), Value: &keyvault.Sealed{Value: got.Data}, IV: got.IV, AAD: got.AAD, Tag: got.Tag,
		}, nil
	}
}

func (h *handler) sign(ctx context.Context, r request) (any, error) {
	w, err := r.operation()
	if err != nil {
		return nil, err
	}
	s, err := h.Keys.Sign(ctx, r.route.name, w.Algorithm, []byte(w.Value.Reveal()))
	if err != nil {
		return nil, err
	}
	return keyvault.OperationResult{KeyID: r.keyID(s.Key), Value: &keyvault.Sealed{Value: broker.NewValue(string(s.Value))}}, nil
}

func (h *handler) verify(ctx context.Context, r request) (any, error) {
	var w keyvault.VerifyRequest
	if err := r.decode(&w, "a verify operation"); err != nil {
		return nil, err
	}
	if w.Algorithm == "" || w.Digest == nil || w.Signature == nil {
		return nil, badParameter(`The parameters "alg", "digest" and "value" are required.`)
	}
	v, err := h.Keys.Verify(ctx, r.route.name, w.Algorithm, w.Digest, w.Signature)
	if err != nil {
		return nil, err
	}
	return keyvault.VerifyResult{Value: &v.Valid}, nil
}

// operation reads the body of what uses a key.
func (r request) operation() (keyvault.OperationRequest, error) {
	var w keyvault.OperationRequest
	if err := r.decode(&w, "a key operation"); err != nil {
		return w, err
	}
	if w.Algorithm == "" || w.Value == nil || w.Value.Len() == 0 {
		return w, badParameter(`The parameters "alg" and "value" are required.`)
	}
	return w, nil
}
