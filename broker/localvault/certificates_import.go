package localvault

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// ImportCertificate implements broker.CertificateStore. The policy is made of the
// certificate, with what the caller's says of the key, the secret and the issuer.
func (s certificates) ImportCertificate(ctx context.Context, name broker.Name, i broker.CertificateImport) (imported broker.Certificate, err error) {
	material, err := broker.ParseCertificateMaterial(i.ContentType, i.Material, i.Password)
	if err != nil {
		return broker.Certificate{}, badMaterial(err)
	}
	key, sh, err := privateKeyOf(material)
	if err != nil {
		return broker.Certificate{}, badMaterial(err)
	}
	defer key.clear()
	preserve := i.PreserveOrder != nil && *i.PreserveOrder
	if !preserve {
		material = material.Ordered()
	}
	n, err := newVersionOf(material.Chain, key, sh)
	if err != nil {
		return broker.Certificate{}, badMaterial(err)
	}
	if !time.Now().Before(n.leaf.NotAfter) {
		return broker.Certificate{}, badMaterial(errors.New("the certificate has expired"))
	}
	n.tags, n.enabled, n.preserveOrder = i.Tags, i.Enabled, preserve
	policy, err := importedPolicy(n.leaf, sh, i)
	if err != nil {
		return broker.Certificate{}, err
	}
	// The shelf's type may say more than the key does.
	n.shape.Type = policy.KeyType
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.claim(ctx, tx, name)
		if err != nil {
			return err
		}
		if h == nil {
			h = s.v.newHead(s.shelf, name.ObjectName())
		}
		policy.stamp(h.state.Policy)
		h.state.Policy = policy
		imported, err = s.putCertificate(ctx, tx, h, name, n)
		return err
	})
	if err != nil {
		return broker.Certificate{}, err
	}
	s.v.rotator.wake()
	return imported, nil
}

func badMaterial(cause error) error {
	return &broker.Error{
		Code: broker.CodeBadField, Field: "value",
		Message: "the certificate cannot be imported: " + cause.Error(),
	}
}

// privateKeyOf returns the key of what is imported, if the vault has such.
func privateKeyOf(m broker.CertificateMaterial) (privateKey, shape, error) {
	pkcs8 := []byte(m.Key.Reveal())
	defer clear(pkcs8)
	if len(pkcs8) == 0 {
		return privateKey{}, shape{}, errors.New("its private key is missing")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return privateKey{}, shape{}, errors.New("its private key is no PKCS #8") // the library could quote it
	}
	switch k := parsed.(type) {
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); slices.Contains(rsaBits, bits) {
			return privateKey{rsa: k}, shape{Type: broker.KeyTypeRSA, Bits: bits}, nil
		}
		return privateKey{}, shape{}, errors.New("an RSA key has 2048, 3072 or 4096 bits")
	case *ecdsa.PrivateKey:
		curve := broker.Curve(k.Curve.Params().Name)
		if curve.Elliptic() != nil {
			return privateKey{ec: k}, shape{Type: broker.KeyTypeEC, Curve: curve}, nil
		}
	}
	return privateKey{}, shape{}, errors.New("its key is neither RSA nor of P-256, P-384 or P-521")
}

// importedPolicy returns the policy of an imported certificate, as Key Vault derives
// it.
func importedPolicy(leaf *x509.Certificate, sh shape, i broker.CertificateImport) (*certificatePolicy, error) {
	p := broker.CertificatePolicy{
		Issuer:  broker.IssuerUnknown,
		Subject: formatSubject(leaf.RawSubject), Names: alternativeNames(leaf),
		EKUs: make([]string, 0), KeyUsages: make([]string, 0),
		ValidityMonths: int32(min(max(monthsBetween(leaf.NotBefore, leaf.NotAfter), 1), maxValidity)),
		CA:             new(leaf.BasicConstraintsValid && leaf.IsCA),
		KeyType:        sh.Type, KeySize: int32(sh.Bits), Curve: sh.Curve, //nolint:gosec // it fits
		ContentType: i.ContentType,
	}
	if p.ContentType == "" {
		p.ContentType = broker.ContentTypePKCS12
		if strings.Contains(i.Material.Reveal(), "-----BEGIN ") {
			p.ContentType = broker.ContentTypePEM
		}
	}
	for _, e := range leaf.Extensions {
		if e.Id.Equal(oidExtendedKeyUsage) {
			p.EKUs = extendedKeyUsages(e.Value)
		}
	}
	for _, u := range keyUsages {
		if leaf.KeyUsage&u.bit != 0 {
			p.KeyUsages = append(p.KeyUsages, u.name)
		}
	}
	if own := i.Policy; own != nil {
		if own.KeyType != "" {
			if own.KeyType.Software() != p.KeyType {
				return nil, badField("policy.kty", "the certificate's key is of another type; leave it out")
			}
			p.KeyType = own.KeyType
		}
		p.Exportable, p.ReuseKey, p.Actions, p.Enabled = own.Exportable, own.ReuseKey, own.Actions, own.Enabled
		given(&p.Issuer, own.Issuer)
		given(&p.CertificateType, own.CertificateType)
		given(&p.Transparency, own.Transparency)
		given(&p.ContentType, own.ContentType)
	}
	if p.Actions == nil {
		p.Actions = []broker.CertificateAction{{Type: broker.ActionTypeEmailContacts, LifetimePercentage: defaultPercentage}}
	}
	policy, err := newCertificatePolicy(p)
	if err != nil {
		return nil, err
	}
	return policy, policy.checkIssuer()
}

