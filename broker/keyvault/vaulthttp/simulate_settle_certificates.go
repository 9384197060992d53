package vaulthttp

import (
	"context"
	"slices"
	"time"

	"github.com/keyward/keyward/broker"
)

// settlingCertificates is settling of certificates. Their keys and secrets move at
// once.
type settlingCertificates struct {
	broker.CertificateStore
	*unsettled
	pending PendingLister // nil if the store is none
}

func newSettlingCertificates(s broker.CertificateStore, takes time.Duration) *settlingCertificates {
	pending, _ := s.(PendingLister)
	return &settlingCertificates{CertificateStore: s, unsettled: newUnsettled(takes), pending: pending}
}

// live fails for what was recovered and is not seen yet.
func (s *settlingCertificates) live(name broker.Name) error {
	if _, recovered := s.moving(name); recovered {
		return &broker.Error{Code: broker.CodeCertificateNotFound}
	}
	return nil
}

// gone fails for what was deleted and cannot be moved again yet.
func (s *settlingCertificates) gone(name broker.Name) error {
	if deleted, _ := s.moving(name); deleted {
		return &broker.Error{Code: broker.CodeCertificateInTransition}
	}
	return nil
}

// free fails for a name that no certificate can be made under yet.
func (s *settlingCertificates) free(name broker.Name) error {
	if s.live(name) != nil {
		return beingRecovered("Certificate")
	}
	return s.gone(name)
}

func (s *settlingCertificates) CreateCertificate(ctx context.Context, name broker.Name, n broker.NewCertificate) (broker.CertificateOperation, error) {
	if err := s.free(name); err != nil {
		return broker.CertificateOperation{}, err
	}
	return s.CertificateStore.CreateCertificate(ctx, name, n)
}

func (s *settlingCertificates) ImportCertificate(ctx context.Context, name broker.Name, i broker.CertificateImport) (broker.Certificate, error) {
	if err := s.free(name); err != nil {
		return broker.Certificate{}, err
	}
	return s.CertificateStore.ImportCertificate(ctx, name, i)
}

func (s *settlingCertificates) DeleteCertificate(ctx context.Context, name broker.Name) (broker.DeletedCertificate, error) {
	if err := s.live(name); err != nil {
		return broker.DeletedCertificate{}, err
	}
	d, err := s.CertificateStore.DeleteCertificate(ctx, name)
	if err == nil {
		s.moved(name, false)
	}
	return d, err
}

func (s *settlingCertificates) RecoverCertificate(ctx context.Context, name broker.Name) (broker.Certificate, error) {
	if err := s.gone(name); err != nil {
		return broker.Certificate{}, err
	}
	got, err := s.CertificateStore.RecoverCertificate(ctx, name)
	if err == nil {
		s.moved(name, true)
	}
	return got, err
}

func (s *settlingCertificates) PurgeCertificate(ctx context.Context, name broker.Name) error {
	if err := s.gone(name); err != nil {
		return err
	}
	err := s.CertificateStore.PurgeCertificate(ctx, name)
	if err == nil {
		s.moved(name, false)
	}
	return err
}

func (s *settlingCertificates) GetDeletedCertificate(ctx context.Context, name broker.Name) (broker.DeletedCertificate, error) {
	if s.gone(name) != nil {
		return broker.DeletedCertificate{}, &broker.Error{Code: broker.CodeCertificateNotFound}
	}
	return s.CertificateStore.GetDeletedCertificate(ctx, name)
}

func (s *settlingCertificates) ListDeletedCertificates(ctx context.Context, vault broker.Name, p broker.Page) (broker.DeletedCertificatePage, error) {
	page, err := s.CertificateStore.ListDeletedCertificates(ctx, vault, p)
	page.Certificates = slices.DeleteFunc(page.Certificates, func(c broker.DeletedCertificate) bool { return s.gone(c.Name) != nil })
	return page, err
}

func (s *settlingCertificates) ListCertificates(ctx context.Context, vault broker.Name, p broker.Page) (broker.CertificatePage, error) {
	page, err := s.CertificateStore.ListCertificates(ctx, vault, p)
	page.Certificates = slices.DeleteFunc(page.Certificates, func(c broker.Certificate) bool { return s.live(c.Name) != nil })
	return page, err
}

// ListCertificatesAndPending implements PendingLister where the store does.
func (s *settlingCertificates) ListCertificatesAndPending(ctx context.Context, vault broker.Name, p broker.Page) (broker.CertificatePage, error) {
	page, err := s.pending.ListCertificatesAndPending(ctx, vault, p)
	page.Certificates = slices.DeleteFunc(page.Certificates, func(c broker.Certificate) bool { return s.live(c.Name) != nil })
	return page, err
}

func (s *settlingCertificates) GetCertificate(ctx context.Context, name broker.Name) (broker.Certificate, error) {
	if err := s.live(name); err != nil {
		return broker.Certificate{}, err
	}
	return s.CertificateStore.GetCertificate(ctx, name)
}

func (s *settlingCertificates) UpdateCertificate(ctx context.Context, name broker.Name, u broker.CertificateUpdate) (broker.Certificate, error) {
	if err := s.live(name); err != nil {
		return broker.Certificate{}, err
	}
	return s.CertificateStore.UpdateCertificate(ctx, name, u)
}

func (s *settlingCertificates) ListCertificateVersions(ctx context.Context, name broker.Name) ([]broker.Certificate, error) {
	if err := s.live(name); err != nil {
		return nil, err
	}
	return s.CertificateStore.ListCertificateVersions(ctx, name)
}

func (s *settlingCertificates) BackupCertificate(ctx context.Context, name broker.Name) (broker.Value, error) {
	if err := s.live(name); err != nil {
		return broker.Value{}, err
	}
	return s.CertificateStore.BackupCertificate(ctx, name)
}

func (s *settlingCertificates) GetCertificatePolicy(ctx context.Context, name broker.Name) (broker.CertificatePolicy, error) {
	if err := s.live(name); err != nil {
		return broker.CertificatePolicy{}, err
	}
	return s.CertificateStore.GetCertificatePolicy(ctx, name)
}

func (s *settlingCertificates) UpdateCertificatePolicy(ctx context.Context, name broker.Name, p broker.CertificatePolicy) (broker.CertificatePolicy, error) {
	if err := s.live(name); err != nil {
		return broker.CertificatePolicy{}, err
	}
	return s.CertificateStore.UpdateCertificatePolicy(ctx, name, p)
}

func (s *settlingCertificates) GetCertificateOperation(ctx context.Context, name broker.Name) (broker.CertificateOperation, error) {
	if s.live(name) != nil {
		return broker.CertificateOperation{}, &broker.Error{Code: broker.CodeOperationNotFound}
	}
	return s.CertificateStore.GetCertificateOperation(ctx, name)
}
