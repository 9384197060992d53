package broker

import (
	"context"
	"time"
)

// What a vault has for all its certificates is decided on the vault.

const (
	maxContacts   = 100
	maxContactLen = 256 // bytes, of each of its texts
)

// GetCertificateContacts returns whom the vault writes to about its certificates.
func (b *Broker) GetCertificateContacts(ctx context.Context, c Caller, vault Name) ([]CertificateContact, error) {
	return read(ctx, b, c, ActionGetCertificateContacts, vault, func(ctx context.Context, _ *Event) ([]CertificateContact, error) {
		store, err := b.certificates(vault)
		if err != nil {
			return nil, err
		}
		return store.GetCertificateContacts(ctx, vault)
	})
}

// UpdateCertificateContacts replaces whom the vault writes to: 1 to 100.
func (b *Broker) UpdateCertificateContacts(ctx context.Context, c Caller, vault Name, contacts []CertificateContact) ([]CertificateContact, error) {
	if len(contacts) == 0 || len(contacts) > maxContacts {
		return nil, &Error{Code: CodeBadField, Field: "certificate_contacts.contacts", Message: "a vault has 1 to 100 contacts; DeleteCertificateContacts removes them all"}
	}
	for _, contact := range contacts {
		if !isEmail(contact.Email) || max(len(contact.Email), len(contact.Name), len(contact.Phone)) > maxContactLen || !isText(contact.Name) || !isText(contact.Phone) {
			return nil, &Error{Code: CodeBadField, Field: "certificate_contacts.contacts", Message: "a contact has an email, such as a@example.org, and may have a display_name and a phone, each of at most 256 bytes"}
		}
	}
	return change(ctx, b, c, ActionUpdateCertificateContacts, vault, func(ctx context.Context, _ *Event) ([]CertificateContact, error) {
		store, err := b.certificates(vault)
		if err != nil {
			return nil, err
		}
		return store.SetCertificateContacts(ctx, vault, contacts)
	})
}

// DeleteCertificateContacts removes all whom the vault writes to, and returns them.
func (b *Broker) DeleteCertificateContacts(ctx context.Context, c Caller, vault Name) ([]CertificateContact, error) {
	return change(ctx, b, c, ActionDeleteCertificateContacts, vault, func(ctx context.Context, _ *Event) ([]CertificateContact, error) {
		store, err := b.certificates(vault)
		if err != nil {
			return nil, err
		}
		return store.DeleteCertificateContacts(ctx, vault)
	})
}

func (i *CertificateIssuer) listedAs() Name    { return i.Name }
func (i *CertificateIssuer) madeAt() time.Time { return i.Created }

// ListCertificateIssuers returns a page of the certificate authorities that the vault
// can ask, ordered by name. Who may list them may list all.
func (b *Broker) ListCertificateIssuers(ctx context.Context, c Caller, vault Name, p Page) (CertificateIssuerPage, error) {
	size, err := checkPage(p)
	if err != nil {
		return CertificateIssuerPage{}, err
	}
	return read(ctx, b, c, ActionListCertificateIssuers, vault, func(ctx context.Context, ev *Event) (page CertificateIssuerPage, err error) {
		store, err := b.certificates(vault)
		if err != nil {
			return page, err
		}
		all, err := pages[*CertificateIssuer](func(ctx context.Context, p Page) ([]*CertificateIssuer, string, error) {
			got, err := store.ListCertificateIssuers(ctx, vault, p)
			return pointers(got.Issuers), got.Next, err
		}).walk(ctx)
		if err != nil {
			return page, err
		}
		items := behind(all, p.Token)
		if len(items) > size {
			items = items[:size]
			page.Next = items[size-1].Name.object
		}
		for _, i := range items {
			ev.Items = append(ev.Items, Item{Resource: i.Name, Decision: ev.Decision, Outcome: OutcomeOK})
		}
		page.Issuers = copies(items)
		return page, nil
	})
}

// GetCertificateIssuer returns one of them.
func (b *Broker) GetCertificateIssuer(ctx context.Context, c Caller, name Name) (CertificateIssuer, error) {
	if err := wantBase(name); err != nil {
		return CertificateIssuer{}, err
	}
	return read(ctx, b, c, ActionGetCertificateIssuer, name.Vault(), func(ctx context.Context, ev *Event) (CertificateIssuer, error) {
		store, err := b.certificates(name)
		if err != nil {
			return CertificateIssuer{}, err
		}
		ev.Items = []Item{{Resource: name, Decision: ev.Decision, Outcome: OutcomeOK}}
		return store.GetCertificateIssuer(ctx, name)
	})
}