// MergeCertificate implements broker.CertificateStore.
func (s certificates) MergeCertificate(ctx context.Context, name broker.Name, m broker.CertificateMerge) (merged broker.Certificate, err error) {
	if err := checkChain(m.Chain); err != nil {
		return broker.Certificate{}, badChain(err)
	}
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.ofOperation(ctx, tx, name)
		if err != nil {
			return err
		}
		op := h.state.Operation
		if !op.inProgress() {
			return &broker.Error{Code: broker.CodeOperationNotFound, Message: "the operation is done; create the certificate anew"}
		}
		key, err := s.pendingKey(tx, h, op)
		if err != nil {
			return s.damaged(ctx, name, err)
		}
		defer key.clear()
		chain := m.Chain
		if !op.PreserveOrder {
			chain = broker.CertificateMaterial{Chain: chain}.Ordered().Chain
		}
		n, err := newVersionOf(chain, key, op.Shape)
		if err != nil {
			return badChain(err)
		}
		if !key.matches(n.leaf) {
			return badChain(errors.New("the first certificate is not of the key of the signing request"))
		}
		n.tags, n.enabled, n.preserveOrder, n.kept, n.promised = m.Tags, m.Enabled, op.PreserveOrder, op.Kept, op.Version
		if n.tags == nil {
			n.tags = maps.Clone(op.Tags)
		}
		if err := tx.Bucket(s.shelf.pending).Delete(h.row(op.Version)); err != nil {
			return err
		}
		op.Completed = true
		merged, err = s.putCertificate(ctx, tx, h, name, n)
		return err
	})
	if err != nil {
		return broker.Certificate{}, err
	}
	s.v.rotator.wake()
	return merged, nil
}

func badChain(cause error) error {
	return badField("x509_certificates", "the certificates cannot be merged: "+cause.Error())
}

func checkChain(chain [][]byte) error {
	if len(chain) == 0 || len(chain) > broker.MaxChain {
		return errors.New("want 1 to 10 certificates, the signed one first")
	}
	size := 0
	for _, der := range chain {
		if size += len(der); size > broker.MaxCertificateMaterial {
			return errors.New("they are longer than 64 KiB")
		}
		if _, err := x509.ParseCertificate(der); err != nil {
			return errors.New("one is no X.509 certificate in DER")
		}
	}
	return nil
}

// pendingKey returns the key that waits for its certificate.
func (s certificates) pendingKey(tx *bbolt.Tx, h *head, op *operation) (privateKey, error) {
	sealed := tx.Bucket(s.shelf.pending).Get(h.row(op.Version))
	if sealed == nil {
		return privateKey{}, errNoRow
	}
	private, err := h.key.open(s.shelf.place(purposePending, h.name, op.Version), sealed)
	if err != nil {
		return privateKey{}, err
	}
	defer clear(private)
	return parsePrivate(op.Shape, private)
}

// matches reports whether a certificate is of the key.
func (k privateKey) matches(c *x509.Certificate) bool {
	switch {
	case k.rsa != nil:
		return k.rsa.PublicKey.Equal(c.PublicKey)
	case k.ec != nil:
		return k.ec.PublicKey.Equal(c.PublicKey)
	}
	return false
}
