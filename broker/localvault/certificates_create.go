package localvault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// operation is the making of a version, as it is stored. Each certificate has one,
// the latest.
type operation struct {
	// Version is the one that it makes, unless another comes before it is done.
	Version       version           `json:"version"`
	RequestID     string            `json:"requestId"`
	Issuer        string            `json:"issuer"`
	Type          string            `json:"type,omitempty"`
	CSR           []byte            `json:"csr"`
	Cancel        bool              `json:"cancel,omitempty"`
	Completed     bool              `json:"completed,omitempty"`
	Tags          map[string]string `json:"tags,omitempty"`
	Enabled       bool              `json:"enabled"`
	PreserveOrder bool              `json:"preserveOrder,omitempty"`
	// Shape is of the key that waits for its certificate.
	Shape shape `json:"shape"`
	// Kept: that key stays in the vault, whatever the policy says by the time of
	// the merge.
	Kept bool `json:"kept,omitempty"`
}

// What an operation says of itself while it goes on.
const (
	detailsSelf    = "The certificate is being made; ask again."
	detailsUnknown = "Have the certificate signing request signed, then merge the certificate."
)

var errInProgress = &broker.Error{Code: broker.CodeOperationInProgress}

// CreateCertificate implements broker.CertificateStore. What the vault signs itself
// is on the disk when the call returns, although the answer, as Key Vault's, is of
// an operation that goes on: the next look at it finds it done.
func (s certificates) CreateCertificate(ctx context.Context, name broker.Name, c broker.NewCertificate) (broker.CertificateOperation, error) {
	n := newOperation{tags: c.Tags, enabled: c.Enabled, preserveOrder: c.PreserveOrder != nil && *c.PreserveOrder}
	if c.Policy != nil {
		var err error
		if n.policy, err = newCertificatePolicy(*c.Policy); err != nil {
			return broker.CertificateOperation{}, err
		}
	}
	op, err := s.make(ctx, name, n, func(*head, metadata) error { return nil })
	if err != nil {
		return broker.CertificateOperation{}, err
	}
	s.v.rotator.wake()
	op.Completed = false
	return op.operation(name), nil
}

// newOperation is what an operation is to make.
type newOperation struct {
	policy        *certificatePolicy // nil for the one that is there
	tags          map[string]string
	enabled       bool
	preserveOrder bool
}

// draft is what is made of an operation while no transaction runs.
type draft struct {
	policy *certificatePolicy
	shape  shape
	key    privateKey
	// latest is the version whose key was taken over.
	latest version
	reused bool
}

var errOvertaken = errors.New("the certificate has another version by now")

// make begins an operation, and ends it if the vault signs itself, if may says so.
func (s certificates) make(ctx context.Context, name broker.Name, n newOperation, may func(*head, metadata) error) (operation, error) {
	for {
		d, err := s.draft(ctx, name, n, may)
		if err != nil {
			return operation{}, err
		}
		op, err := s.begin(ctx, name, n, d, may)
		d.key.clear()
		if !errors.Is(err, errOvertaken) {
			return op, err
		}
	}
}

// draft returns the policy and a key of it. Other writers do not wait for the key.
func (s certificates) draft(ctx context.Context, name broker.Name, n newOperation, may func(*head, metadata) error) (d draft, err error) {
	var private []byte
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		if err := s.claimable(ctx, tx, name); err != nil {
			return err
		}
		h, err := s.head(ctx, tx, name)
		if err != nil {
			return err
		}
		if h != nil && h.state.Deleted != 0 { // and past its retention
			h = nil
		}
		if err := s.permit(ctx, tx, h, name, may); err != nil {
			return err
		}
		if d.policy = n.policy; d.policy == nil {
			if h == nil {
				return badField("policy", "a new certificate needs a policy, with a subject or alternative names")
			}
			d.policy = h.state.Policy
		}
		if err := d.policy.makeable(); err != nil {
			return err
		}
		if d.shape, err = d.policy.shape(); err != nil {
			return err
		}
		if h == nil || !h.state.made() || !*d.policy.ReuseKey {
			return nil
		}
		d.latest = h.state.Latest
		if *d.policy.Exportable {
			// What was promised to stay in the vault does not leave it in a later
			// version.
			if left, err := s.exported(ctx, tx, name, d.latest); err != nil || !left {
				return err
			}
		}
		private, d.reused, err = s.keyOf(ctx, tx, name, d.latest, d.shape)
		return err
	})
	defer clear(private)
	switch {
	case err != nil:
	case d.reused:
		d.key, err = parsePrivate(d.shape, private)
	default:
		d.key, err = generate(d.shape)
	}
	return d, err
}

