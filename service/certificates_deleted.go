package service

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

func (s *certificateService) GetDeletedCertificate(ctx context.Context, req *keywardv1.GetDeletedCertificateRequest) (*keywardv1.DeletedCertificate, error) {
	name, err := parseDeleted(broker.KindDeletedCertificates, broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	return deletedCertificateReply(s.broker.GetDeletedCertificate(ctx, caller(ctx), name))
}

func (s *certificateService) ListDeletedCertificates(ctx context.Context, req *keywardv1.ListDeletedCertificatesRequest) (*keywardv1.ListDeletedCertificatesResponse, error) {
	vault, err := broker.ParseVaultName(req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	var page broker.DeletedCertificatePage
	next, err := s.pages.page(ctx, keywardv1.CertificateService_ListDeletedCertificates_FullMethodName, vault, req, func(c broker.Caller, p broker.Page) (string, error) {
		page, err = s.broker.ListDeletedCertificates(ctx, c, vault, p)
		return page.Next, err
	})
	if err != nil {
		return nil, err
	}
	out := make([]*keywardv1.DeletedCertificate, len(page.Certificates))
	for i, d := range page.Certificates {
		out[i] = deletedCertificateProto(d)
	}
	return &keywardv1.ListDeletedCertificatesResponse{DeletedCertificates: out, NextPageToken: next}, nil
}

func (s *certificateService) UndeleteCertificate(ctx context.Context, req *keywardv1.UndeleteCertificateRequest) (*keywardv1.Certificate, error) {
	name, err := parseDeleted(broker.KindDeletedCertificates, broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	return certificateReply(s.broker.UndeleteCertificate(ctx, caller(ctx), name))
}

func (s *certificateService) PurgeCertificate(ctx context.Context, req *keywardv1.PurgeCertificateRequest) (*emptypb.Empty, error) {
	name, err := parseDeleted(broker.KindDeletedCertificates, broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.broker.PurgeCertificate(ctx, caller(ctx), name); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func (s *certificateService) BackupCertificate(ctx context.Context, req *keywardv1.BackupCertificateRequest) (*keywardv1.BackupCertificateResponse, error) {
	name, err := broker.ParseName(broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	blob, err := s.broker.BackupCertificate(ctx, caller(ctx), name)
	if err != nil {
		return nil, err
	}
	return &keywardv1.BackupCertificateResponse{Blob: []byte(blob.Reveal())}, nil
}

func (s *certificateService) RestoreCertificate(ctx context.Context, req *keywardv1.RestoreCertificateRequest) (*keywardv1.Certificate, error) {
	vault, err := broker.ParseVaultName(req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	return certificateReply(s.broker.RestoreCertificate(ctx, caller(ctx), vault, hidden(req.GetBlob())))
}

func deletedCertificateReply(d broker.DeletedCertificate, err error) (*keywardv1.DeletedCertificate, error) {
	if err != nil {
		return nil, err
	}
	return deletedCertificateProto(d), nil
}

func deletedCertificateProto(d broker.DeletedCertificate) *keywardv1.DeletedCertificate {
	return &keywardv1.DeletedCertificate{
		Name:        d.Name.As(broker.KindDeletedCertificates).String(),
		Certificate: certificateProto(d.Certificate),
		DeleteTime:  timeProto(d.Deleted),
		PurgeTime:   timeProto(d.Purges),
	}
}
