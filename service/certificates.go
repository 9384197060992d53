package service

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// certificateService is keyward.v1.CertificateService, in the manner of
// secretService.
type certificateService struct {
	keywardv1.UnimplementedCertificateServiceServer

	broker *broker.Broker
	pages  pageTokens
}

func (s *certificateService) GetCertificate(ctx context.Context, req *keywardv1.GetCertificateRequest) (*keywardv1.Certificate, error) {
	name, err := broker.ParseName(broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	return certificateReply(s.broker.GetCertificate(ctx, caller(ctx), name))
}

func (s *certificateService) ListCertificates(ctx context.Context, req *keywardv1.ListCertificatesRequest) (*keywardv1.ListCertificatesResponse, error) {
	vault, err := broker.ParseVaultName(req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	var page broker.CertificatePage
	next, err := s.pages.page(ctx, keywardv1.CertificateService_ListCertificates_FullMethodName, vault, req, func(c broker.Caller, p broker.Page) (string, error) {
		page, err = s.broker.ListCertificates(ctx, c, vault, p)
		return page.Next, err
	})
	if err != nil {
		return nil, err
	}
	return &keywardv1.ListCertificatesResponse{Certificates: certificateProtos(page.Certificates), NextPageToken: next}, nil
}

func (s *certificateService) ListCertificateVersions(ctx context.Context, req *keywardv1.ListCertificateVersionsRequest) (*keywardv1.ListCertificateVersionsResponse, error) {
	name, err := broker.ParseName(broker.KindCertificates, req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	var page broker.CertificatePage
	next, err := s.pages.page(ctx, keywardv1.CertificateService_ListCertificateVersions_FullMethodName, name, req, func(c broker.Caller, p broker.Page) (string, error) {
		page, err = s.broker.ListCertificateVersions(ctx, c, name, p)
		return page.Next, err
	})
	if err != nil {
		return nil, ofParent(err)
	}
	return &keywardv1.ListCertificateVersionsResponse{Certificates: certificateProtos(page.Certificates), NextPageToken: next}, nil
}

// certificateReply is the reply of a method that ends with c or with err.
func certificateReply(c broker.Certificate, err error) (*keywardv1.Certificate, error) {
	if err != nil {
		return nil, err
	}
	return certificateProto(c), nil
}

func certificateProto(c broker.Certificate) *keywardv1.Certificate {
	p := &keywardv1.Certificate{
		Name:            c.Name.Base().String(),
		Version:         c.Name.Version(),
		X509Der:         c.DER,
		X5T:             base64.RawURLEncoding.EncodeToString(c.Thumbprint),
		Subject:         c.Subject,
		Tags:            c.Tags,
		Enabled:         c.Enabled,
		NotBeforeTime:   timeProto(c.NotBefore),
		ExpireTime:      timeProto(c.Expires),
		CreateTime:      timeProto(c.Created),
		UpdateTime:      timeProto(c.Updated),
		RecoveryLevel:   c.RecoveryLevel,
		RecoverableDays: c.RecoverableDays,
		KeyVersion:      c.Key.String(),
		SecretVersion:   c.Secret.String(),
		PreserveOrder:   c.PreserveOrder,
	}
	if c.Policy != nil {
		p.Policy = certificatePolicyProto(*c.Policy)
	}
	if len(c.DER) > 0 {
		p.X509Pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.DER}))
		// What is no certificate as we know them has no subject that could be shown.
		if parsed, err := x509.ParseCertificate(c.DER); err == nil && p.Subject == "" {
			p.Subject = parsed.Subject.String()
		}
	}
	// Without its version an etag would equal none that a Get returns.
	if p.Version != "" {
		p.Etag = c.ETag()
	}
	return p
}

func certificateProtos(all []broker.Certificate) []*keywardv1.Certificate {
	out := make([]*keywardv1.Certificate, len(all))
	for i, c := range all {
		out[i] = certificateProto(c)
	}
	return out
}
