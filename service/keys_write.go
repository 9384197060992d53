package service

import (
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

func (s *keyService) CreateKey(ctx context.Context, req *keywardv1.CreateKeyRequest) (*keywardv1.Key, error) {
	name, err := broker.ParseName(broker.KindKeys, req.GetName())
	if err != nil {
		return nil, err
	}
	k, err := newKey(req, req.Enabled)
	if err != nil {
		return nil, err
	}
	k.Type, k.Size, k.Curve = broker.KeyType(req.GetKty()), req.GetKeySize(), broker.Curve(req.GetCrv())
	etag, err := etagOf("etag", req.GetEtag())
	if err != nil {
		return nil, err
	}
	return keyReply(s.broker.CreateKey(ctx, caller(ctx), name, k, etag))
}

func (s *keyService) ImportKey(ctx context.Context, req *keywardv1.ImportKeyRequest) (*keywardv1.Key, error) {
	material := broker.NewValue(req.GetJwk())
	name, err := broker.ParseName(broker.KindKeys, req.GetName())
	if err != nil {
		return nil, err
	}
	k, err := newKey(req, req.Enabled)
	if err != nil {
		return nil, err
	}
	etag, err := etagOf("etag", req.GetEtag())
	if err != nil {
		return nil, err
	}
	return keyReply(s.broker.ImportKey(ctx, caller(ctx), name, broker.KeyImport{NewKey: k, Material: material, HSM: req.GetHsm()}, etag))
}

func (s *keyService) UpdateKey(ctx context.Context, req *keywardv1.UpdateKeyRequest) (*keywardv1.Key, error) {
	name, err := broker.ParseName(broker.KindKeys, req.GetKey().GetName())
	if err != nil {
		return nil, ofField("key.name", err)
	}
	u, err := keyUpdateOf(req.GetKey(), req.GetUpdateMask().GetPaths(), callIn(ctx).maskFilled)
	if err != nil {
		return nil, err
	}
	etag, err := etagOf("key.etag", req.GetKey().GetEtag())
	if err != nil {
		return nil, err
	}
	now, err := s.broker.UpdateKey(ctx, caller(ctx), name, u, etag)
	return keyReply(now, within("key", updatableOfKey, err))
}

func (s *keyService) DeleteKey(ctx context.Context, req *keywardv1.DeleteKeyRequest) (*keywardv1.DeletedKey, error) {
	name, err := broker.ParseName(broker.KindKeys, req.GetName())
	if err != nil {
		return nil, err
	}
	etag, err := etagOf("etag", req.GetEtag())
	if err != nil {
		return nil, err
	}
	return deletedKeyReply(s.broker.DeleteKey(ctx, caller(ctx), name, etag))
}

func (s *keyService) RotateKey(ctx context.Context, req *keywardv1.RotateKeyRequest) (*keywardv1.Key, error) {
	name, err := broker.ParseName(broker.KindKeys, req.GetName())
	if err != nil {
		return nil, err
	}
	return keyReply(s.broker.RotateKey(ctx, caller(ctx), name))
}

func (s *keyService) GetRotationPolicy(ctx context.Context, req *keywardv1.GetRotationPolicyRequest) (*keywardv1.RotationPolicy, error) {
	name, err := broker.ParseName(broker.KindKeys, req.GetName())
	if err != nil {
		return nil, err
	}
	return policyReply(s.broker.GetRotationPolicy(ctx, caller(ctx), name))
}

func (s *keyService) UpdateRotationPolicy(ctx context.Context, req *keywardv1.UpdateRotationPolicyRequest) (*keywardv1.RotationPolicy, error) {
	name, err := broker.ParseName(broker.KindKeys, req.GetName())
	if err != nil {
		return nil, err
	}
	// An empty one that is sent is a policy that does nothing.
	if req.GetRotationPolicy() == nil {
		return nil, &broker.Error{Code: broker.CodeBadField, Field: "rotation_policy", Message: "a rotation policy is required; an empty one ends the rotation"}
	}
	p := broker.RotationPolicy{ExpiryTime: req.GetRotationPolicy().GetExpiryDuration()}
	for _, a := range req.GetRotationPolicy().GetLifetimeActions() {
		p.Actions = append(p.Actions, broker.LifetimeAction{
			Type: a.GetType(), AfterCreate: a.GetAfterCreateDuration(), BeforeExpiry: a.GetBeforeExpiryDuration(),
		})
	}
	return policyReply(s.broker.UpdateRotationPolicy(ctx, caller(ctx), name, p))
}

func policyReply(p broker.RotationPolicy, err error) (*keywardv1.RotationPolicy, error) {
	if err != nil {
		return nil, err
	}
	out := &keywardv1.RotationPolicy{ExpiryDuration: p.ExpiryTime, CreateTime: timeProto(p.Created), UpdateTime: timeProto(p.Updated)}
	for _, a := range p.Actions {
		out.LifetimeActions = append(out.LifetimeActions, &keywardv1.LifetimeAction{
			Type: a.Type, AfterCreateDuration: a.AfterCreate, BeforeExpiryDuration: a.BeforeExpiry,
		})
	}
	return out, nil
}

// newKey returns what a request says of a new version beside the key itself.
func newKey(req interface {
	GetKeyOps() []string
	GetTags() map[string]string
	GetNotBeforeTime() *timestamppb.Timestamp
	GetExpireTime() *timestamppb.Timestamp
}, enabled *bool,
) (broker.NewKey, error) {
	notBefore, err := timeOf("not_before_time", req.GetNotBeforeTime())
	if err != nil {
		return broker.NewKey{}, err
	}
	expires, err := timeOf("expire_time", req.GetExpireTime())
	if err != nil {
		return broker.NewKey{}, err
	}
	return broker.NewKey{
		Ops:       opsOf(req.GetKeyOps()),
		Tags:      req.GetTags(),
		Enabled:   enabled == nil || *enabled,
		NotBefore: notBefore,
		Expires:   expires,
	}, nil
}

func opsOf(names []string) []broker.KeyOp {
	ops := make([]broker.KeyOp, len(names))
	for i, n := range names {
		ops[i] = broker.KeyOp(n)
	}
	return ops
}

// updatableOfKey are the fields of a Key that can change, as masks name them.
var updatableOfKey = []string{"key_ops", "tags", "enabled", "not_before_time", "expire_time"}

// keyUpdateOf returns the update that a mask asks for, as updateOf does.
func keyUpdateOf(k *keywardv1.Key, mask []string, filled bool) (broker.KeyUpdate, error) {
	var u broker.KeyUpdate
	paths, all, err := pathsOf(k, updatableOfKey, mask, filled)
	if err != nil {
		return u, err
	}
	notBefore, expires, err := timesOf("key", k)
	if err != nil {
		return u, err
	}
	if slices.Contains(paths, "key_ops") {
		u.Ops = new(opsOf(k.GetKeyOps()))
	}
	if slices.Contains(paths, "tags") {
		u.Tags = new(k.GetTags())
	}
	if slices.Contains(paths, "enabled") {
		u.Enabled = new(k.GetEnabled())
	}
	u.NotBefore = changed(paths, all, "not_before_time", notBefore)
	u.Expires = changed(paths, all, "expire_time", expires)
	return u, nil
}
