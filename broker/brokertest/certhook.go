package brokertest

import (
	"context"

	"github.com/keyward/keyward/broker"
)

// CertificateStore is a broker.CertificateStore with hooks, as KeyStore is one of
// keys.
type CertificateStore struct {
	hooks

	inside  broker.CertificateStore
	issuers []broker.CertificateIssuer
}

var _ broker.CertificateStore = (*CertificateStore)(nil)

// NewCertificateStore returns a store that passes its calls on to inside. Issuers,
// which the local vault has none of, are those given, if any are.
func NewCertificateStore(inside broker.CertificateStore, issuers ...broker.CertificateIssuer) *CertificateStore {
	return &CertificateStore{inside: inside, issuers: issuers}
}

// CreateCertificate implements broker.CertificateStore.
func (s *CertificateStore) CreateCertificate(ctx context.Context, name broker.Name, c broker.NewCertificate) (broker.CertificateOperation, error) {
	return hooked(ctx, &s.hooks, "CreateCertificate", name, func() (broker.CertificateOperation, error) {
		return s.inside.CreateCertificate(ctx, name, c)
	})
}

// GetCertificateOperation implements broker.CertificateStore.
func (s *CertificateStore) GetCertificateOperation(ctx context.Context, name broker.Name) (broker.CertificateOperation, error) {
	return hooked(ctx, &s.hooks, "GetCertificateOperation", name, func() (broker.CertificateOperation, error) {
		return s.inside.GetCertificateOperation(ctx, name)
	})
}

// CancelCertificateOperation implements broker.CertificateStore.
func (s *CertificateStore) CancelCertificateOperation(ctx context.Context, name broker.Name) (broker.CertificateOperation, error) {
	return hooked(ctx, &s.hooks, "CancelCertificateOperation", name, func() (broker.CertificateOperation, error) {
		return s.inside.CancelCertificateOperation(ctx, name)
	})
}

// DeleteCertificateOperation implements broker.CertificateStore.
func (s *CertificateStore) DeleteCertificateOperation(ctx context.Context, name broker.Name) (broker.CertificateOperation, error) {
	return hooked(ctx, &s.hooks, "DeleteCertificateOperation", name, func() (broker.CertificateOperation, error) {
		return s.inside.DeleteCertificateOperation(ctx, name)
	})
}

// MergeCertificate implements broker.CertificateStore.
func (s *CertificateStore) MergeCertificate(ctx context.Context, name broker.Name, m broker.CertificateMerge) (broker.Certificate, error) {
	return hooked(ctx, &s.hooks, "MergeCertificate", name, func() (broker.Certificate, error) {
		return s.inside.MergeCertificate(ctx, name, m)
	})
}

// ImportCertificate implements broker.CertificateStore.
func (s *CertificateStore) ImportCertificate(ctx context.Context, name broker.Name, c broker.CertificateImport) (broker.Certificate, error) {
	return hooked(ctx, &s.hooks, "ImportCertificate", name, func() (broker.Certificate, error) {
		return s.inside.ImportCertificate(ctx, name, c)
	})
}

// GetCertificate implements broker.CertificateStore.
func (s *CertificateStore) GetCertificate(ctx context.Context, name broker.Name) (broker.Certificate, error) {
	return hooked(ctx, &s.hooks, "GetCertificate", name, func() (broker.Certificate, error) {
		return s.inside.GetCertificate(ctx, name)
	})
}

// UpdateCertificate implements broker.CertificateStore.
func (s *CertificateStore) UpdateCertificate(ctx context.Context, name broker.Name, u broker.CertificateUpdate) (broker.Certificate, error) {
	return hooked(ctx, &s.hooks, "UpdateCertificate", name, func() (broker.Certificate, error) {
		return s.inside.UpdateCertificate(ctx, name, u)
	})
}

// GetCertificatePolicy implements broker.CertificateStore.
func (s *CertificateStore) GetCertificatePolicy(ctx context.Context, name broker.Name) (broker.CertificatePolicy, error) {
	return hooked(ctx, &s.hooks, "GetCertificatePolicy", name, func() (broker.CertificatePolicy, error) {
		return s.inside.GetCertificatePolicy(ctx, name)
	})
}

// UpdateCertificatePolicy implements broker.CertificateStore.
func (s *CertificateStore) UpdateCertificatePolicy(ctx context.Context, name broker.Name, p broker.CertificatePolicy) (broker.CertificatePolicy, error) {
	return hooked(ctx, &s.hooks, "UpdateCertificatePolicy", name, func() (broker.CertificatePolicy, error) {
		return s.inside.UpdateCertificatePolicy(ctx, name, p)
	})
}

// ListCertificates implements broker.CertificateStore.
func (s *CertificateStore) ListCertificates(ctx context.Context, vault broker.Name, p broker.Page) (broker.CertificatePage, error) {
	return hooked(ctx, &s.hooks, "ListCertificates", vault, func() (broker.CertificatePage, error) {
		return s.inside.ListCertificates(ctx, vault, p)
	})
}

