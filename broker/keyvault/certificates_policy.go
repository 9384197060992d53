package keyvault

import (
	"time"

	"github.com/keyward/keyward/broker"
)

// CertificatePolicy is how a certificate is made, as Key Vault writes it. What is
// nil is left to the vault, or as it is; an empty list of actions, of EKUs or of
// usages is none.
type CertificatePolicy struct {
	ID         string              `json:"id,omitempty"`
	Key        *KeyProperties      `json:"key_props,omitempty"`
	Secret     *SecretProperties   `json:"secret_props,omitempty"`
	X509       *X509Properties     `json:"x509_props,omitempty"`
	Actions    []CertificateAction `json:"lifetime_actions,omitzero"`
	Issuer     *IssuerParameters   `json:"issuer,omitempty"`
	Attributes *Attributes         `json:"attributes,omitempty"`
}

// KeyProperties of a policy.
type KeyProperties struct {
	Exportable *bool          `json:"exportable,omitempty"`
	Type       broker.KeyType `json:"kty,omitempty"`
	Size       int32          `json:"key_size,omitempty"`
	ReuseKey   *bool          `json:"reuse_key,omitempty"`
	Curve      broker.Curve   `json:"crv,omitempty"`
}

// SecretProperties of a policy.
type SecretProperties struct {
	ContentType string `json:"contentType,omitempty"`
}

// X509Properties of a policy.
type X509Properties struct {
	Subject          string            `json:"subject,omitempty"`
	Names            *AlternativeNames `json:"sans,omitempty"`
	EKUs             []string          `json:"ekus,omitzero"`
	KeyUsages        []string          `json:"key_usage,omitzero"`
	ValidityMonths   int32             `json:"validity_months,omitempty"`
	BasicConstraints *BasicConstraints `json:"basic_constraints,omitempty"`
}

// AlternativeNames of a policy. The last two are since 2025-07-01.
type AlternativeNames struct {
	Emails      []string `json:"emails,omitempty"`
	DNSNames    []string `json:"dns_names,omitempty"`
	UPNs        []string `json:"upns,omitempty"`
	URIs        []string `json:"uris,omitempty"`
	IPAddresses []string `json:"ipAddresses,omitempty"`
}

// BasicConstraints of a policy.
type BasicConstraints struct {
	CA *bool `json:"ca,omitempty"`
}

// CertificateAction is what happens at a point of a certificate's life.
type CertificateAction struct {
	Trigger CertificateTrigger `json:"trigger"`
	Action  struct {
		Type string `json:"action_type"`
	} `json:"action"`
}

// CertificateTrigger is the point: one of the two.
type CertificateTrigger struct {
	LifetimePercentage int32 `json:"lifetime_percentage,omitempty"`
	DaysBeforeExpiry   int32 `json:"days_before_expiry,omitempty"`
}

// IssuerParameters of a policy, and of an operation.
type IssuerParameters struct {
	Name         string `json:"name,omitempty"`
	Type         string `json:"cty,omitempty"`
	Transparency *bool  `json:"cert_transparency,omitempty"`
}