// keyOf returns the private key of a version, if it is of the shape.
func (s certificates) keyOf(ctx context.Context, tx *bbolt.Tx, name broker.Name, ver version, sh shape) ([]byte, bool, error) {
	h, err := objects{s.v, keyShelf}.live(ctx, tx, name.As(broker.KindKeys))
	if err != nil {
		return nil, false, err
	}
	m, err := h.metadata(tx, ver)
	if err != nil || m.Key == nil {
		return nil, false, s.damaged(ctx, name, errors.Join(err, errMaterial))
	}
	if m.Key.shape != sh {
		return nil, false, nil
	}
	private, err := h.value(tx, ver)
	if err != nil {
		return nil, false, s.damaged(ctx, name, err)
	}
	return private, true, nil
}

// exported reports whether the secret of a version has its private key.
func (s certificates) exported(ctx context.Context, tx *bbolt.Tx, name broker.Name, ver version) (bool, error) {
	h, err := objects{s.v, secretShelf}.live(ctx, tx, name.As(broker.KindSecrets))
	if err != nil {
		return false, err
	}
	m, err := h.metadata(tx, ver)
	if err != nil {
		return false, s.damaged(ctx, name, err)
	}
	value, err := h.value(tx, ver)
	if err != nil {
		return false, s.damaged(ctx, name, err)
	}
	defer clear(value)
	material, err := broker.ParseCertificateMaterial(m.ContentType, broker.NewValue(string(value)), broker.Value{})
	if err != nil {
		return false, s.damaged(ctx, name, err)
	}
	return material.Key.Len() > 0, nil
}

// permit refuses an operation while another goes on, and what may refuses.
func (s certificates) permit(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name, may func(*head, metadata) error) error {
	if h == nil {
		return nil
	}
	if h.state.Operation.inProgress() {
		return errInProgress
	}
	if !h.state.made() {
		return nil
	}
	m, err := s.latestMetadata(ctx, tx, h, name)
	if err != nil {
		return err
	}
	return may(h, m)
}

// makeable refuses to make what the policy may say, and no certificate can be.
func (c *certificatePolicy) makeable() error {
	if err := c.checkIssuer(); err != nil {
		return err
	}
	n := c.Names
	if c.Subject == "" && len(n.DNSNames)+len(n.Emails)+len(n.UPNs)+len(n.URIs)+len(n.IPAddresses) == 0 {
		return badField("policy.subject", "a certificate needs a subject, or alternative names")
	}
	return nil
}

// begin writes the operation: the version, where the vault signs itself, or the key
// that waits for one.
func (s certificates) begin(ctx context.Context, name broker.Name, n newOperation, d draft, may func(*head, metadata) error) (op operation, err error) {
	csr, err := d.policy.request(d.key)
	if err != nil {
		return operation{}, err
	}
	var made newVersion
	if d.policy.selfIssued() {
		der, err := d.policy.selfSigned(d.key, time.Now())
		if err != nil {
			return operation{}, err
		}
		if made, err = newVersionOf([][]byte{der}, d.key, d.shape); err != nil {
			return operation{}, err
		}
		made.tags, made.enabled, made.preserveOrder = n.tags, n.enabled, n.preserveOrder
	}
	overtaken := false
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.claim(ctx, tx, name)
		if err != nil {
			return err
		}
		if err := s.permit(ctx, tx, h, name, may); err != nil {
			return err
		}
		if h == nil {
			if n.policy == nil {
				return s.notFound()
			}
			h = s.v.newHead(s.shelf, name.ObjectName())
		}
		if overtaken = d.reused && h.state.Latest != d.latest; overtaken {
			return nil
		}
		if n.policy != nil {
			n.policy.stamp(h.state.Policy)
			h.state.Policy = n.policy
		}
		op = operation{
			Version: nextVersion(h.state.Latest, time.Now()), RequestID: newRequestID(),
			Issuer: d.policy.Issuer, Type: d.policy.CertificateType, CSR: csr,
			Tags: maps.Clone(n.tags), Enabled: n.enabled, PreserveOrder: n.preserveOrder, Shape: d.shape, Kept: !*d.policy.Exportable,
		}
		if op.Completed = d.policy.selfIssued(); op.Completed {
			h.state.Operation, made.promised = &op, op.Version
			_, err := s.putCertificate(ctx, tx, h, name, made)
			return err
		}
		return s.suspend(tx, h, op, d.key)
	})
	switch {
	case err != nil:
		return operation{}, err
	case overtaken:
		return operation{}, errOvertaken
	}
	return op, nil
}

// suspend keeps the key until its certificate is merged. That of an operation
// before is gone.
func (s certificates) suspend(tx *bbolt.Tx, h *head, op operation, key privateKey) error {
	private, err := key.bytes()
	if err != nil {
		return err
	}
	defer clear(private)
	sealed := h.key.seal(s.shelf.place(purposePending, h.name, op.Version), private)
	h.state.Operation = &op
	return errors.Join(h.put(tx), tx.Bucket(s.shelf.pending).Put(h.row(op.Version), sealed))
}

func newRequestID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	return hex.EncodeToString(id)
}

func (o *operation) inProgress() bool { return o != nil && !o.Completed }
