package keyvault

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // x5t is that: a name, not a proof
	"encoding/asn1"
	"errors"
	"net/url"
	"strings"

	"github.com/keyward/keyward/broker"
)

var (
	errOtherCertificate = errors.New("another certificate, or another version, than was asked for")
	errHalfCertificate  = errors.New("half a certificate, or one that is not of its x5t")
)

// certificateOf returns w, which must be a version of name, and the very one if
// name has a version. One that is being made has no DER. Whoever trusted half a
// certificate would find it out where it is used.
func (c *Client) certificateOf(name broker.Name, w CertificateBundle) (broker.Certificate, error) {
	n, err := c.versionOfKind(name, w.ID)
	if err != nil {
		return broker.Certificate{}, err
	}
	return c.wholeCertificate(n, w)
}

// deletedCertificateOf returns w, which must be the soft-deleted certificate of
// name. If it was deleted while its first version was being made, it has no DER.
func (c *Client) deletedCertificateOf(name broker.Name, w DeletedCertificateBundle) (broker.DeletedCertificate, error) {
	n, err := c.nameOf(name, broker.KindCertificates, w.ID)
	if err != nil {
		return broker.DeletedCertificate{}, err
	}
	if n.Base() != name.Base() {
		return broker.DeletedCertificate{}, errOtherCertificate
	}
	d, err := c.wholeCertificate(n, w.CertificateBundle)
	return w.asCertificate(d), err
}

// wholeCertificate returns w under the name n, which is that of its id.
func (c *Client) wholeCertificate(n broker.Name, w CertificateBundle) (broker.Certificate, error) {
	if len(w.DER) == 0 {
		if len(w.Thumbprint) > 0 || w.KeyID != "" || w.SecretID != "" || w.Pending == nil {
			return broker.Certificate{}, errHalfCertificate
		}
		return w.As(n, broker.Name{}, broker.Name{}), nil
	}
	if sum := sha1.Sum(w.DER); !bytes.Equal(sum[:], w.Thumbprint) || !oneDER(w.DER) { //nolint:gosec // as above
		return broker.Certificate{}, errHalfCertificate
	}
	key, err := c.partner(n, broker.KindKeys, w.KeyID)
	if err != nil {
		return broker.Certificate{}, err
	}
	secret, err := c.partner(n, broker.KindSecrets, w.SecretID)
	if err != nil {
		return broker.Certificate{}, err
	}
	if w.Policy != nil {
		if err := c.wholePolicyOf(n, *w.Policy); err != nil {
			return broker.Certificate{}, err
		}
	}
	return w.As(n, key, secret), nil
}

// partner returns the name of the key or the secret of the certificate n, none if
// it has none to show. One of another name would lead whoever may have this
// certificate to another secret.
func (c *Client) partner(n broker.Name, kind broker.Kind, id string) (broker.Name, error) {
	if id == "" {
		return broker.Name{}, nil
	}
	p, err := c.nameOf(n, kind, id)
	if err != nil {
		return broker.Name{}, err
	}
	if p.ObjectName() != n.ObjectName() || p.Version() == "" {
		return broker.Name{}, errors.New("the key or the secret of another certificate")
	}
	return p, nil
}

// wholePolicyOf reports whether p is the policy of name, and says something.
func (c *Client) wholePolicyOf(name broker.Name, p CertificatePolicy) error {
	if p.Issuer == nil || p.Key == nil || p.X509 == nil {
		return errors.New("a policy without its issuer, key or X.509 properties")
	}
	for _, a := range p.Actions {
		if a.Action.Type == "" || (a.Trigger.LifetimePercentage == 0) == (a.Trigger.DaysBeforeExpiry == 0) {
			return errors.New("an action of a policy without its type, or without one trigger")
		}
	}
	return c.isPart(name, p.ID, "policy")
}

// operationReply returns w, which must be the operation of name.
func (c *Client) operationReply(name broker.Name, w CertificateOperation) (broker.CertificateOperation, error) {
	if err := c.isPart(name, w.ID, "pending"); err != nil {
		return broker.CertificateOperation{}, err
	}
	status, known := operationStatuses[strings.ToLower(w.Status)]
	if !known {
		return broker.CertificateOperation{}, errors.New("an operation without a status that is known")
	}
	w.Status = status
	if len(w.CSR) > 0 && !oneDER(w.CSR) {
		return broker.CertificateOperation{}, errors.New("a certificate signing request that is none")
	}
	var target broker.Name
	if w.Target != "" {
		var err error
		if target, err = c.nameOf(name, broker.KindCertificates, w.Target); err != nil {
			return broker.CertificateOperation{}, err
		}
		if target.Base() != name.Base() {
			return broker.CertificateOperation{}, errOtherCertificate
		}
	}
	return w.As(name, target), nil
}

// operationStatuses are the statuses in the spellings that Key Vault has, or has
// been said to have.
var operationStatuses = map[string]string{
	"inprogress": broker.OperationInProgress, "completed": broker.OperationCompleted, "failed": broker.OperationFailed,
	"cancelled": broker.OperationCancelled, "canceled": broker.OperationCancelled,
}

// versionOfKind returns the name that an id stands for, which must be a version of
// name, and the very one if name has a version.
func (c *Client) versionOfKind(name broker.Name, id string) (broker.Name, error) {
	n, err := c.nameOf(name, name.Kind(), id)
	if err != nil {
		return broker.Name{}, err
	}
	if n.Base() != name.Base() || n.Version() == "" || (name.Version() != "" && n != name) {
		return broker.Name{}, errOtherCertificate
	}
	return n, nil
}

// isPart reports whether an id stands for what belongs to a certificate.
func (c *Client) isPart(name broker.Name, id, part string) error {
	u, err := c.ours(id)
	if err != nil {
		return err
	}
	if !strings.EqualFold(u.EscapedPath(), certificatePath(name)+"/"+part) {
		return errOtherCertificate
	}
	return nil
}

// nameOf returns the name that an id stands for. Like a kid, it is taken elsewhere,
// as what to trust: one of another host is an error.
func (c *Client) nameOf(vault broker.Name, kind broker.Kind, id string) (broker.Name, error) {
	u, err := c.ours(id)
	if err != nil {
		return broker.Name{}, err
	}
	return nameAt(vault.Vault(), kind, u)
}

// ours returns an id that is of this vault.
func (c *Client) ours(id string) (*url.URL, error) {
	u, err := url.Parse(id)
	switch {
	case err != nil:
		return nil, errBadID
	case u.Scheme != "https" || u.User != nil || !strings.EqualFold(u.Hostname(), c.origin.Hostname()):
		return nil, errors.New("the id is of another vault")
	}
	return u, nil
}

// oneDER reports whether b is one ASN.1 sequence and nothing else. What is in it
// is for whoever uses it: Go's own parser refuses some that others take, such as
// those with keys of P-256K.
func oneDER(b []byte) bool {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(b, &v)
	return err == nil && len(rest) == 0 && v.Class == asn1.ClassUniversal && v.Tag == asn1.TagSequence && v.IsCompound
}

// wholeThumbprint reports whether an item's x5t can be one. One that is being made
// has none.
func wholeThumbprint(x5t []byte) error {
	if len(x5t) != 0 && len(x5t) != sha1.Size {
		return errHalfCertificate
	}
	return nil
}