// ListCertificateVersions implements broker.CertificateStore.
func (s *CertificateStore) ListCertificateVersions(ctx context.Context, name broker.Name) ([]broker.Certificate, error) {
	return hooked(ctx, &s.hooks, "ListCertificateVersions", name, func() ([]broker.Certificate, error) {
		return s.inside.ListCertificateVersions(ctx, name)
	})
}

// DeleteCertificate implements broker.CertificateStore.
func (s *CertificateStore) DeleteCertificate(ctx context.Context, name broker.Name) (broker.DeletedCertificate, error) {
	return hooked(ctx, &s.hooks, "DeleteCertificate", name, func() (broker.DeletedCertificate, error) {
		return s.inside.DeleteCertificate(ctx, name)
	})
}

// GetDeletedCertificate implements broker.CertificateStore.
func (s *CertificateStore) GetDeletedCertificate(ctx context.Context, name broker.Name) (broker.DeletedCertificate, error) {
	return hooked(ctx, &s.hooks, "GetDeletedCertificate", name, func() (broker.DeletedCertificate, error) {
		return s.inside.GetDeletedCertificate(ctx, name)
	})
}

// ListDeletedCertificates implements broker.CertificateStore.
func (s *CertificateStore) ListDeletedCertificates(ctx context.Context, vault broker.Name, p broker.Page) (broker.DeletedCertificatePage, error) {
	return hooked(ctx, &s.hooks, "ListDeletedCertificates", vault, func() (broker.DeletedCertificatePage, error) {
		return s.inside.ListDeletedCertificates(ctx, vault, p)
	})
}

// RecoverCertificate implements broker.CertificateStore.
func (s *CertificateStore) RecoverCertificate(ctx context.Context, name broker.Name) (broker.Certificate, error) {
	return hooked(ctx, &s.hooks, "RecoverCertificate", name, func() (broker.Certificate, error) {
		return s.inside.RecoverCertificate(ctx, name)
	})
}

// PurgeCertificate implements broker.CertificateStore.
func (s *CertificateStore) PurgeCertificate(ctx context.Context, name broker.Name) error {
	_, err := hooked(ctx, &s.hooks, "PurgeCertificate", name, func() (struct{}, error) { return struct{}{}, s.inside.PurgeCertificate(ctx, name) })
	return err
}

// BackupCertificate implements broker.CertificateStore.
func (s *CertificateStore) BackupCertificate(ctx context.Context, name broker.Name) (broker.Value, error) {
	return hooked(ctx, &s.hooks, "BackupCertificate", name, func() (broker.Value, error) {
		return s.inside.BackupCertificate(ctx, name)
	})
}

// RestoreCertificate implements broker.CertificateStore.
func (s *CertificateStore) RestoreCertificate(ctx context.Context, vault broker.Name, blob broker.Value) (broker.Certificate, error) {
	return hooked(ctx, &s.hooks, "RestoreCertificate", vault, func() (broker.Certificate, error) {
		return s.inside.RestoreCertificate(ctx, vault, blob)
	})
}

// GetCertificateContacts implements broker.CertificateStore.
func (s *CertificateStore) GetCertificateContacts(ctx context.Context, vault broker.Name) ([]broker.CertificateContact, error) {
	return hooked(ctx, &s.hooks, "GetCertificateContacts", vault, func() ([]broker.CertificateContact, error) {
		return s.inside.GetCertificateContacts(ctx, vault)
	})
}

// SetCertificateContacts implements broker.CertificateStore.
func (s *CertificateStore) SetCertificateContacts(ctx context.Context, vault broker.Name, contacts []broker.CertificateContact) ([]broker.CertificateContact, error) {
	return hooked(ctx, &s.hooks, "SetCertificateContacts", vault, func() ([]broker.CertificateContact, error) {
		return s.inside.SetCertificateContacts(ctx, vault, contacts)
	})
}

// DeleteCertificateContacts implements broker.CertificateStore.
func (s *CertificateStore) DeleteCertificateContacts(ctx context.Context, vault broker.Name) ([]broker.CertificateContact, error) {
	return hooked(ctx, &s.hooks, "DeleteCertificateContacts", vault, func() ([]broker.CertificateContact, error) {
		return s.inside.DeleteCertificateContacts(ctx, vault)
	})
}

// ListCertificateIssuers implements broker.CertificateStore.
func (s *CertificateStore) ListCertificateIssuers(ctx context.Context, vault broker.Name, p broker.Page) (broker.CertificateIssuerPage, error) {
	return hooked(ctx, &s.hooks, "ListCertificateIssuers", vault, func() (broker.CertificateIssuerPage, error) {
		if s.issuers != nil {
			return broker.CertificateIssuerPage{Issuers: s.issuers}, nil
		}
		return s.inside.ListCertificateIssuers(ctx, vault, p)
	})
}

// GetCertificateIssuer implements broker.CertificateStore.
func (s *CertificateStore) GetCertificateIssuer(ctx context.Context, name broker.Name) (broker.CertificateIssuer, error) {
	return hooked(ctx, &s.hooks, "GetCertificateIssuer", name, func() (broker.CertificateIssuer, error) {
		for _, i := range s.issuers {
			if i.Name == name {
				return i, nil
			}
		}
		return s.inside.GetCertificateIssuer(ctx, name)
	})
}
