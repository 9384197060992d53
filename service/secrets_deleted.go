package service

import (
	"context"
	"strings"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

func (s *secretService) GetDeletedSecret(ctx context.Context, req *keywardv1.GetDeletedSecretRequest) (*keywardv1.DeletedSecret, error) {
	name, err := parseDeleted(broker.KindDeletedSecrets, broker.KindSecrets, req.GetName())
	if err != nil {
		return nil, err
	}
	d, err := s.broker.GetDeletedSecret(ctx, caller(ctx), name)
	if err != nil {
		return nil, err
	}
	return deletedProto(d), nil
}

func (s *secretService) ListDeletedSecrets(ctx context.Context, req *keywardv1.ListDeletedSecretsRequest) (*keywardv1.ListDeletedSecretsResponse, error) {
	vault, err := broker.ParseVaultName(req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	var page broker.DeletedSecretPage
	next, err := s.pages.page(ctx, keywardv1.SecretService_ListDeletedSecrets_FullMethodName, vault, req, func(c broker.Caller, p broker.Page) (string, error) {
		page, err = s.broker.ListDeletedSecrets(ctx, c, vault, p)
		return page.Next, err
	})
	if err != nil {
		return nil, err
	}
	out := make([]*keywardv1.DeletedSecret, len(page.Secrets))
	for i, d := range page.Secrets {
		out[i] = deletedProto(d)
	}
	return &keywardv1.ListDeletedSecretsResponse{DeletedSecrets: out, NextPageToken: next}, nil
}

func (s *secretService) UndeleteSecret(ctx context.Context, req *keywardv1.UndeleteSecretRequest) (*keywardv1.Secret, error) {
	name, err := parseDeleted(broker.KindDeletedSecrets, broker.KindSecrets, req.GetName())
	if err != nil {
		return nil, err
	}
	back, err := s.broker.UndeleteSecret(ctx, caller(ctx), name)
	if err != nil {
		return nil, err
	}
	return secretProto(back), nil
}

func (s *secretService) PurgeSecret(ctx context.Context, req *keywardv1.PurgeSecretRequest) (*emptypb.Empty, error) {
	name, err := parseDeleted(broker.KindDeletedSecrets, broker.KindSecrets, req.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.broker.PurgeSecret(ctx, caller(ctx), name); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func (s *secretService) BackupSecret(ctx context.Context, req *keywardv1.BackupSecretRequest) (*keywardv1.BackupSecretResponse, error) {
	name, err := broker.ParseName(broker.KindSecrets, req.GetName())
	if err != nil {
		return nil, err
	}
	blob, err := s.broker.BackupSecret(ctx, caller(ctx), name)
	if err != nil {
		return nil, err
	}
	return &keywardv1.BackupSecretResponse{Blob: []byte(blob.Reveal())}, nil
}

func (s *secretService) RestoreSecret(ctx context.Context, req *keywardv1.RestoreSecretRequest) (*keywardv1.Secret, error) {
	vault, err := broker.ParseVaultName(req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	back, err := s.broker.RestoreSecret(ctx, caller(ctx), vault, broker.NewValue(string(req.GetBlob())))
	if err != nil {
		return nil, err
	}
	return secretProto(back), nil
}

// parseDeleted returns the object of kind that a soft-deleted one was, such as
// "vaults/{vault}/deletedSecrets/{secret}".
func parseDeleted(deleted, kind broker.Kind, s string) (broker.Name, error) {
	n, err := broker.ParseName(deleted, s)
	if err != nil {
		return broker.Name{}, err
	}
	if n.Version() != "" {
		noun := strings.TrimSuffix(string(kind), "s")
		return broker.Name{}, &broker.Error{Code: broker.CodeBadName, Field: "name", Message: "a deleted " + noun + " is named without a version"}
	}
	return n.As(kind), nil
}

func deletedProto(d broker.DeletedSecret) *keywardv1.DeletedSecret {
	return &keywardv1.DeletedSecret{
		Name:       d.Name.As(broker.KindDeletedSecrets).String(),
		Secret:     secretProto(d.Secret),
		DeleteTime: timeProto(d.Deleted),
		PurgeTime:  timeProto(d.Purges),
	}
}
