package keyvault

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/keyward/keyward/broker"
)

const (
	contactsPath = certificatesPath + "/contacts"
	issuersPath  = certificatesPath + "/issuers"
	setContacts  = "SetCertificateContacts"
)

// GetCertificateContacts implements broker.CertificateStore.
func (c *Client) GetCertificateContacts(ctx context.Context, _ broker.Name) ([]broker.CertificateContact, error) {
	return c.contacts(ctx, call{operation: "GetCertificateContacts", method: http.MethodGet, repeat: ifFailed})
}

// SetCertificateContacts implements broker.CertificateStore. The same contacts
// twice are the contacts.
func (c *Client) SetCertificateContacts(ctx context.Context, _ broker.Name, contacts []broker.CertificateContact) ([]broker.CertificateContact, error) {
	k, err := call{operation: setContacts, method: http.MethodPut, repeat: ifFailed}.with(FromContacts("", contacts))
	if err != nil {
		return nil, err
	}
	return c.contacts(ctx, k)
}

// DeleteCertificateContacts implements broker.CertificateStore. After
// VAULT_UNAVAILABLE it may have happened.
func (c *Client) DeleteCertificateContacts(ctx context.Context, _ broker.Name) ([]broker.CertificateContact, error) {
	return c.contacts(ctx, call{operation: "DeleteCertificateContacts", method: http.MethodDelete, repeat: ifThrottled})
}

func (c *Client) contacts(ctx context.Context, k call) ([]broker.CertificateContact, error) {
	k.path, k.limit = contactsPath, maxReplyLen
	return invokeCertificates(ctx, c, k, func(w Contacts) ([]broker.CertificateContact, error) {
		// Where there are none, Key Vault has been seen to leave out the id.
		if w.ID == "" && w.Contacts == nil {
			return nil, errors.New("contacts that say nothing")
		}
		if w.ID != "" {
			if u, err := c.ours(w.ID); err != nil || !strings.EqualFold(u.EscapedPath(), contactsPath) {
				return nil, errBadID
			}
		}
		return w.As(), nil
	})
}

// ListCertificateIssuers implements broker.CertificateStore. A list has no more of
// each than its name and its provider.
func (c *Client) ListCertificateIssuers(ctx context.Context, vault broker.Name, p broker.Page) (broker.CertificateIssuerPage, error) {
	k := call{operation: "ListCertificateIssuers", method: http.MethodGet, path: issuersPath, repeat: ifFailed}
	items, next, err := listCertificates(ctx, c, k, p, func(w Issuer) (broker.CertificateIssuer, error) {
		n, err := c.issuerName(vault, w.ID)
		return w.As(n), err
	})
	return broker.CertificateIssuerPage{Issuers: items, Next: next}, badTokenOf(p, err)
}

// GetCertificateIssuer implements broker.CertificateStore.
func (c *Client) GetCertificateIssuer(ctx context.Context, name broker.Name) (broker.CertificateIssuer, error) {
	k := call{
		operation: "GetCertificateIssuer", method: http.MethodGet, path: issuersPath + "/" + name.ObjectName(),
		repeat: ifFailed, limit: maxReplyLen,
	}
	return invokeCertificates(ctx, c, k, func(w Issuer) (broker.CertificateIssuer, error) {
		n, err := c.issuerName(name, w.ID)
		if err == nil && n != name {
			err = errors.New("another issuer than was asked for")
		}
		return w.As(n), err
	})
}

func (c *Client) issuerName(vault broker.Name, id string) (broker.Name, error) {
	u, err := c.ours(id)
	if err != nil {
		return broker.Name{}, err
	}
	object, ok := strings.CutPrefix(u.EscapedPath(), issuersPath+"/")
	if !ok {
		return broker.Name{}, errBadID
	}
	n, err := vault.Vault().Object(broker.KindCertificateIssuers, object)
	if err != nil {
		return broker.Name{}, errBadID
	}
	return n, nil
}

// FromContacts returns contacts as Key Vault writes them under the given id.
func FromContacts(id string, contacts []broker.CertificateContact) Contacts {
	w := Contacts{ID: id, Contacts: make([]Contact, 0, len(contacts))}
	for _, one := range contacts {
		w.Contacts = append(w.Contacts, Contact(one))
	}
	return w
}

// As returns c as the broker knows them.
func (c Contacts) As() []broker.CertificateContact {
	all := make([]broker.CertificateContact, 0, len(c.Contacts))
	for _, one := range c.Contacts {
		all = append(all, broker.CertificateContact(one))
	}
	return all
}

// FromIssuer returns i as Key Vault writes it under the given id.
func FromIssuer(id string, i broker.CertificateIssuer) Issuer {
	w := Issuer{
		ID: id, Provider: i.Provider,
		Attributes: Attributes{Enabled: &i.Enabled, Created: NewUnixTime(i.Created), Updated: NewUnixTime(i.Updated)},
	}
	if i.OrganizationID != "" {
		w.Organization = &Organization{ID: i.OrganizationID}
	}
	return w
}

// As returns i as the broker knows it, under the given name.
func (i Issuer) As(name broker.Name) broker.CertificateIssuer {
	b := broker.CertificateIssuer{
		Name: name, Provider: i.Provider, Enabled: enabled(i.Attributes),
		Created: i.Attributes.Created.Time(), Updated: i.Attributes.Updated.Time(),
	}
	if i.Organization != nil {
		b.OrganizationID = i.Organization.ID
	}
	return b
}
