package service

import (
	"context"
	"encoding/pem"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

func (s *certificateService) CreateCertificate(ctx context.Context, req *keywardv1.CreateCertificateRequest) (*keywardv1.CertificateOperation, error) {
	name, err := broker.ParseName(broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	etag, err := etagOf("etag", req.GetEtag())
	if err != nil {
		return nil, err
	}
	return operationReply(s.broker.CreateCertificate(ctx, caller(ctx), name, broker.NewCertificate{
		Policy:        certificatePolicyOf(req.GetPolicy()),
		Tags:          req.GetTags(),
		Enabled:       req.Enabled == nil || req.GetEnabled(),
		PreserveOrder: req.PreserveOrder,
	}, etag))
}

func (s *certificateService) GetCertificateOperation(ctx context.Context, req *keywardv1.GetCertificateOperationRequest) (*keywardv1.CertificateOperation, error) {
	name, err := broker.ParseName(broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	return operationReply(s.broker.GetCertificateOperation(ctx, caller(ctx), name))
}

func (s *certificateService) CancelCertificateOperation(ctx context.Context, req *keywardv1.CancelCertificateOperationRequest) (*keywardv1.CertificateOperation, error) {
	name, err := broker.ParseName(broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	return operationReply(s.broker.CancelCertificateOperation(ctx, caller(ctx), name))
}

func (s *certificateService) DeleteCertificateOperation(ctx context.Context, req *keywardv1.DeleteCertificateOperationRequest) (*keywardv1.CertificateOperation, error) {
	name, err := broker.ParseName(broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	return operationReply(s.broker.DeleteCertificateOperation(ctx, caller(ctx), name))
}

func operationReply(o broker.CertificateOperation, err error) (*keywardv1.CertificateOperation, error) {
	if err != nil {
		return nil, err
	}
	p := &keywardv1.CertificateOperation{
		Name:                  o.Name.String(),
		Status:                o.Status,
		Done:                  o.Done(),
		StatusDetails:         o.StatusDetails,
		IssuerName:            o.Issuer,
		CsrDer:                o.CSR,
		CancellationRequested: o.CancellationRequested,
		ErrorCode:             o.ErrorCode,
		ErrorMessage:          o.ErrorMessage,
		Target:                o.Target.String(),
		RequestId:             o.RequestID,
	}
	if len(o.CSR) > 0 {
		p.CsrPem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: o.CSR}))
	}
	return p, nil
}
