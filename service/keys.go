package service

import (
	"context"
	"encoding/base64"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// keyService is keyward.v1.KeyService, in the manner of secretService.
type keyService struct {
	keywardv1.UnimplementedKeyServiceServer

	broker *broker.Broker
	pages  pageTokens
}

func (s *keyService) GetKey(ctx context.Context, req *keywardv1.GetKeyRequest) (*keywardv1.Key, error) {
	name, err := broker.ParseName(broker.KindKeys, req.GetName())
	if err != nil {
		return nil, err
	}
	return keyReply(s.broker.GetKey(ctx, caller(ctx), name))
}

func (s *keyService) ListKeys(ctx context.Context, req *keywardv1.ListKeysRequest) (*keywardv1.ListKeysResponse, error) {
	vault, err := broker.ParseVaultName(req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	var page broker.KeyPage
	next, err := s.pages.page(ctx, keywardv1.KeyService_ListKeys_FullMethodName, vault, req, func(c broker.Caller, p broker.Page) (string, error) {
		page, err = s.broker.ListKeys(ctx, c, vault, p)
		return page.Next, err
	})
	if err != nil {
		return nil, err
	}
	return &keywardv1.ListKeysResponse{Keys: keyProtos(page.Keys), NextPageToken: next}, nil
}

func (s *keyService) ListKeyVersions(ctx context.Context, req *keywardv1.ListKeyVersionsRequest) (*keywardv1.ListKeyVersionsResponse, error) {
	name, err := broker.ParseName(broker.KindKeys, req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	var page broker.KeyPage
	next, err := s.pages.page(ctx, keywardv1.KeyService_ListKeyVersions_FullMethodName, name, req, func(c broker.Caller, p broker.Page) (string, error) {
		page, err = s.broker.ListKeyVersions(ctx, c, name, p)
		return page.Next, err
	})
	if err != nil {
		return nil, ofParent(err)
	}
	return &keywardv1.ListKeyVersionsResponse{Keys: keyProtos(page.Keys), NextPageToken: next}, nil
}

// keyReply is the reply of a method that ends with k or with err.
func keyReply(k broker.Key, err error) (*keywardv1.Key, error) {
	if err != nil {
		return nil, err
	}
	return keyProto(k), nil
}

func keyProto(k broker.Key) *keywardv1.Key {
	p := &keywardv1.Key{
		Name:            k.Name.Base().String(),
		Version:         k.Name.Version(),
		Tags:            k.Tags,
		Enabled:         k.Enabled,
		NotBeforeTime:   timeProto(k.NotBefore),
		ExpireTime:      timeProto(k.Expires),
		CreateTime:      timeProto(k.Created),
		UpdateTime:      timeProto(k.Updated),
		RecoveryLevel:   k.RecoveryLevel,
		RecoverableDays: k.RecoverableDays,
		Managed:         k.Managed,
		Exportable:      k.Exportable,
	}
	for _, op := range k.Ops {
		p.KeyOps = append(p.KeyOps, string(op))
	}
	// The items of a list are known by half: an etag of theirs would equal none
	// that a Get returns.
	if k.JWK.Type == "" {
		return p
	}
	p.PublicJwk = jwkProto(k.JWK)
	// A symmetric key has no public half, and what is no key as we know them
	// none that a PEM could show.
	if public, err := broker.NewPublicKey(k.JWK); err == nil {
		p.PublicPem, _ = public.PEM()
	}
	if p.Version != "" {
		p.Etag = k.ETag()
	}
	return p
}

func jwkProto(j broker.JWK) *keywardv1.JsonWebKey {
	text := base64.RawURLEncoding.EncodeToString
	return &keywardv1.JsonWebKey{
		Kty: string(j.Type), Crv: string(j.Curve),
		N: text(j.N), E: text(j.E), X: text(j.X), Y: text(j.Y),
	}
}

func keyProtos(all []broker.Key) []*keywardv1.Key {
	out := make([]*keywardv1.Key, len(all))
	for i, k := range all {
		out[i] = keyProto(k)
	}
	return out
}