// FromCertificatePolicy returns p as Key Vault writes it under the given id. What
// p does not set, it does not have.
func FromCertificatePolicy(id string, p broker.CertificatePolicy) CertificatePolicy {
	w := CertificatePolicy{ID: id}
	if p.Exportable != nil || p.KeyType != "" || p.KeySize != 0 || p.ReuseKey != nil || p.Curve != "" {
		w.Key = &KeyProperties{Exportable: p.Exportable, Type: p.KeyType, Size: p.KeySize, ReuseKey: p.ReuseKey, Curve: p.Curve}
		if p.Curve != "" && p.KeySize == 0 {
			w.Key.Size = curveSizes[p.Curve]
		}
	}
	if p.ContentType != "" {
		w.Secret = &SecretProperties{ContentType: p.ContentType}
	}
	x := X509Properties{Subject: p.Subject, EKUs: p.EKUs, KeyUsages: p.KeyUsages, ValidityMonths: p.ValidityMonths}
	if n := p.Names; len(n.DNSNames)+len(n.Emails)+len(n.UPNs)+len(n.URIs)+len(n.IPAddresses) > 0 {
		x.Names = &AlternativeNames{Emails: n.Emails, DNSNames: n.DNSNames, UPNs: n.UPNs, URIs: n.URIs, IPAddresses: n.IPAddresses}
	}
	if p.CA != nil {
		x.BasicConstraints = &BasicConstraints{CA: p.CA}
	}
	if x.Subject != "" || x.Names != nil || x.EKUs != nil || x.KeyUsages != nil || x.ValidityMonths != 0 || x.BasicConstraints != nil {
		w.X509 = &x
	}
	if p.Actions != nil {
		w.Actions = []CertificateAction{}
	}
	for _, a := range p.Actions {
		one := CertificateAction{Trigger: CertificateTrigger{LifetimePercentage: a.LifetimePercentage, DaysBeforeExpiry: a.DaysBeforeExpiry}}
		one.Action.Type = a.Type
		w.Actions = append(w.Actions, one)
	}
	if p.Issuer != "" || p.CertificateType != "" || p.Transparency != nil {
		w.Issuer = &IssuerParameters{Name: p.Issuer, Type: p.CertificateType, Transparency: p.Transparency}
	}
	if p.Enabled != nil || !p.Created.IsZero() || !p.Updated.IsZero() {
		w.Attributes = &Attributes{Enabled: p.Enabled, Created: NewUnixTime(p.Created), Updated: NewUnixTime(p.Updated)}
	}
	return w
}

// As returns p as the broker knows it.
func (p CertificatePolicy) As() broker.CertificatePolicy {
	var b broker.CertificatePolicy
	if k := p.Key; k != nil {
		b.Exportable, b.KeyType, b.KeySize, b.ReuseKey, b.Curve = k.Exportable, k.Type, k.Size, k.ReuseKey, k.Curve
		if k.Type.Software() == broker.KeyTypeEC {
			b.KeySize = 0
			for curve, size := range curveSizes {
				if k.Curve == "" && k.Size == size && curve != broker.CurveP256K {
					b.Curve = curve
				}
			}
		}
	}
	if p.Secret != nil {
		b.ContentType = p.Secret.ContentType
	}
	if x := p.X509; x != nil {
		b.Subject, b.EKUs, b.KeyUsages, b.ValidityMonths = x.Subject, x.EKUs, x.KeyUsages, x.ValidityMonths
		if n := x.Names; n != nil {
			b.Names = broker.AlternativeNames{DNSNames: n.DNSNames, Emails: n.Emails, UPNs: n.UPNs, URIs: n.URIs, IPAddresses: n.IPAddresses}
		}
		if x.BasicConstraints != nil {
			b.CA = x.BasicConstraints.CA
		}
	}
	if p.Actions != nil {
		b.Actions = []broker.CertificateAction{}
	}
	for _, a := range p.Actions {
		b.Actions = append(b.Actions, broker.CertificateAction{
			Type: a.Action.Type, LifetimePercentage: a.Trigger.LifetimePercentage, DaysBeforeExpiry: a.Trigger.DaysBeforeExpiry,
		})
	}
	if i := p.Issuer; i != nil {
		b.Issuer, b.CertificateType, b.Transparency = i.Name, i.Type, i.Transparency
	}
	if a := p.Attributes; a != nil {
		b.Enabled, b.Created, b.Updated = a.Enabled, a.Created.Time(), a.Updated.Time()
	}
	return b
}

// curveSizes are what Key Vault calls the size of an EC key, which goes without
// saying: the broker has it of RSA only.
var curveSizes = map[broker.Curve]int32{broker.CurveP256: 256, broker.CurveP384: 384, broker.CurveP521: 521, broker.CurveP256K: 256}

// orNil returns p as the broker knows it, or nil.
func (p *CertificatePolicy) orNil() *broker.CertificatePolicy {
	if p == nil {
		return nil
	}
	return new(p.As())
}

// fromPolicy returns what a client may say of p, or nil.
func fromPolicy(p *broker.CertificatePolicy) *CertificatePolicy {
	if p == nil {
		return nil
	}
	own := *p
	own.Created, own.Updated = time.Time{}, time.Time{} // the vault's to say
	return new(FromCertificatePolicy("", own))
}
