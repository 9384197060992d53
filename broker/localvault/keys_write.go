package localvault

import (
	"context"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// CreateKey implements broker.KeyStore. A type, size, curve or operation that the
// vault does not have is CodeBadField.
func (s keys) CreateKey(ctx context.Context, name broker.Name, n broker.NewKey) (broker.Key, error) {
	sh, err := s.shape(n)
	if err != nil {
		return broker.Key{}, err
	}
	ops, err := opsOf(sh.Type, n.Ops)
	if err != nil {
		return broker.Key{}, err
	}
	// Nobody waits for a key that cannot be kept, and other writers do not wait
	// for one that can.
	if err := s.v.view(ctx, func(tx *bbolt.Tx) error { return s.claimable(ctx, tx, name) }); err != nil {
		return broker.Key{}, err
	}
	k, err := generate(sh)
	if err != nil {
		return broker.Key{}, err
	}
	defer k.clear()
	return s.add(ctx, name, n, sh, ops, k)
}

// ImportKey implements broker.KeyStore. What is no whole and sound key is
// CodeBadField of "jwk". Type, size and curve are the key's own.
func (s keys) ImportKey(ctx context.Context, name broker.Name, i broker.KeyImport) (broker.Key, error) {
	text := []byte(i.Material.Reveal())
	defer clear(text)
	members, err := parseJWK(text)
	if err != nil {
		return broker.Key{}, badJWK(err)
	}
	defer members.clear()
	k, sh, err := members.private()
	if err != nil {
		return broker.Key{}, badJWK(err)
	}
	defer k.clear()
	if sh.Type, err = s.typeOf(sh.Type, i.HSM); err != nil {
		return broker.Key{}, err
	}
	ops := i.Ops
	if len(ops) == 0 {
		if ops, err = members.ops(); err != nil {
			return broker.Key{}, badJWK(err)
		}
	}
	if ops, err = opsOf(sh.Type, ops); err != nil {
		return broker.Key{}, err
	}
	return s.add(ctx, name, i.NewKey, sh, ops, k)
}

func badJWK(cause error) error {
	return &broker.Error{
		Code: broker.CodeBadField, Field: "jwk",
		Message: "the key cannot be imported: " + cause.Error() + "; see RFC 7518 section 6",
	}
}

// add makes a version of a key.
func (s keys) add(ctx context.Context, name broker.Name, n broker.NewKey, sh shape, ops []broker.KeyOp, k privateKey) (added broker.Key, err error) {
	m := metadata{Tags: n.Tags, Enabled: n.Enabled, NotBefore: unixOf(n.NotBefore), Expires: unixOf(n.Expires)}
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.claim(ctx, tx, name)
		if err != nil {
			return err
		}
		if h == nil {
			h = s.v.newHead(s.shelf, name.ObjectName())
		}
		added, err = s.putKey(tx, h, name, m, sh, ops, k)
		return err
	})
	if err != nil {
		return broker.Key{}, err
	}
	s.v.rotator.wake()
	return added, nil
}

// putKey writes a new version, with its times and what is known of its key.
func (s keys) putKey(tx *bbolt.Tx, h *head, name broker.Name, m metadata, sh shape, ops []broker.KeyOp, k privateKey) (broker.Key, error) {
	public, err := k.public(sh.Type)
	if err != nil {
		return broker.Key{}, err
	}
	private, err := k.bytes()
	if err != nil {
		return broker.Key{}, err
	}
	defer clear(private)
	ver := nextVersion(h.state.Latest, time.Now())
	m.Created = ver.created().Unix()
	m.Updated = m.Created
	m.Key = &keyMetadata{shape: sh, N: public.N, E: public.E, X: public.X, Y: public.Y, Ops: ops}
	if err := h.putVersion(tx, ver, m, private); err != nil {
		return broker.Key{}, err
	}
	return s.key(name, ver, m)
}

