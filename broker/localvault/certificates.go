package localvault

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// certificates is the vault's broker.CertificateStore. Names in its answers are in
// the vault that was asked for, as those of secrets.
type certificates struct{ objects }

var _ broker.CertificateStore = certificates{}

// certificateMetadata is what a version of a certificate has beside what all
// versions have, whose times are the certificate's own and whose content type is
// its secret's. Its value is the chain, the certificate first.
type certificateMetadata struct {
	Thumbprint    []byte `json:"x5t"` // SHA-1
	Subject       string `json:"subject,omitempty"`
	PreserveOrder bool   `json:"preserveOrder,omitempty"`
}

var errNoCertificate = errors.New("what is sealed is no certificate")

// GetCertificate implements broker.CertificateStore. A certificate whose first
// version is still being made has a policy, and no DER.
func (s certificates) GetCertificate(ctx context.Context, name broker.Name) (got broker.Certificate, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		if name.Version() == "" {
			got, err = s.latest(ctx, tx, h, name)
			return err
		}
		ver, m, err := s.version(ctx, tx, h, name)
		if err != nil {
			return err
		}
		got, err = s.certificate(ctx, tx, h, name, ver, m)
		return err
	})
	if err != nil {
		return broker.Certificate{}, err
	}
	return got, nil
}

// ListCertificates implements broker.CertificateStore, as ListSecrets does. What is
// still being made is not among them.
func (s certificates) ListCertificates(ctx context.Context, vault broker.Name, p broker.Page) (page broker.CertificatePage, err error) {
	page.Next, err = s.walk(ctx, vault, p, func(tx *bbolt.Tx, name broker.Name) bool {
		h, err := s.live(ctx, tx, name)
		if err != nil || !h.state.made() {
			return false
		}
		m, err := s.latestMetadata(ctx, tx, h, name)
		if err != nil {
			return false
		}
		c, err := s.item(name, h.state.Latest, m)
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

// ListCertificateVersions implements broker.CertificateStore. A damaged version is
// left out, and logged.
func (s certificates) ListCertificateVersions(ctx context.Context, name broker.Name) (all []broker.Certificate, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		return s.eachVersion(ctx, tx, h, name, func(ver version, m metadata) error {
			c, err := s.item(name, ver, m)
			all = append(all, c)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(all)
	return all, nil
}

// made reports whether a certificate has a version.
func (s state) made() bool { return s.Latest != version{} }

// latest describes the latest version of a certificate to the caller, or the one
// that is being made, if it is the first.
func (s certificates) latest(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name) (broker.Certificate, error) {
	if !h.state.made() {
		return s.unfinished(h, name)
	}
	m, err := s.latestMetadata(ctx, tx, h, name)
	if err != nil {
		return broker.Certificate{}, err
	}
	return s.certificate(ctx, tx, h, name, h.state.Latest, m)
}

// certificate describes a version to the caller.
func (s certificates) certificate(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name, ver version, m metadata) (broker.Certificate, error) {
	c, err := s.item(name, ver, m)
	if err != nil {
		return broker.Certificate{}, err
	}
	stored, err := h.value(tx, ver)
	if err != nil {
		return broker.Certificate{}, s.damaged(ctx, name, err)
	}
	chain, err := parseChain(stored)
	if err != nil {
		return broker.Certificate{}, s.damaged(ctx, name, err)
	}
	c.DER, c.Subject = chain[0], ""
	c.ContentType = m.ContentType
	c.Policy = h.state.Policy.policy()
	if c.Key, err = c.Name.As(broker.KindKeys).WithVersion(ver.String()); err != nil {
		return broker.Certificate{}, err
	}
	if c.Secret, err = c.Name.As(broker.KindSecrets).WithVersion(ver.String()); err != nil {
		return broker.Certificate{}, err
	}
	return c, nil
}

// item describes what lists have of a version.
func (s certificates) item(name broker.Name, ver version, m metadata) (broker.Certificate, error) {
	name, err := name.WithVersion(ver.String())
	if err != nil {
		return broker.Certificate{}, err
	}
	if m.Certificate == nil {
		return broker.Certificate{}, errNoCertificate
	}
	return broker.Certificate{
		Name:            name,
		Thumbprint:      slices.Clone(m.Certificate.Thumbprint),
		Subject:         m.Certificate.Subject,
		Tags:            maps.Clone(m.Tags),
		Enabled:         m.Enabled,
		NotBefore:       timeOf(m.NotBefore),
		Expires:         timeOf(m.Expires),
		Created:         time.Unix(m.Created, 0).UTC(),
		Updated:         time.Unix(m.Updated, 0).UTC(),
		RecoveryLevel:   s.v.recoveryLevel(),
		RecoverableDays: s.v.retention,
		PreserveOrder:   m.Certificate.PreserveOrder,
	}, nil
}

// unfinished describes a certificate that has no version yet.
func (s certificates) unfinished(h *head, name broker.Name) (broker.Certificate, error) {
	op := h.state.Operation
	if op == nil {
		return broker.Certificate{}, errNoCertificate
	}
	name, err := name.WithVersion(op.Version.String())
	if err != nil {
		return broker.Certificate{}, err
	}
	created := op.Version.created()
	return broker.Certificate{
		Name: name, Tags: maps.Clone(op.Tags), Created: created, Updated: created,
		RecoveryLevel: s.v.recoveryLevel(), RecoverableDays: s.v.retention,
		Policy: h.state.Policy.policy(), PreserveOrder: op.PreserveOrder,
	}, nil
}

func parseChain(stored []byte) (chain [][]byte, err error) {
	if err := json.Unmarshal(stored, &chain); err != nil || len(chain) == 0 {
		return nil, errNoCertificate
	}
	return chain, nil
}

// UpdateCertificate implements broker.CertificateStore. The key and the secret of
// the version follow.
func (s certificates) UpdateCertificate(ctx context.Context, name broker.Name, u broker.CertificateUpdate) (updated broker.Certificate, err error) {
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		if !h.state.made() {
			return errInProgress
		}
		ver, m, err := s.version(ctx, tx, h, name)
		if err != nil {
			return err
		}
		pair, err := s.pair(ctx, tx, h, name)
		if err != nil {
			return err
		}
		// The clock may have gone back, what the caller is told does not.
		at := max(m.Updated, time.Now().Unix())
		for _, one := range append(pair, h) {
			if m, err = one.metadata(tx, ver); err != nil {
				return s.damaged(ctx, name, err)
			}
			m.apply(broker.SecretUpdate{Tags: u.Tags, Enabled: u.Enabled})
			m.Updated = at
			if err := one.putMetadata(tx, ver, m); err != nil {
				return err
			}
		}
		updated, err = s.certificate(ctx, tx, h, name, ver, m)
		return err
	})
	if err != nil {
		return broker.Certificate{}, err
	}
	s.v.rotator.wake()
	return updated, nil
}
