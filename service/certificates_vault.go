package service

import (
	"context"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

func (s *certificateService) GetCertificateContacts(ctx context.Context, req *keywardv1.GetCertificateContactsRequest) (*keywardv1.CertificateContacts, error) {
	vault, err := broker.ParseVaultName(req.GetName())
	if err != nil {
		return nil, err
	}
	all, err := s.broker.GetCertificateContacts(ctx, caller(ctx), vault)
	return contactsReply(vault, all, err)
}

func (s *certificateService) UpdateCertificateContacts(ctx context.Context, req *keywardv1.UpdateCertificateContactsRequest) (*keywardv1.CertificateContacts, error) {
	vault, err := broker.ParseVaultName(req.GetName())
	if err != nil {
		return nil, err
	}
	if n := req.GetCertificateContacts().GetName(); n != "" && n != vault.String() {
		return nil, &broker.Error{Code: broker.CodeBadName, Field: "certificate_contacts.name", Message: "certificate_contacts.name is another vault than name"}
	}
	var contacts []broker.CertificateContact
	for _, c := range req.GetCertificateContacts().GetContacts() {
		contacts = append(contacts, broker.CertificateContact{Email: c.GetEmail(), Name: c.GetDisplayName(), Phone: c.GetPhone()})
	}
	all, err := s.broker.UpdateCertificateContacts(ctx, caller(ctx), vault, contacts)
	return contactsReply(vault, all, err)
}

func (s *certificateService) DeleteCertificateContacts(ctx context.Context, req *keywardv1.DeleteCertificateContactsRequest) (*keywardv1.CertificateContacts, error) {
	vault, err := broker.ParseVaultName(req.GetName())
	if err != nil {
		return nil, err
	}
	all, err := s.broker.DeleteCertificateContacts(ctx, caller(ctx), vault)
	return contactsReply(vault, all, err)
}

func contactsReply(vault broker.Name, all []broker.CertificateContact, err error) (*keywardv1.CertificateContacts, error) {
	if err != nil {
		return nil, err
	}
	p := &keywardv1.CertificateContacts{Name: vault.String()}
	for _, c := range all {
		p.Contacts = append(p.Contacts, &keywardv1.CertificateContact{Email: c.Email, DisplayName: c.Name, Phone: c.Phone})
	}
	return p, nil
}

func (s *certificateService) ListCertificateIssuers(ctx context.Context, req *keywardv1.ListCertificateIssuersRequest) (*keywardv1.ListCertificateIssuersResponse, error) {
	vault, err := broker.ParseVaultName(req.GetParent())
	if err != nil {
		return nil, ofParent(err)
	}
	var page broker.CertificateIssuerPage
	next, err := s.pages.page(ctx, keywardv1.CertificateService_ListCertificateIssuers_FullMethodName, vault, req, func(c broker.Caller, p broker.Page) (string, error) {
		page, err = s.broker.ListCertificateIssuers(ctx, c, vault, p)
		return page.Next, err
	})
	if err != nil {
		return nil, err
	}
	out := make([]*keywardv1.CertificateIssuer, len(page.Issuers))
	for i, issuer := range page.Issuers {
		out[i] = issuerProto(issuer)
	}
	return &keywardv1.ListCertificateIssuersResponse{CertificateIssuers: out, NextPageToken: next}, nil
}

func (s *certificateService) GetCertificateIssuer(ctx context.Context, req *keywardv1.GetCertificateIssuerRequest) (*keywardv1.CertificateIssuer, error) {
	name, err := broker.ParseName(broker.KindCertificateIssuers, req.GetName())
	if err != nil {
		return nil, err
	}
	issuer, err := s.broker.GetCertificateIssuer(ctx, caller(ctx), name)
	if err != nil {
		return nil, err
	}
	return issuerProto(issuer), nil
}

func issuerProto(i broker.CertificateIssuer) *keywardv1.CertificateIssuer {
	return &keywardv1.CertificateIssuer{
		Name:           i.Name.String(),
		Provider:       i.Provider,
		OrganizationId: i.OrganizationID,
		Enabled:        i.Enabled,
		CreateTime:     timeProto(i.Created),
		UpdateTime:     timeProto(i.Updated),
	}
}
