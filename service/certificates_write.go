package service

import (
	"context"
	"encoding/base64"
	"slices"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

func (s *certificateService) ImportCertificate(ctx context.Context, req *keywardv1.ImportCertificateRequest) (*keywardv1.Certificate, error) {
	material, contentType := broker.NewValue(req.GetPem()), broker.ContentTypePEM
	both := len(req.GetPfx()) > 0 && req.GetPem() != ""
	if len(req.GetPfx()) > 0 {
		material, contentType = broker.NewValue(base64.StdEncoding.EncodeToString(req.GetPfx())), broker.ContentTypePKCS12
		clear(req.GetPfx())
	}
	name, err := broker.ParseName(broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	if both {
		return nil, &broker.Error{Code: broker.CodeBadField, Field: "pem", Message: "give one of pfx and pem, not both"}
	}
	etag, err := etagOf("etag", req.GetEtag())
	if err != nil {
		return nil, err
	}
	return certificateReply(s.broker.ImportCertificate(ctx, caller(ctx), name, broker.CertificateImport{
		Material:      material,
		ContentType:   contentType,
		Password:      broker.NewValue(req.GetPassword()),
		Policy:        certificatePolicyOf(req.GetPolicy()),
		Tags:          req.GetTags(),
		Enabled:       req.Enabled == nil || req.GetEnabled(),
		PreserveOrder: req.PreserveOrder,
	}, etag))
}

func (s *certificateService) MergeCertificate(ctx context.Context, req *keywardv1.MergeCertificateRequest) (*keywardv1.Certificate, error) {
	name, err := broker.ParseName(broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	return certificateReply(s.broker.MergeCertificate(ctx, caller(ctx), name, broker.CertificateMerge{
		Chain:   req.GetX509Certificates(),
		Tags:    req.GetTags(),
		Enabled: req.Enabled == nil || req.GetEnabled(),
	}))
}

func (s *certificateService) UpdateCertificate(ctx context.Context, req *keywardv1.UpdateCertificateRequest) (*keywardv1.Certificate, error) {
	name, err := broker.ParseName(broker.KindCertificates, req.GetCertificate().GetName())
	if err != nil {
		return nil, ofField("certificate.name", err)
	}
	u, err := certificateUpdateOf(req.GetCertificate(), req.GetUpdateMask().GetPaths(), callIn(ctx).maskFilled)
	if err != nil {
		return nil, err
	}
	etag, err := etagOf("certificate.etag", req.GetCertificate().GetEtag())
	if err != nil {
		return nil, err
	}
	now, err := s.broker.UpdateCertificate(ctx, caller(ctx), name, u, etag)
	return certificateReply(now, within("certificate", updatableOfCertificate, err))
}

func (s *certificateService) DeleteCertificate(ctx context.Context, req *keywardv1.DeleteCertificateRequest) (*keywardv1.DeletedCertificate, error) {
	name, err := broker.ParseName(broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	etag, err := etagOf("etag", req.GetEtag())
	if err != nil {
		return nil, err
	}
	return deletedCertificateReply(s.broker.DeleteCertificate(ctx, caller(ctx), name, etag))
}

// updatableOfCertificate are the fields of a Certificate that can change, as masks
// name them.
var updatableOfCertificate = []string{"tags", "enabled"}

// certificateUpdateOf returns the update that a mask asks for, as updateOf does.
func certificateUpdateOf(c *keywardv1.Certificate, mask []string, filled bool) (broker.CertificateUpdate, error) {
	var u broker.CertificateUpdate
	paths, _, err := pathsOf(c, updatableOfCertificate, mask, filled)
	if err != nil {
		return u, err
	}
	if slices.Contains(paths, "tags") {
		u.Tags = new(c.GetTags())
	}
	if slices.Contains(paths, "enabled") {
		u.Enabled = new(c.GetEnabled())
	}
	return u, nil
}
