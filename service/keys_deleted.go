package service

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

func (s *keyService) GetDeletedKey(ctx context.Context, req *keywardv1.GetDeletedKeyRequest) (*keywardv1.DeletedKey, error) {
	name, err := parseDeleted(broker.KindDeletedKeys, broker.KindKeys, req.GetName())
	if err != nil {
		return nil, err
	}
	return deletedKeyReply(s.broker.GetDeletedKey(ctx, caller(ctx), name))
}

func (s *keyService) ListDeletedKeys(ctx context.Context, req *keywardv1.ListDeletedKeysRequest) (*keywardv1.ListDeletedKeysResponse, error) {
	vault, err := broker.ParseVaultName(req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	var page broker.DeletedKeyPage
	next, err := s.pages.page(ctx, keywardv1.KeyService_ListDeletedKeys_FullMethodName, vault, req, func(c broker.Caller, p broker.Page) (string, error) {
		page, err = s.broker.ListDeletedKeys(ctx, c, vault, p)
		return page.Next, err
	})
	if err != nil {
		return nil, err
	}
	out := make([]*keywardv1.DeletedKey, len(page.Keys))
	for i, d := range page.Keys {
		out[i] = deletedKeyProto(d)
	}
	return &keywardv1.ListDeletedKeysResponse{DeletedKeys: out, NextPageToken: next}, nil
}

func (s *keyService) UndeleteKey(ctx context.Context, req *keywardv1.UndeleteKeyRequest) (*keywardv1.Key, error) {
	name, err := parseDeleted(broker.KindDeletedKeys, broker.KindKeys, req.GetName())
	if err != nil {
		return nil, err
	}
	return keyReply(s.broker.UndeleteKey(ctx, caller(ctx), name))
}

func (s *keyService) PurgeKey(ctx context.Context, req *keywardv1.PurgeKeyRequest) (*emptypb.Empty, error) {
	name, err := parseDeleted(broker.KindDeletedKeys, broker.KindKeys, req.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.broker.PurgeKey(ctx, caller(ctx), name); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func (s *keyService) BackupKey(ctx context.Context, req *keywardv1.BackupKeyRequest) (*keywardv1.BackupKeyResponse, error) {
	name, err := broker.ParseName(broker.KindKeys, req.GetName())
	if err != nil {
		return nil, err
	}
	blob, err := s.broker.BackupKey(ctx, caller(ctx), name)
	if err != nil {
		return nil, err
	}
	return &keywardv1.BackupKeyResponse{Blob: []byte(blob.Reveal())}, nil
}

func (s *keyService) RestoreKey(ctx context.Context, req *keywardv1.RestoreKeyRequest) (*keywardv1.Key, error) {
	vault, err := broker.ParseVaultName(req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	return keyReply(s.broker.RestoreKey(ctx, caller(ctx), vault, hidden(req.GetBlob())))
}

func deletedKeyReply(d broker.DeletedKey, err error) (*keywardv1.DeletedKey, error) {
	if err != nil {
		return nil, err
	}
	return deletedKeyProto(d), nil
}

func deletedKeyProto(d broker.DeletedKey) *keywardv1.DeletedKey {
	return &keywardv1.DeletedKey{
		Name:       d.Name.As(broker.KindDeletedKeys).String(),
		Key:        keyProto(d.Key),
		DeleteTime: timeProto(d.Deleted),
		PurgeTime:  timeProto(d.Purges),
	}
}
