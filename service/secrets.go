package service

import (
	"context"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
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
	// refuse returns the status for an error of one item, and logs its cause.
	refuse  func(context.Context, error) *status.Status
	watches *watches
}

func (s *secretService) GetSecret(ctx context.Context, req *keywardv1.GetSecretRequest) (*keywardv1.GetSecretResponse, error) {
	v, err := s.get(ctx, req)
	if err != nil {
		return nil, err
	}
	return valueProto(v), nil
}

// get is GetSecret without the reply; see grpcSecrets and gateway.getSecret.
func (s *secretService) get(ctx context.Context, req *keywardv1.GetSecretRequest) (broker.SecretValue, error) {
	name, err := broker.ParseName(broker.KindSecrets, req.GetName())
	if err != nil {
		return broker.SecretValue{}, err
	}
	maxAge, err := ageOf("max_age", req.GetMaxAge())
	if err != nil {
		return broker.SecretValue{}, err
	}
	return s.broker.GetSecret(ctx, caller(ctx), name, broker.GetSecretOptions{
		MaxAge:       maxAge,
		KnownVersion: req.GetKnownVersion(),
		KnownETags:   callIn(ctx).knownETags,
	})
}

func (s *secretService) ListSecrets(ctx context.Context, req *keywardv1.ListSecretsRequest) (*keywardv1.ListSecretsResponse, error) {
	vault, err := broker.ParseVaultName(req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	var page broker.SecretPage
	next, err := s.pages.page(ctx, keywardv1.SecretService_ListSecrets_FullMethodName, vault, req, func(c broker.Caller, p broker.Page) (string, error) {
		page, err = s.broker.ListSecrets(ctx, c, vault, p)
		return page.Next, err
	})
	if err != nil {
		return nil, err
	}
	return &keywardv1.ListSecretsResponse{
		Secrets:       secretProtos(page.Secrets),
		NextPageToken: next,
	}, nil
}

func (s *secretService) ListSecretVersions(ctx context.Context, req *keywardv1.ListSecretVersionsRequest) (*keywardv1.ListSecretVersionsResponse, error) {
	name, err := broker.ParseName(broker.KindSecrets, req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	var page broker.SecretPage
	next, err := s.pages.page(ctx, keywardv1.SecretService_ListSecretVersions_FullMethodName, name, req, func(c broker.Caller, p broker.Page) (string, error) {
		page, err = s.broker.ListSecretVersions(ctx, c, name, p)
		return page.Next, err
	})
	if err != nil {
		return nil, ofParent(err)
	}
	return &keywardv1.ListSecretVersionsResponse{
		Secrets:       secretProtos(page.Secrets),
		NextPageToken: next,
	}, nil
}

func valueProto(v broker.SecretValue) *keywardv1.GetSecretResponse {
	return &keywardv1.GetSecretResponse{
		Secret:      secretProto(v.Secret),
		Value:       v.Value.Reveal(),
		Freshness:   &keywardv1.Freshness{FetchTime: timeProto(v.Fetched), Stale: v.Stale},
		NotModified: v.NotModified,
	}
}

func secretProto(s broker.Secret) *keywardv1.Secret {
	return &keywardv1.Secret{
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
		Etag:            versionETag(s),
	}
}

// versionETag returns the etag of s, or "" in a list: without its version it would equal
// none that a Get returns.
func versionETag(s broker.Secret) string {
	if s.Name.Version() == "" {
		return ""
	}
	return s.ETag()
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

// ageOf returns the duration of an optional field, nil if it is unset.
func ageOf(field string, d *durationpb.Duration) (*time.Duration, error) {
	switch {
	case d == nil:
		return nil, nil
	case !d.IsValid():
		return nil, &broker.Error{Code: broker.CodeBadField, Field: field, Message: field + " is no duration"}
	}
	age := d.AsDuration()
	return &age, nil
}

// ofParent names the field of a bad name as this request calls it.
func ofParent(err error) error {
	if broker.CodeOf(err) != broker.CodeBadName {
		return err
	}
	return ofField("parent", err)
}

// ofField returns err with another field at fault.
func ofField(field string, err error) error {
	named := *broker.AsError(err)
	named.Field = field
	return &named
}
