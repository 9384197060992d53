package vaulthttp_test

import (
	"context"
	"strings"

	"github.com/keyward/keyward/broker"
)

// pacedCertificates is pacedStore of certificates, whose making can be told to take
// its time.
type pacedCertificates struct {
	broker.CertificateStore
	*pace
}

func (s *pacedCertificates) CreateCertificate(ctx context.Context, n broker.Name, c broker.NewCertificate) (broker.CertificateOperation, error) {
	o, err := s.CertificateStore.CreateCertificate(ctx, n, c)
	return s.paced(o), err
}

func (s *pacedCertificates) GetCertificateOperation(ctx context.Context, n broker.Name) (broker.CertificateOperation, error) {
	o, err := s.CertificateStore.GetCertificateOperation(ctx, n)
	return s.paced(o), err
}

func (s *pacedCertificates) paced(o broker.CertificateOperation) broker.CertificateOperation {
	if s.making && o.Done() {
		o.Status, o.StatusDetails, o.Target = broker.OperationInProgress, "It is being made.", broker.Name{}
	}
	return o
}

func (s *pacedCertificates) GetCertificate(ctx context.Context, n broker.Name) (broker.Certificate, error) {
	if s.settling {
		return broker.Certificate{}, &broker.Error{Code: broker.CodeCertificateNotFound}
	}
	return s.CertificateStore.GetCertificate(ctx, n)
}

func (s *pacedCertificates) GetDeletedCertificate(ctx context.Context, n broker.Name) (broker.DeletedCertificate, error) {
	if s.settling {
		return broker.DeletedCertificate{}, &broker.Error{Code: broker.CodeCertificateNotFound}
	}
	return s.CertificateStore.GetDeletedCertificate(ctx, n)
}

func (s *pacedCertificates) RestoreCertificate(ctx context.Context, vault broker.Name, blob broker.Value) (broker.Certificate, error) {
	if s.settling {
		return broker.Certificate{}, &broker.Error{Code: broker.CodeCertificateExists}
	}
	return s.CertificateStore.RestoreCertificate(ctx, vault, blob)
}

func (s *pacedCertificates) ListCertificates(ctx context.Context, vault broker.Name, p broker.Page) (broker.CertificatePage, error) {
	if next, ok := s.hold(p); ok {
		return broker.CertificatePage{Next: next}, nil
	}
	p.Token = strings.TrimPrefix(p.Token, held)
	page, err := s.CertificateStore.ListCertificates(ctx, vault, p)
	if page.Next == "" && s.more {
		page.Next = heldEnd
	}
	return page, err
}

func (s *pacedCertificates) ListDeletedCertificates(ctx context.Context, vault broker.Name, p broker.Page) (broker.DeletedCertificatePage, error) {
	if next, ok := s.hold(p); ok {
		return broker.DeletedCertificatePage{Next: next}, nil
	}
	p.Token = strings.TrimPrefix(p.Token, held)
	page, err := s.CertificateStore.ListDeletedCertificates(ctx, vault, p)
	if page.Next == "" && s.more {
		page.Next = heldEnd
	}
	return page, err
}

// DeletedVersion makes the ids of what is soft-deleted whole.
func (s *pacedCertificates) DeletedVersion(ctx context.Context, n broker.Name) (string, error) {
	v, ok := s.CertificateStore.(interface {
		DeletedVersion(ctx context.Context, n broker.Name) (string, error)
	})
	if !ok {
		return "", &broker.Error{Code: broker.CodeNotSupported}
	}
	return v.DeletedVersion(ctx, n)
}

// HasOperation is the store's.
func (s *pacedCertificates) HasOperation(ctx context.Context, n broker.Name) (bool, error) {
	t, ok := s.CertificateStore.(interface {
		HasOperation(ctx context.Context, n broker.Name) (bool, error)
	})
	if !ok {
		return false, &broker.Error{Code: broker.CodeNotSupported}
	}
	return t.HasOperation(ctx, n)
}
