package service

import (
	"context"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

func (s *keyService) Encrypt(ctx context.Context, req *keywardv1.EncryptRequest) (*keywardv1.EncryptResponse, error) {
	in := broker.Cipher{Data: hidden(req.GetPlaintext()), IV: req.GetIv(), AAD: req.GetAad()}
	r, err := s.cipher(ctx, req, s.broker.Encrypt, in)
	if err != nil {
		return nil, err
	}
	return &keywardv1.EncryptResponse{
		KeyVersion: r.Key.String(), Ciphertext: []byte(r.Data.Reveal()), Iv: r.IV, Tag: r.Tag, Aad: r.AAD,
	}, nil
}

func (s *keyService) Decrypt(ctx context.Context, req *keywardv1.DecryptRequest) (*keywardv1.DecryptResponse, error) {
	in := broker.Cipher{Data: hidden(req.GetCiphertext()), IV: req.GetIv(), Tag: req.GetTag(), AAD: req.GetAad()}
	r, err := s.cipher(ctx, req, s.broker.Decrypt, in)
	if err != nil {
		return nil, err
	}
	return &keywardv1.DecryptResponse{KeyVersion: r.Key.String(), Plaintext: []byte(r.Data.Reveal())}, nil
}

func (s *keyService) WrapKey(ctx context.Context, req *keywardv1.WrapKeyRequest) (*keywardv1.WrapKeyResponse, error) {
	r, err := s.cipher(ctx, req, s.broker.WrapKey, broker.Cipher{Data: hidden(req.GetKey())})
	if err != nil {
		return nil, err
	}
	return &keywardv1.WrapKeyResponse{KeyVersion: r.Key.String(), WrappedKey: []byte(r.Data.Reveal())}, nil
}

func (s *keyService) UnwrapKey(ctx context.Context, req *keywardv1.UnwrapKeyRequest) (*keywardv1.UnwrapKeyResponse, error) {
	r, err := s.cipher(ctx, req, s.broker.UnwrapKey, broker.Cipher{Data: hidden(req.GetWrappedKey())})
	if err != nil {
		return nil, err
	}
	return &keywardv1.UnwrapKeyResponse{KeyVersion: r.Key.String(), Key: []byte(r.Data.Reveal())}, nil
}

func (s *keyService) Sign(ctx context.Context, req *keywardv1.SignRequest) (*keywardv1.SignResponse, error) {
	name, err := broker.ParseName(broker.KindKeys, req.GetName())
	if err != nil {
		return nil, err
	}
	made, err := s.broker.Sign(ctx, caller(ctx), name, broker.Algorithm(req.GetAlgorithm()), req.GetDigest())
	if err != nil {
		return nil, err
	}
	return &keywardv1.SignResponse{KeyVersion: made.Key.String(), Signature: made.Value}, nil
}

func (s *keyService) Verify(ctx context.Context, req *keywardv1.VerifyRequest) (*keywardv1.VerifyResponse, error) {
	name, err := broker.ParseName(broker.KindKeys, req.GetName())
	if err != nil {
		return nil, err
	}
	v, err := s.broker.Verify(ctx, caller(ctx), name, broker.Algorithm(req.GetAlgorithm()), req.GetDigest(), req.GetSignature())
	if err != nil {
		return nil, err
	}
	return &keywardv1.VerifyResponse{KeyVersion: v.Key.String(), Valid: v.Valid}, nil
}

// cipher makes one of the broker's four calls that take data and give data.
func (s *keyService) cipher(
	ctx context.Context,
	req interface {
		GetName() string
		GetAlgorithm() string
	},
	use func(context.Context, broker.Caller, broker.Name, broker.Algorithm, broker.Cipher) (broker.CipherResult, error),
	in broker.Cipher,
) (broker.CipherResult, error) {
	name, err := broker.ParseName(broker.KindKeys, req.GetName())
	if err != nil {
		return broker.CipherResult{}, err
	}
	return use(ctx, caller(ctx), name, broker.Algorithm(req.GetAlgorithm()), in)
}

// hidden keeps bytes from whatever prints them.
func hidden(b []byte) broker.Value { return broker.NewValue(string(b)) }
