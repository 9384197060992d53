package localvault

import (
	"context"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// DeleteCertificate implements broker.CertificateStore.
func (s certificates) DeleteCertificate(ctx context.Context, name broker.Name) (deleted broker.DeletedCertificate, err error) {
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.softDelete(ctx, tx, name)
		if err != nil {
			return err
		}
		if err := s.follow(ctx, tx, h, name); err != nil {
			return err
		}
		deleted, err = s.deletedCertificate(ctx, tx, h, name)
		return err
	})
	if err != nil {
		return broker.DeletedCertificate{}, err
	}
	return deleted, nil
}

// follow deletes or recovers the key and the secret as the certificate was.
func (s certificates) follow(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name) error {
	pair, err := s.pair(ctx, tx, h, name)
	if err != nil {
		return err
	}
	for _, one := range pair {
		one.state.Deleted, one.state.Purges = h.state.Deleted, h.state.Purges
		if err := one.put(tx); err != nil {
			return err
		}
	}
	return nil
}

// GetDeletedCertificate implements broker.CertificateStore.
func (s certificates) GetDeletedCertificate(ctx context.Context, name broker.Name) (deleted broker.DeletedCertificate, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.softDeleted(ctx, tx, name)
		if err != nil {
			return err
		}
		deleted, err = s.deletedCertificate(ctx, tx, h, name)
		return err
	})
	if err != nil {
		return broker.DeletedCertificate{}, err
	}
	return deleted, nil
}

// ListDeletedCertificates implements broker.CertificateStore, as ListCertificates
// does.
func (s certificates) ListDeletedCertificates(ctx context.Context, vault broker.Name, p broker.Page) (page broker.DeletedCertificatePage, err error) {
	page.Next, err = s.walk(ctx, vault, p, func(tx *bbolt.Tx, name broker.Name) bool {
		h, err := s.softDeleted(ctx, tx, name)
		if err != nil {
			return false
		}
		c, err := s.deletedItem(ctx, tx, h, name)
		if err != nil {
			return false
		}
		page.Certificates = append(page.Certificates, c)
		return true
	})
	if err != nil {
		return broker.DeletedCertificatePage{}, err
	}
	return page, nil
}

// RecoverCertificate implements broker.CertificateStore.
func (s certificates) RecoverCertificate(ctx context.Context, name broker.Name) (recovered broker.Certificate, err error) {
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.undelete(ctx, tx, name)
		if err != nil {
			return err
		}
		if err := s.follow(ctx, tx, h, name); err != nil {
			return err
		}
		recovered, err = s.latest(ctx, tx, h, name)
		return err
	})
	if err != nil {
		return broker.Certificate{}, err
	}
	s.v.rotator.wake()
	return recovered, nil
}

// PurgeCertificate implements broker.CertificateStore.
func (s certificates) PurgeCertificate(ctx context.Context, name broker.Name) error {
	return s.purge(ctx, name)
}

// deletedCertificate describes a deleted certificate to the caller.
func (s certificates) deletedCertificate(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name) (broker.DeletedCertificate, error) {
	latest, err := s.latest(ctx, tx, h, name)
	if err != nil {
		return broker.DeletedCertificate{}, err
	}
	return deletedAs(h, name, latest), nil
}

// deletedItem describes what lists have of one.
func (s certificates) deletedItem(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name) (broker.DeletedCertificate, error) {
	if !h.state.made() {
		c, err := s.unfinished(h, name)
		c.Policy = nil
		return deletedAs(h, name, c), err
	}
	m, err := s.latestMetadata(ctx, tx, h, name)
	if err != nil {
		return broker.DeletedCertificate{}, err
	}
	c, err := s.item(name, h.state.Latest, m)
	return deletedAs(h, name, c), err
}

func deletedAs(h *head, name broker.Name, c broker.Certificate) broker.DeletedCertificate {
	c.Name = name.Base()
	return broker.DeletedCertificate{
		Certificate: c,
		Deleted:     time.Unix(h.state.Deleted, 0).UTC(),
		Purges:      time.Unix(h.state.Purges, 0).UTC(),
	}
}
