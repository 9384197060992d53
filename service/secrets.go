package service

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// secretService is keyward.v1.SecretService: it validates, calls the broker and
// converts. Its errors are the broker's; the wire turns them into statuses.
type secretService struct {
	keywardv1.UnimplementedSecretServiceServer

	broker *broker.Broker
	pages  pageTokens
}

func (s *secretService) GetSecret(ctx context.Context, req *keywardv1.GetSecretRequest) (*keywardv1.GetSecretResponse, error) {
	name, err := broker.ParseName(broker.KindSecrets, req.GetName())
	if err != nil {
		return nil, err
	}
	v, err := s.broker.GetSecret(ctx, caller(ctx), name)
	if err != nil {
		return nil, err
	}
	return &keywardv1.GetSecretResponse{
		Secret:    secretProto(v.Secret),
		Value:     v.Value.Reveal(),
		Freshness: &keywardv1.Freshness{FetchTime: timeProto(v.Fetched), Stale: v.Stale},
	}, nil
}

func (s *secretService) SetSecret(ctx context.Context, req *keywardv1.SetSecretRequest) (*keywardv1.Secret, error) {
	name, err := broker.ParseName(broker.KindSecrets, req.GetName())
	if err != nil {
		return nil, err
	}
	notBefore, err := timeOf("not_before_time", req.GetNotBeforeTime())
	if err != nil {
		return nil, err
	}
	expires, err := timeOf("expire_time", req.GetExpireTime())
	if err != nil {
		return nil, err
	}
	made, err := s.broker.SetSecret(ctx, caller(ctx), name, broker.NewSecret{
		Value:       broker.NewValue(req.GetValue()),
		ContentType: req.GetContentType(),
		Tags:        req.GetTags(),
		Enabled:     req.Enabled == nil || req.GetEnabled(),
		NotBefore:   notBefore,
		Expires:     expires,
	})
	if err != nil {
		return nil, err
	}
	return secretProto(made), nil
}

func (s *secretService) DeleteSecret(ctx context.Context, req *keywardv1.DeleteSecretRequest) (*keywardv1.DeletedSecret, error) {
	name, err := broker.ParseName(broker.KindSecrets, req.GetName())
	if err != nil {
		return nil, err
	}
	d, err := s.broker.DeleteSecret(ctx, caller(ctx), name)
	if err != nil {
		return nil, err
	}
	return &keywardv1.DeletedSecret{
		Name:       d.Name.As(kindDeletedSecrets).String(),
		Secret:     secretProto(d.Secret),
		DeleteTime: timeProto(d.Deleted),
		PurgeTime:  timeProto(d.Purges),
	}, nil
}

func (s *secretService) ListSecrets(ctx context.Context, req *keywardv1.ListSecretsRequest) (*keywardv1.ListSecretsResponse, error) {
	vault, err := broker.ParseVaultName(req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	c := caller(ctx)
	list := pageOf{principal: c.ID, method: keywardv1.SecretService_ListSecrets_FullMethodName, parent: vault.String()}
	token, err := s.pages.open(list, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	page, err := s.broker.ListSecrets(ctx, c, vault, broker.Page{Size: int(req.GetPageSize()), Token: token})
	if err != nil {
		return nil, err
	}
	return &keywardv1.ListSecretsResponse{
		Secrets:       secretProtos(page.Secrets),
		NextPageToken: s.pages.seal(list, page.Next),
	}, nil
}

func (s *secretService) ListSecretVersions(ctx context.Context, req *keywardv1.ListSecretVersionsRequest) (*keywardv1.ListSecretVersionsResponse, error) {
	name, err := broker.ParseName(broker.KindSecrets, req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	c := caller(ctx)
	list := pageOf{principal: c.ID, method: keywardv1.SecretService_ListSecretVersions_FullMethodName, parent: name.String()}
	token, err := s.pages.open(list, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	page, err := s.broker.ListSecretVersions(ctx, c, name, broker.Page{Size: int(req.GetPageSize()), Token: token})
	if err != nil {
		return nil, ofParent(err)
	}
	return &keywardv1.ListSecretVersionsResponse{
		Secrets:       secretProtos(page.Secrets),
		NextPageToken: s.pages.seal(list, page.Next),
	}, nil
}

// kindDeletedSecrets is the collection that deleted secrets are named in.
const kindDeletedSecrets broker.Kind = "deletedSecrets"

func secretProto(s broker.Secret) *keywardv1.Secret {
	p := &keywardv1.Secret{
		Name:            s.Name.Base().String(),
		Version:         s.Name.Version(),
		ContentType:     s.ContentType,
		Tags:            s.Tags,
		Enabled:         s.Enabled,
		NotBeforeTime:   timeProto(s.NotBefore),
		ExpireTime:      timeProto(s.Expires),
		CreateTime:      timeProto(s.Created),
		UpdateTime:      timeProto(s.Updated),
		RecoveryLevel:   s.RecoveryLevel,
		RecoverableDays: s.RecoverableDays,
		Managed:         s.Managed,
	}
	// Without its version an etag would equal none that a Get returns.
	if p.Version != "" {
		p.Etag = s.ETag()
	}
	return p
}

func secretProtos(all []broker.Secret) []*keywardv1.Secret {
	out := make([]*keywardv1.Secret, len(all))
	for i, s := range all {
		out[i] = secretProto(s)
	}
	return out
}

func timeProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
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

// ofParent names the field of a bad name as this request calls it.
func ofParent(err error) error {
	e := broker.AsError(err)
	if e.Code != broker.CodeBadName {
		return err
	}
	named := *e
	named.Field = "parent"
	return &named
}
