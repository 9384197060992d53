package service

import (
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

func (s *secretService) SetSecret(ctx context.Context, req *keywardv1.SetSecretRequest) (*keywardv1.Secret, error) {
	name, err := broker.ParseName(broker.KindSecrets, req.GetName())
	if err != nil {
		return nil, err
	}
	n, err := newSecret(req, req.Enabled)
	if err != nil {
		return nil, err
	}
	n.Value = broker.NewValue(req.GetValue())
	etag, err := etagOf("etag", req.GetEtag())
	if err != nil {
		return nil, err
	}
	made, err := s.broker.SetSecret(ctx, caller(ctx), name, n, broker.SetSecretOptions{ETag: etag, RecoverDeleted: req.GetRecoverDeleted()})
	if err != nil {
		return nil, err
	}
	return secretProto(made), nil
}

func (s *secretService) GenerateSecret(ctx context.Context, req *keywardv1.GenerateSecretRequest) (*keywardv1.Secret, error) {
	name, err := broker.ParseName(broker.KindSecrets, req.GetName())
	if err != nil {
		return nil, err
	}
	n, err := newSecret(req, req.Enabled)
	if err != nil {
		return nil, err
	}
	etag, err := etagOf("etag", req.GetEtag())
	if err != nil {
		return nil, err
	}
	g := broker.Generator{Length: int(req.GetLength()), Alphabet: req.GetAlphabet()}
	made, err := s.broker.GenerateSecret(ctx, caller(ctx), name, g, n, broker.SetSecretOptions{ETag: etag})
	if err != nil {
		return nil, err
	}
	return secretProto(made), nil
}

func (s *secretService) UpdateSecret(ctx context.Context, req *keywardv1.UpdateSecretRequest) (*keywardv1.Secret, error) {
	name, err := broker.ParseName(broker.KindSecrets, req.GetSecret().GetName())
	if err != nil {
		return nil, ofField("secret.name", err)
	}
	u, err := updateOf(req.GetSecret(), req.GetUpdateMask().GetPaths(), callIn(ctx).maskFilled)
	if err != nil {
		return nil, err
	}
	etag, err := etagOf("secret.etag", req.GetSecret().GetEtag())
	if err != nil {
		return nil, err
	}
	now, err := s.broker.UpdateSecret(ctx, caller(ctx), name, u, etag)
	if err != nil {
		return nil, within("secret", updatable, err)
	}
	return secretProto(now), nil
}

func (s *secretService) DeleteSecret(ctx context.Context, req *keywardv1.DeleteSecretRequest) (*keywardv1.DeletedSecret, error) {
	name, err := broker.ParseName(broker.KindSecrets, req.GetName())
	if err != nil {
		return nil, err
	}
	etag, err := etagOf("etag", req.GetEtag())
	if err != nil {
		return nil, err
	}
	d, err := s.broker.DeleteSecret(ctx, caller(ctx), name, etag)
	if err != nil {
		return nil, err
	}
	return deletedProto(d), nil
}

// newSecret returns what a request says of a new version beside its value.
func newSecret(req interface {
	GetContentType() string
	GetTags() map[string]string
	GetNotBeforeTime() *timestamppb.Timestamp
	GetExpireTime() *timestamppb.Timestamp
}, enabled *bool,
) (broker.NewSecret, error) {
	notBefore, err := timeOf("not_before_time", req.GetNotBeforeTime())
	if err != nil {
		return broker.NewSecret{}, err
	}
	expires, err := timeOf("expire_time", req.GetExpireTime())
	if err != nil {
		return broker.NewSecret{}, err
	}
	return broker.NewSecret{
		ContentType: req.GetContentType(),
		Tags:        req.GetTags(),
		Enabled:     enabled == nil || *enabled,
		NotBefore:   notBefore,
		Expires:     expires,
	}, nil
}

// updatable are the fields of a Secret that can change, as masks name them.
var updatable = []string{"content_type", "tags", "enabled", "not_before_time", "expire_time"}

// updateOf returns the update that a mask asks for. A filled mask is the list
// of all that was sent, of which a Secret that was read and sent back has more
// than can change.
func updateOf(s *keywardv1.Secret, mask []string, filled bool) (broker.SecretUpdate, error) {
	var u broker.SecretUpdate
	paths, all, err := pathsOf(s, updatable, mask, filled)
	if err != nil {
		return u, err
	}
	notBefore, expires, err := timesOf("secret", s)
	if err != nil {
		return u, err
	}
	if slices.Contains(paths, "content_type") {
		u.ContentType = new(s.GetContentType())
	}
	if slices.Contains(paths, "tags") {
		u.Tags = new(s.GetTags())
	}
	if slices.Contains(paths, "enabled") {
		u.Enabled = new(s.GetEnabled())
	}
	u.NotBefore = changed(paths, all, "not_before_time", notBefore)
	u.Expires = changed(paths, all, "expire_time", expires)
	return u, nil
}
