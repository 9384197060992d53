package service

import (
	"context"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

func (s *certificateService) GetCertificatePolicy(ctx context.Context, req *keywardv1.GetCertificatePolicyRequest) (*keywardv1.CertificatePolicy, error) {
	name, err := broker.ParseName(broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	return certificatePolicyReply(s.broker.GetCertificatePolicy(ctx, caller(ctx), name))
}

func (s *certificateService) UpdateCertificatePolicy(ctx context.Context, req *keywardv1.UpdateCertificatePolicyRequest) (*keywardv1.CertificatePolicy, error) {
	name, err := broker.ParseName(broker.KindCertificates, req.GetName())
	if err != nil {
		return nil, err
	}
	var p broker.CertificatePolicy
	if given := certificatePolicyOf(req.GetPolicy()); given != nil {
		p = *given
	}
	return certificatePolicyReply(s.broker.UpdateCertificatePolicy(ctx, caller(ctx), name, p))
}

// certificatePolicyOf returns the policy in a request, nil for none.
func certificatePolicyOf(p *keywardv1.CertificatePolicy) *broker.CertificatePolicy {
	if p == nil {
		return nil
	}
	names := p.GetSubjectAlternativeNames()
	out := &broker.CertificatePolicy{
		Issuer:          p.GetIssuerName(),
		CertificateType: p.GetCertificateType(),
		Transparency:    p.CertificateTransparency,
		Subject:         p.GetSubject(),
		Names: broker.AlternativeNames{
			DNSNames: names.GetDnsNames(), Emails: names.GetEmails(), UPNs: names.GetUpns(), URIs: names.GetUris(), IPAddresses: names.GetIpAddresses(),
		},
		EKUs:           p.GetExtendedKeyUsages(),
		KeyUsages:      p.GetKeyUsages(),
		ValidityMonths: p.GetValidityMonths(),
		CA:             p.CertificateAuthority,
		KeyType:        broker.KeyType(p.GetKty()),
		KeySize:        p.GetKeySize(),
		Curve:          broker.Curve(p.GetCrv()),
		Exportable:     p.Exportable,
		ReuseKey:       p.ReuseKey,
		ContentType:    p.GetContentType(),
	}
	for _, a := range p.GetLifetimeActions() {
		out.Actions = append(out.Actions, broker.CertificateAction{
			Type: a.GetType(), LifetimePercentage: a.GetLifetimePercentage(), DaysBeforeExpiry: a.GetDaysBeforeExpiry(),
		})
	}
	return out
}

func certificatePolicyReply(p broker.CertificatePolicy, err error) (*keywardv1.CertificatePolicy, error) {
	if err != nil {
		return nil, err
	}
	return certificatePolicyProto(p), nil
}

func certificatePolicyProto(p broker.CertificatePolicy) *keywardv1.CertificatePolicy {
	out := &keywardv1.CertificatePolicy{
		IssuerName:              p.Issuer,
		CertificateType:         p.CertificateType,
		CertificateTransparency: p.Transparency,
		Subject:                 p.Subject,
		SubjectAlternativeNames: &keywardv1.SubjectAlternativeNames{
			DnsNames: p.Names.DNSNames, Emails: p.Names.Emails, Upns: p.Names.UPNs, Uris: p.Names.URIs, IpAddresses: p.Names.IPAddresses,
		},
		ExtendedKeyUsages:    p.EKUs,
		KeyUsages:            p.KeyUsages,
		ValidityMonths:       p.ValidityMonths,
		CertificateAuthority: p.CA,
		Kty:                  string(p.KeyType),
		KeySize:              p.KeySize,
		Crv:                  string(p.Curve),
		Exportable:           p.Exportable,
		ReuseKey:             p.ReuseKey,
		ContentType:          p.ContentType,
		CreateTime:           timeProto(p.Created),
		UpdateTime:           timeProto(p.Updated),
	}
	for _, a := range p.Actions {
		out.LifetimeActions = append(out.LifetimeActions, &keywardv1.CertificateLifetimeAction{
			Type: a.Type, LifetimePercentage: a.LifetimePercentage, DaysBeforeExpiry: a.DaysBeforeExpiry,
		})
	}
	return out
}
