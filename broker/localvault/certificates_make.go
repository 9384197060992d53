package localvault

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // a thumbprint, x5t, which is a name and no proof
	"crypto/x509"
	"encoding/json"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// newVersion is what is to be kept of a version.
type newVersion struct {
	material      broker.CertificateMaterial // with the key
	leaf          *x509.Certificate
	key           privateKey
	shape         shape
	tags          map[string]string
	enabled       bool
	preserveOrder bool
	// kept: the key is not in the secret, even if the policy is for it.
	kept bool
	// promised is the version, unless another came before it.
	promised version
}

// claim returns the head to write to, or nil if the name is free: of certificates,
// and of keys and secrets.
func (s certificates) claim(ctx context.Context, tx *bbolt.Tx, name broker.Name) (*head, error) {
	h, err := s.objects.claim(ctx, tx, name)
	if err != nil || h != nil {
		return h, err
	}
	return nil, s.free(ctx, tx, name, true)
}

// claimable fails as claim would, and changes nothing.
func (s certificates) claimable(ctx context.Context, tx *bbolt.Tx, name broker.Name) error {
	if err := s.objects.claimable(ctx, tx, name); err != nil {
		return err
	}
	h, err := s.head(ctx, tx, name)
	if err != nil || h != nil {
		return err
	}
	return s.free(ctx, tx, name, false)
}

// putCertificate writes a version with its key and its secret. Whoever calls it has
// set the policy in the head.
func (s certificates) putCertificate(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name, n newVersion) (broker.Certificate, error) {
	ver := nextVersion(h.state.Latest, time.Now())
	if bytes.Compare(n.promised[:], h.state.Latest[:]) > 0 {
		ver = n.promised
	}
	policy := h.state.Policy
	thumbprint := sha1.Sum(n.leaf.Raw) //nolint:gosec // as above
	m := metadata{
		ContentType: policy.ContentType, Tags: n.tags, Enabled: n.enabled,
		NotBefore: unixOf(n.leaf.NotBefore), Expires: unixOf(n.leaf.NotAfter),
		Created: max(ver.created().Unix(), time.Now().Unix()),
	}
	m.Updated = m.Created
	if err := s.putKeyOf(ctx, tx, name, ver, m, n); err != nil {
		return broker.Certificate{}, err
	}
	if err := s.putSecretOf(ctx, tx, name, ver, m, n, *policy.Exportable && !n.kept); err != nil {
		return broker.Certificate{}, err
	}
	m.Certificate = &certificateMetadata{
		Thumbprint: thumbprint[:], Subject: formatSubject(n.leaf.RawSubject), PreserveOrder: n.preserveOrder,
	}
	chain, err := json.Marshal(n.material.Chain)
	if err != nil {
		return broker.Certificate{}, err
	}
	if err := h.putVersion(tx, ver, m, chain); err != nil {
		return broker.Certificate{}, err
	}
	return s.certificate(ctx, tx, h, name, ver, m)
}

// managedHead returns the head of a certificate's key or secret, made if there is
// none.
func (s certificates) managedHead(ctx context.Context, tx *bbolt.Tx, shelf *shelf, name broker.Name) (*head, error) {
	one := objects{s.v, shelf}
	h, err := one.head(ctx, tx, name.As(shelf.kind))
	switch {
	case err != nil:
		return nil, err
	case h == nil:
		h = s.v.newHead(shelf, name.ObjectName())
		h.state.Managed = true
	case !h.state.Managed:
		return nil, s.damaged(ctx, name, errUnmanaged)
	}
	return h, nil
}

func (s certificates) putKeyOf(ctx context.Context, tx *bbolt.Tx, name broker.Name, ver version, m metadata, n newVersion) error {
	h, err := s.managedHead(ctx, tx, keyShelf, name)
	if err != nil {
		return err
	}
	public, err := n.key.public(n.shape.Type)
	if err != nil {
		return err
	}
	private, err := n.key.bytes()
	if err != nil {
		return err
	}
	defer clear(private)
	m.ContentType = ""
	m.Key = &keyMetadata{
		shape: n.shape, N: public.N, E: public.E, X: public.X, Y: public.Y,
		Ops: opsOfUsage(n.shape.Type, n.leaf.KeyUsage),
	}
	return h.putVersion(tx, ver, m, private)
}

// putSecretOf writes the secret. A key that is not exportable is not in it.
func (s certificates) putSecretOf(ctx context.Context, tx *bbolt.Tx, name broker.Name, ver version, m metadata, n newVersion, exportable bool) error {
	h, err := s.managedHead(ctx, tx, secretShelf, name)
	if err != nil {
		return err
	}
	material := n.material
	if !exportable {
		material.Key = broker.Value{}
	}
	secret, err := material.Secret(m.ContentType)
	if err != nil {
		return err
	}
	value := []byte(secret.Reveal())
	defer clear(value)
	return h.putVersion(tx, ver, m, value)
}

// newVersionOf returns what is to be kept of a chain and its key.
func newVersionOf(chain [][]byte, key privateKey, sh shape) (newVersion, error) {
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return newVersion{}, err
	}
	pkcs8, err := key.pkcs8()
	if err != nil {
		return newVersion{}, err
	}
	defer clear(pkcs8)
	return newVersion{
		material: broker.CertificateMaterial{Chain: chain, Key: broker.NewValue(string(pkcs8))},
		leaf:     leaf, key: key, shape: sh,
	}, nil
}

// pkcs8 returns a key as certificates' formats have it.
func (k privateKey) pkcs8() ([]byte, error) {
	switch {
	case k.rsa != nil:
		return x509.MarshalPKCS8PrivateKey(k.rsa)
	case k.ec != nil:
		return x509.MarshalPKCS8PrivateKey(k.ec)
	}
	return nil, errors.New("no certificate has a key of this type")
}
