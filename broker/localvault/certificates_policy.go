package localvault

import (
	"context"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// certificatePolicy is a broker.CertificatePolicy as it is stored: whole, with what
// its giver left to the vault.
type certificatePolicy broker.CertificatePolicy

// Key Vault's bounds and defaults of a policy.
const (
	defaultValidity   = 12 // months
	maxValidity       = 1200
	daysOfMonth       = 27 // the days of a validity among which an action may be
	defaultPercentage = 80
	oidServerAuth     = "1.3.6.1.5.5.7.3.1"
	oidClientAuth     = "1.3.6.1.5.5.7.3.2"
)

// newCertificatePolicy returns a policy with Key Vault's defaults for what p leaves
// open.
func newCertificatePolicy(p broker.CertificatePolicy) (*certificatePolicy, error) {
	whole := &certificatePolicy{
		Issuer: broker.IssuerUnknown,
		EKUs:   []string{oidServerAuth, oidClientAuth}, KeyUsages: []string{"digitalSignature", "keyEncipherment"},
		ValidityMonths: defaultValidity, CA: new(false),
		KeyType: broker.KeyTypeRSA, Exportable: new(true), ReuseKey: new(false),
		ContentType: broker.ContentTypePKCS12, Enabled: new(true),
	}
	if p.KeyType != p.KeyType.Software() {
		whole.Exportable = new(false)
	}
	whole.apply(p)
	if p.Actions == nil {
		action := broker.ActionTypeEmailContacts
		if whole.selfIssued() {
			action = broker.ActionTypeAutoRenew
		}
		whole.Actions = []broker.CertificateAction{{Type: action, LifetimePercentage: defaultPercentage}}
	}
	return whole, whole.check()
}

// apply changes what p gives.
func (c *certificatePolicy) apply(p broker.CertificatePolicy) {
	given(&c.Issuer, p.Issuer)
	given(&c.CertificateType, p.CertificateType)
	given(&c.Transparency, p.Transparency)
	given(&c.Subject, p.Subject)
	given(&c.ValidityMonths, p.ValidityMonths)
	given(&c.CA, p.CA)
	if p.KeyType != "" && p.KeyType != c.KeyType {
		c.KeySize, c.Curve = 0, "" // they were the other type's
	}
	given(&c.KeyType, p.KeyType)
	given(&c.KeySize, p.KeySize)
	given(&c.Curve, p.Curve)
	given(&c.Exportable, p.Exportable)
	given(&c.ReuseKey, p.ReuseKey)
	given(&c.ContentType, p.ContentType)
	given(&c.Enabled, p.Enabled)
	givenList(&c.EKUs, p.EKUs)
	givenList(&c.KeyUsages, p.KeyUsages)
	givenList(&c.Actions, p.Actions)
	givenList(&c.Names.DNSNames, p.Names.DNSNames)
	givenList(&c.Names.Emails, p.Names.Emails)
	givenList(&c.Names.UPNs, p.Names.UPNs)
	givenList(&c.Names.URIs, p.Names.URIs)
	givenList(&c.Names.IPAddresses, p.Names.IPAddresses)
	switch c.KeyType.Software() {
	case broker.KeyTypeRSA:
		if c.KeySize == 0 {
			c.KeySize = 2048
		}
	case broker.KeyTypeEC:
		if c.Curve == "" {
			c.Curve = broker.CurveP256
		}
	}
}

func given[T comparable](into *T, value T) {
	var none T
	if value != none {
		*into = value
	}
}

func givenList[T any](into *[]T, values []T) {
	if values != nil {
		*into = slices.Clone(values)
	}
}

func (c *certificatePolicy) selfIssued() bool { return strings.EqualFold(c.Issuer, broker.IssuerSelf) }

// check refuses what Key Vault would not keep, and spells the rest as it does.
func (c *certificatePolicy) check() error {
	if c.ValidityMonths < 1 || c.ValidityMonths > maxValidity {
		return badField("policy.validity_months", "a certificate is valid for 1 to 1200 months")
	}
	if c.ContentType != broker.ContentTypePKCS12 && c.ContentType != broker.ContentTypePEM {
		return badField("policy.content_type", "choose application/x-pkcs12 or application/x-pem-file")
	}
	if _, err := parseSubject(c.Subject); err != nil {
		return badSubject(err)
	}
	if err := c.checkKey(); err != nil {
		return err
	}
	for i, usage := range c.KeyUsages {
		known := slices.IndexFunc(keyUsages, func(u keyUsage) bool { return strings.EqualFold(u.name, usage) })
		if known < 0 {
			return badField("policy.key_usages", "choose from digitalSignature, nonRepudiation, keyEncipherment, dataEncipherment, "+
				"keyAgreement, keyCertSign, cRLSign, encipherOnly and decipherOnly")
		}
		c.KeyUsages[i] = keyUsages[known].name
	}
	if _, err := c.extensions(); err != nil {
		return err
	}
	return c.checkActions()
}

func (c *certificatePolicy) checkKey() error {
	switch c.KeyType {
	case broker.KeyTypeRSA, broker.KeyTypeRSAHSM:
		if !slices.Contains(rsaBits, int(c.KeySize)) {
			return badField("policy.key_size", "an RSA key has 2048, 3072 or 4096 bits")
		}
		if c.Curve != "" {
			return badField("policy.crv", "only keys of type EC have a curve")
		}
	case broker.KeyTypeEC, broker.KeyTypeECHSM:
		if c.Curve.Size() == 0 {
			return badField("policy.crv", "choose one of P-256, P-384 and P-521")
		}
	default:
		return badField("policy.kty", "choose one of RSA, RSA-HSM, EC and EC-HSM")
	}
	if c.KeyType != c.KeyType.Software() && *c.Exportable {
		return badField("policy.exportable", "a key of type "+string(c.KeyType)+" is not exportable")
	}
	return nil
}

// checkActions holds the actions against Key Vault's bounds.
func (c *certificatePolicy) checkActions() error {
	seen := make(map[string]bool)
	for i, a := range c.Actions {
		for _, t := range []string{broker.ActionTypeAutoRenew, broker.ActionTypeEmailContacts} {
			if strings.EqualFold(a.Type, t) {
				c.Actions[i].Type = t
			}
		}
		t := c.Actions[i].Type
		if (t != broker.ActionTypeAutoRenew && t != broker.ActionTypeEmailContacts) || seen[t] {
			return badField("policy.lifetime_actions", "name AutoRenew and EmailContacts, each at most once")
		}
		seen[t] = true
		if (a.LifetimePercentage == 0) == (a.DaysBeforeExpiry == 0) {
			return badField("policy.lifetime_actions", "an action has one time, lifetime_percentage or days_before_expiry")
		}
		if a.LifetimePercentage < 0 || a.LifetimePercentage > 99 {
			return badField("policy.lifetime_actions", "lifetime_percentage is 1 to 99")
		}
		if a.DaysBeforeExpiry < 0 || a.DaysBeforeExpiry > daysOfMonth*c.ValidityMonths {
			return badField("policy.lifetime_actions", "days_before_expiry is 1 to 27 for each month of validity_months")
		}
	}
	return nil
}

// shape returns which key a certificate of the policy has, if one can be made here.
func (c *certificatePolicy) shape() (shape, error) {
	s := shape{Type: c.KeyType}
	if c.KeyType.Software() == broker.KeyTypeRSA {
		s.Bits = int(c.KeySize)
		return s, nil
	}
	if s.Curve = c.Curve; s.Curve.Elliptic() == nil {
		return s, badField("policy.crv", "the local vault makes no certificates of P-256K; choose one of P-256, P-384 and P-521")
	}
	return s, nil
}

// due returns when a certificate whose latest version is m is renewed, and whether
// it ever is. A disabled one is left alone, and so is one that others sign.
func (c *certificatePolicy) due(m metadata) (time.Time, bool) {
	if c == nil || !c.selfIssued() || !m.Enabled || m.NotBefore == nil || m.Expires == nil {
		return time.Time{}, false
	}
	if _, err := c.shape(); err != nil {
		return time.Time{}, false
	}
	for _, a := range c.Actions {
		switch {
		case a.Type != broker.ActionTypeAutoRenew:
		case a.DaysBeforeExpiry != 0:
			return timeOf(m.Expires).AddDate(0, 0, -int(a.DaysBeforeExpiry)), true
		default:
			life := *m.Expires - *m.NotBefore
			return time.Unix(*m.NotBefore+life*int64(a.LifetimePercentage)/100, 0), true
		}
	}
	return time.Time{}, false
}

// policy returns the policy to the caller, who may change it.
func (c *certificatePolicy) policy() *broker.CertificatePolicy {
	if c == nil {
		return nil
	}
	p := broker.CertificatePolicy(*c)
	p.Actions, p.EKUs, p.KeyUsages = slices.Clone(p.Actions), slices.Clone(p.EKUs), slices.Clone(p.KeyUsages)
	return &p
}

// stamp sets when the policy was changed, and made, unless old was there before.
func (c *certificatePolicy) stamp(old *certificatePolicy) {
	c.Updated = time.Now().UTC().Truncate(time.Second)
	c.Created = c.Updated
	if old != nil {
		c.Created = old.Created
		if c.Updated.Before(old.Updated) {
			c.Updated = old.Updated
		}
	}
}

// GetCertificatePolicy implements broker.CertificateStore.
func (s certificates) GetCertificatePolicy(ctx context.Context, name broker.Name) (p broker.CertificatePolicy, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		p = *h.state.Policy.policy()
		return nil
	})
	return p, err
}

// UpdateCertificatePolicy implements broker.CertificateStore. Versions that are
// there stay as they are.
func (s certificates) UpdateCertificatePolicy(ctx context.Context, name broker.Name, p broker.CertificatePolicy) (updated broker.CertificatePolicy, err error) {
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		next := certificatePolicy(*h.state.Policy.policy())
		next.apply(p)
		if err := next.check(); err != nil {
			return err
		}
		if err := next.checkIssuer(); err != nil {
			return err
		}
		next.stamp(h.state.Policy)
		h.state.Policy = &next
		updated = *next.policy()
		return h.put(tx)
	})
	if err != nil {
		return broker.CertificatePolicy{}, err
	}
	s.v.rotator.wake()
	return updated, nil
}

// checkIssuer refuses issuers that the vault does not have: all but the two that
// every vault has.
func (c *certificatePolicy) checkIssuer() error {
	if c.selfIssued() || strings.EqualFold(c.Issuer, broker.IssuerUnknown) {
		return nil
	}
	return &broker.Error{
		Code: broker.CodeIssuerNotFound, Field: "policy.issuer_name",
		Message: "the local vault knows no certificate authority; choose Self or Unknown",
	}
}