// UpdateKey implements broker.KeyStore.
func (s keys) UpdateKey(ctx context.Context, name broker.Name, u broker.KeyUpdate) (updated broker.Key, err error) {
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.own(ctx, tx, name)
		if err != nil {
			return err
		}
		ver, m, err := s.version(ctx, tx, h, name)
		if err != nil {
			return err
		}
		if m.Key == nil {
			return s.damaged(ctx, name, errMaterial)
		}
		if u.Ops != nil {
			if m.Key.Ops, err = checkOps(m.Key.Type, *u.Ops); err != nil {
				return err
			}
		}
		m.apply(broker.SecretUpdate{Tags: u.Tags, Enabled: u.Enabled, NotBefore: u.NotBefore, Expires: u.Expires})
		// The clock may have gone back, what the caller is told does not.
		m.Updated = max(m.Updated, time.Now().Unix())
		if err := h.putMetadata(tx, ver, m); err != nil {
			return err
		}
		updated, err = s.key(name, ver, m)
		return err
	})
	if err != nil {
		return broker.Key{}, err
	}
	s.v.rotator.wake()
	return updated, nil
}

// shape returns what a new key is like, with the vault's defaults.
func (s keys) shape(n broker.NewKey) (shape, error) {
	t, err := s.typeOf(n.Type, false)
	if err != nil {
		return shape{}, err
	}
	sh := shape{Type: t, Curve: n.Curve, Bits: int(n.Size)}
	switch t.Software() {
	case broker.KeyTypeEC:
		if sh.Curve == "" {
			sh.Curve = broker.CurveP256
		}
		// The size of a curve may be named beside it, and says nothing.
		sh.Bits = 0
		if sh.Curve.Size() == 0 {
			return shape{}, badField("crv", "choose one of P-256, P-384, P-521 and P-256K")
		}
		return sh, nil
	case broker.KeyTypeRSA:
		if sh.Bits == 0 {
			sh.Bits = 2048
		}
		if !slices.Contains(rsaBits, sh.Bits) {
			return shape{}, badField("key_size", "an RSA key has 2048, 3072 or 4096 bits")
		}
	default:
		if sh.Bits == 0 {
			sh.Bits = 256
		}
		if !slices.Contains([]int{128, 192, 256}, sh.Bits) {
			return shape{}, badField("key_size", "a symmetric key has 128, 192 or 256 bits")
		}
	}
	if sh.Curve != "" {
		return shape{}, badField("crv", "only keys of type EC have a curve")
	}
	return sh, nil
}

// typeOf returns the type under which the vault keeps a key. Nothing here is in
// hardware, whatever the type says: a key that names an HSM can be tried out, as
// in Azure, and is as safe as the vault's file.
func (s keys) typeOf(t broker.KeyType, hsm bool) (broker.KeyType, error) {
	const suffix = "-HSM"
	switch t.Software() {
	case broker.KeyTypeOct:
		if !s.v.hsm {
			return "", badField("kty", "only a Managed HSM has symmetric keys; choose RSA or EC, or run the local vault as a Managed HSM")
		}
	case broker.KeyTypeRSA, broker.KeyTypeEC:
	default:
		return "", badField("kty", "choose one of RSA, RSA-HSM, EC, EC-HSM, oct and oct-HSM")
	}
	if hsm || s.v.hsm || t != t.Software() {
		return t.Software() + suffix, nil
	}
	return t, nil
}

// opsOf returns the operations of a new key of the type.
func opsOf(t broker.KeyType, ops []broker.KeyOp) ([]broker.KeyOp, error) {
	if len(ops) == 0 {
		return t.Ops(), nil
	}
	return checkOps(t, ops)
}

// checkOps refuses operations that a key of the type cannot do. import and export
// are of vaults that take wrapped keys and release them, which this one does not.
func checkOps(t broker.KeyType, ops []broker.KeyOp) ([]broker.KeyOp, error) {
	all := t.Ops()
	kept := make([]broker.KeyOp, 0, len(ops))
	for _, op := range ops {
		if !slices.Contains(all, op) {
			return nil, badField("key_ops", "a key of type "+string(t)+" here does not "+string(op))
		}
		if !slices.Contains(kept, op) {
			kept = append(kept, op)
		}
	}
	return kept, nil
}

func badField(field, message string) error {
	return &broker.Error{Code: broker.CodeBadField, Field: field, Message: message}
}
