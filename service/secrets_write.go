package service

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
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
		return nil, ofSecret(err)
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
	paths, all, err := pathsOf(s, mask, filled)
	if err != nil {
		return u, err
	}
	notBefore, err := timeOf("secret.not_before_time", s.GetNotBeforeTime())
	if err != nil {
		return u, err
	}
	expires, err := timeOf("secret.expire_time", s.GetExpireTime())
	if err != nil {
		return u, err
	}
	for _, p := range paths {
		switch p {
		case "content_type":
			u.ContentType = new(s.GetContentType())
		case "tags":
			u.Tags = new(s.GetTags())
		case "enabled":
			u.Enabled = new(s.GetEnabled())
		case "not_before_time":
			u.NotBefore = &notBefore
		case "expire_time":
			u.Expires = &expires
		}
	}
	// A time cannot be removed. One that is named must be there; one that is
	// meant by "*" and is not there stays as it is.
	if all && notBefore.IsZero() {
		u.NotBefore = nil
	}
	if all && expires.IsZero() {
		u.Expires = nil
	}
	return u, nil
}

// pathsOf returns the updatable fields that a mask names, and whether it names
// them all by "*". Without a mask they are those that are not zero.
func pathsOf(s *keywardv1.Secret, mask []string, filled bool) (paths []string, all bool, err error) {
	fields := s.ProtoReflect().Descriptor().Fields()
	if len(mask) == 0 {
		for _, p := range updatable {
			if s.ProtoReflect().Has(fields.ByName(protoreflect.Name(p))) {
				paths = append(paths, p)
			}
		}
		return paths, false, nil
	}
	for _, p := range mask {
		if p == "*" {
			return updatable, true, nil
		}
		// The gateway leaves a query's mask in lower camel case.
		if f := fields.ByJSONName(p); f != nil {
			p = string(f.Name())
		}
		switch {
		case slices.Contains(updatable, p):
			paths = append(paths, p)
		case !filled:
			return nil, false, &broker.Error{
				Code: broker.CodeBadField, Field: "update_mask",
				Message: fmt.Sprintf("%.64q cannot be updated; update_mask takes content_type, tags, enabled, not_before_time and expire_time", p),
			}
		}
	}
	return paths, false, nil
}

// timeOf returns the time of an optional field, the zero time if it is unset.
func timeOf(field string, t *timestamppb.Timestamp) (time.Time, error) {
	switch {
	case t == nil:
		return time.Time{}, nil
	case !t.IsValid() || t.GetSeconds() < 0:
		return time.Time{}, &broker.Error{Code: broker.CodeBadField, Field: field, Message: field + " must be a time from 1970 to 9999"}
	}
	return t.AsTime(), nil
}

// ofSecret names the field at fault as a request that carries a Secret does.
func ofSecret(err error) error {
	e := broker.AsError(err)
	if e.Code != broker.CodeBadField || !slices.Contains(updatable, e.Field) {
		return err
	}
	return ofField("secret."+e.Field, err)
}
