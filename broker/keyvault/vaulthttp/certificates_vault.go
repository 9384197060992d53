package vaulthttp

import (
	"context"
	"net/http"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

func (h *handler) getContacts(ctx context.Context, r request) (any, error) {
	all, err := h.Certificates.GetCertificateContacts(ctx, h.Vault)
	return r.contactsOr(all, err)
}

func (h *handler) setContacts(ctx context.Context, r request) (any, error) {
	var w keyvault.Contacts
	if err := certificateBody(r, &w); err != nil {
		return nil, err
	}
	if w.Contacts == nil {
		return nil, badParameter(`The parameter "contacts" is required.`)
	}
	all, err := h.Certificates.SetCertificateContacts(ctx, h.Vault, w.As())
	return r.contactsOr(all, err)
}

func (h *handler) deleteContacts(ctx context.Context, r request) (any, error) {
	all, err := h.Certificates.DeleteCertificateContacts(ctx, h.Vault)
	return r.contactsOr(all, err)
}

func (r request) contactsOr(all []broker.CertificateContact, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return keyvault.FromContacts(r.origin()+"/certificates/contacts", all), nil
}

func (h *handler) listIssuers(ctx context.Context, r request) (any, error) {
	size, token, err := r.page()
	if err != nil {
		return nil, err
	}
	page, err := h.Certificates.ListCertificateIssuers(ctx, h.Vault, broker.Page{Size: size, Token: token})
	if err != nil {
		return nil, err
	}
	item := func(i broker.CertificateIssuer) keyvault.Issuer {
		return keyvault.Issuer{ID: r.issuerID(i.Name), Provider: i.Provider}
	}
	return list(r, "/certificates/issuers", page.Issuers, item, page.Next, size), nil
}

func (h *handler) getIssuer(ctx context.Context, r request) (any, error) {
	i, err := h.Certificates.GetCertificateIssuer(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	return keyvault.FromIssuer(r.issuerID(i.Name), i), nil
}

// refuseIssuer answers who would set up a certificate authority: a store asks
// none.
func (*handler) refuseIssuer(context.Context, request) (any, error) {
	return nil, &refusal{
		status: http.StatusNotImplemented, code: keyvault.ErrorNotSupported,
		message: "Certificate issuers cannot be changed here. Create certificates with the issuer Self, or with Unknown and a merge.",
	}
}

func (r request) issuerID(n broker.Name) string {
	return r.origin() + "/certificates/issuers/" + n.ObjectName()
}
