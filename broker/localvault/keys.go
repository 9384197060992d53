package localvault

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// keys is the vault's broker.KeyStore. Names in its answers are in the vault that
// was asked for, as those of secrets.
type keys struct{ objects }

var _ broker.KeyStore = keys{}

// keyMetadata is what a version of a key has beside what all versions have: all
// that may be known of it. Its value is the private key.
type keyMetadata struct {
	shape
	N   []byte         `json:"n,omitempty"`
	E   []byte         `json:"e,omitempty"`
	X   []byte         `json:"x,omitempty"`
	Y   []byte         `json:"y,omitempty"`
	Ops []broker.KeyOp `json:"ops"`
}

func (k *keyMetadata) jwk() broker.JWK {
	return broker.JWK{Type: k.Type, Curve: k.Curve, N: k.N, E: k.E, X: k.X, Y: k.Y}
}

// GetKey implements broker.KeyStore. A disabled key can be looked at.
func (s keys) GetKey(ctx context.Context, name broker.Name) (got broker.Key, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		ver, m, err := s.version(ctx, tx, h, name)
		if err != nil {
			return err
		}
		got, err = s.key(name, ver, m)
		return err
	})
	if err != nil {
		return broker.Key{}, err
	}
	return got, nil
}

// ListKeys implements broker.KeyStore, as ListSecrets does.
func (s keys) ListKeys(ctx context.Context, vault broker.Name, p broker.Page) (page broker.KeyPage, err error) {
	page.Next, err = s.walk(ctx, vault, p, func(tx *bbolt.Tx, name broker.Name) bool {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return false
		}
		k, err := s.latest(ctx, tx, h, name)
		if err != nil {
			return false
		}
		k.Name = name
		page.Keys = append(page.Keys, item(k))
		return true
	})
	if err != nil {
		return broker.KeyPage{}, err
	}
	return page, nil
}

// ListKeyVersions implements broker.KeyStore. A damaged version is left out, and
// logged.
func (s keys) ListKeyVersions(ctx context.Context, name broker.Name) (all []broker.Key, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		return s.eachVersion(ctx, tx, h, name, func(ver version, m metadata) error {
			k, err := s.key(name, ver, m)
			all = append(all, item(k))
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(all)
	return all, nil
}

// item leaves out what lists do not have.
func item(k broker.Key) broker.Key {
	k.JWK, k.Ops = broker.JWK{}, nil
	return k
}

// latest describes the latest version of a key to the caller.
func (s keys) latest(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name) (broker.Key, error) {
	m, err := s.latestMetadata(ctx, tx, h, name)
	if err != nil {
		return broker.Key{}, err
	}
	return s.key(name, h.state.Latest, m)
}

// key describes a version to the caller.
func (s keys) key(name broker.Name, ver version, m metadata) (broker.Key, error) {
	name, err := name.WithVersion(ver.String())
	if err != nil {
		return broker.Key{}, err
	}
	if m.Key == nil {
		return broker.Key{}, errMaterial
	}
	return broker.Key{
		Name:            name,
		JWK:             m.Key.jwk(),
		Ops:             slices.Clone(m.Key.Ops),
		Tags:            maps.Clone(m.Tags),
		Enabled:         m.Enabled,
		NotBefore:       timeOf(m.NotBefore),
		Expires:         timeOf(m.Expires),
		Created:         time.Unix(m.Created, 0).UTC(),
		Updated:         time.Unix(m.Updated, 0).UTC(),
		RecoveryLevel:   s.v.recoveryLevel(),
		RecoverableDays: s.v.retention,
		Managed:         m.managed,
	}, nil
}
