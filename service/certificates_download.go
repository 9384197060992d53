package service

import (
	"context"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

func (s *certificateService) DownloadCertificate(ctx context.Context, req *keywardv1.DownloadCertificateRequest) (*keywardv1.DownloadCertificateResponse, error) {
	name, err := broker.ParseName(broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	o := broker.DownloadOptions{Password: broker.NewValue(req.GetPassword())}
	switch req.GetFormat() {
	case keywardv1.CertificateFormat_CERTIFICATE_FORMAT_UNSPECIFIED, keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PEM:
	case keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PFX:
		o.PFX = true
	default:
		return nil, &broker.Error{Code: broker.CodeBadField, Field: "format", Message: "format is CERTIFICATE_FORMAT_PEM or CERTIFICATE_FORMAT_PFX"}
	}
	d, err := s.broker.DownloadCertificate(ctx, caller(ctx), name, o)
	if err != nil {
		return nil, err
	}
	return &keywardv1.DownloadCertificateResponse{
		Certificate:         certificateProto(d.Certificate),
		CertificateChainPem: d.Chain,
		PrivateKeyPem:       d.Key.Reveal(),
		Pfx:                 []byte(d.PFX.Reveal()),
	}, nil
}
