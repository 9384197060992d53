package localvault

import (
	"context"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// What package vaulthttp asks beside broker.CertificateStore: Key Vault tells more
// of what is being made, and of what is deleted, than the broker has a use for.

// HasOperation reports whether a certificate, soft-deleted or not, has an
// operation.
func (s certificates) HasOperation(ctx context.Context, name broker.Name) (has bool, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.head(ctx, tx, name)
		switch {
		case err != nil:
			return err
		case h == nil:
			return s.notFound()
		}
		has = h.state.Operation != nil
		return nil
	})
	return has, err
}

// DeletedVersion returns the latest version of a soft-deleted certificate, or the
// one that was being made.
func (s certificates) DeletedVersion(ctx context.Context, name broker.Name) (ver string, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.softDeleted(ctx, tx, name)
		switch {
		case err != nil:
			return err
		case !h.state.made() && h.state.Operation != nil:
			ver = h.state.Operation.Version.String()
		default:
			ver = h.state.Latest.String()
		}
		return nil
	})
	return ver, err
}

// ListCertificatesAndPending is ListCertificates, with those whose first version is
// being made.
func (s certificates) ListCertificatesAndPending(ctx context.Context, vault broker.Name, p broker.Page) (page broker.CertificatePage, err error) {
	page.Next, err = s.walk(ctx, vault, p, func(tx *bbolt.Tx, name broker.Name) bool {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return false
		}
		var c broker.Certificate
		if h.state.made() {
			m, failed := s.latestMetadata(ctx, tx, h, name)
			if failed != nil {
				return false
			}
			c, err = s.item(name, h.state.Latest, m)
		} else {
			c, err = s.unfinished(h, name)
			c.Policy = nil
		}
		if err != nil {
			return false
		}
		c.Name = name
		page.Certificates = append(page.Certificates, c)
		return true
	})
	if err != nil {
		return broker.CertificatePage{}, err
	}
	return page, nil
}
