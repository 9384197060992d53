package localvault

import (
	"context"
	"encoding/json"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

var contactsKey = []byte("certificate-contacts")

const maxContacts = 100

func contactsPlace() place { return place{purpose: purposeContacts} }

// GetCertificateContacts implements broker.CertificateStore. Nobody writes to them:
// they are kept.
func (s certificates) GetCertificateContacts(ctx context.Context, vault broker.Name) (all []broker.CertificateContact, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		all, err = s.contacts(ctx, tx, vault)
		return err
	})
	return all, err
}

func (s certificates) contacts(ctx context.Context, tx *bbolt.Tx, vault broker.Name) (all []broker.CertificateContact, err error) {
	sealed := tx.Bucket(bucketVault).Get(contactsKey)
	if sealed == nil {
		return nil, nil
	}
	plain, err := s.v.seal.open(contactsPlace(), sealed)
	if err != nil {
		return nil, s.damaged(ctx, vault, err)
	}
	return all, json.Unmarshal(plain, &all)
}

// SetCertificateContacts implements broker.CertificateStore.
func (s certificates) SetCertificateContacts(ctx context.Context, _ broker.Name, contacts []broker.CertificateContact) ([]broker.CertificateContact, error) {
	if len(contacts) > maxContacts {
		return nil, badField("contacts", "a vault has at most 100 contacts")
	}
	for _, c := range contacts {
		if at := strings.IndexByte(c.Email, '@'); at <= 0 || at == len(c.Email)-1 || len(c.Email)+len(c.Name)+len(c.Phone) > maxSubjectLen {
			return nil, badField("contacts", "a contact has an email address")
		}
	}
	plain, err := json.Marshal(contacts)
	if err != nil {
		return nil, err
	}
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketVault)
		if len(contacts) == 0 {
			return b.Delete(contactsKey)
		}
		return b.Put(contactsKey, s.v.seal.seal(contactsPlace(), plain))
	})
	if err != nil {
		return nil, err
	}
	return contacts, nil
}

// DeleteCertificateContacts implements broker.CertificateStore. Those that are
// damaged can be deleted, and are not told.
func (s certificates) DeleteCertificateContacts(ctx context.Context, vault broker.Name) (all []broker.CertificateContact, err error) {
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		if all, err = s.contacts(ctx, tx, vault); err != nil {
			all = nil
		}
		return tx.Bucket(bucketVault).Delete(contactsKey)
	})
	return all, err
}

// ListCertificateIssuers implements broker.CertificateStore: there are none.
func (s certificates) ListCertificateIssuers(ctx context.Context, _ broker.Name, p broker.Page) (broker.CertificateIssuerPage, error) {
	if p.Token != "" {
		return broker.CertificateIssuerPage{}, &broker.Error{Code: broker.CodeBadPageToken, Field: "page_token"}
	}
	return broker.CertificateIssuerPage{}, s.v.ready(ctx)
}

// GetCertificateIssuer implements broker.CertificateStore.
func (s certificates) GetCertificateIssuer(ctx context.Context, _ broker.Name) (broker.CertificateIssuer, error) {
	if err := s.v.ready(ctx); err != nil {
		return broker.CertificateIssuer{}, err
	}
	return broker.CertificateIssuer{}, &broker.Error{Code: broker.CodeIssuerNotFound}
}
