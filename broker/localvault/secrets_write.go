package localvault

import (
	"context"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// SetSecret implements broker.SecretStore. A value that is too large is
// CodeValueTooLarge.
func (s secrets) SetSecret(ctx context.Context, name broker.Name, n broker.NewSecret) (set broker.Secret, err error) {
	if n.Value.Len() > broker.MaxValueLen {
		return broker.Secret{}, &broker.Error{Code: broker.CodeValueTooLarge, Field: "value"}
	}
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.claim(ctx, tx, name)
		if err != nil {
			return err
		}
		if h == nil {
			h = s.v.newHead(s.shelf, name.ObjectName())
		}
		ver := nextVersion(h.state.Latest, time.Now())
		created := ver.created().Unix()
		m := metadata{
			ContentType: n.ContentType,
			Tags:        n.Tags,
			Enabled:     n.Enabled,
			NotBefore:   unixOf(n.NotBefore),
			Expires:     unixOf(n.Expires),
			Created:     created,
			Updated:     created,
		}
		value := []byte(n.Value.Reveal())
		defer clear(value)
		if err := h.putVersion(tx, ver, m, value); err != nil {
			return err
		}
		set, err = s.secret(name, ver, m)
		return err
	})
	if err != nil {
		return broker.Secret{}, err
	}
	return set, nil
}

// UpdateSecret implements broker.SecretStore.
func (s secrets) UpdateSecret(ctx context.Context, name broker.Name, u broker.SecretUpdate) (updated broker.Secret, err error) {
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.own(ctx, tx, name)
		if err != nil {
			return err
		}
		ver, m, err := s.version(ctx, tx, h, name)
		if err != nil {
			return err
		}
		m.apply(u)
		// The clock may have gone back, what the caller is told does not.
		m.Updated = max(m.Updated, time.Now().Unix())
		if err := h.putMetadata(tx, ver, m); err != nil {
			return err
		}
		updated, err = s.secret(name, ver, m)
		return err
	})
	if err != nil {
		return broker.Secret{}, err
	}
	return updated, nil
}

// DeleteSecret implements broker.SecretStore.
func (s secrets) DeleteSecret(ctx context.Context, name broker.Name) (deleted broker.DeletedSecret, err error) {
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.softDelete(ctx, tx, name)
		if err != nil {
			return err
		}
		deleted, err = s.deletedSecret(ctx, tx, h, name)
		return err
	})
	if err != nil {
		return broker.DeletedSecret{}, err
	}
	return deleted, nil
}

// apply changes what u gives.
func (m *metadata) apply(u broker.SecretUpdate) {
	if u.ContentType != nil {
		m.ContentType = *u.ContentType
	}
	if u.Tags != nil {
		m.Tags = *u.Tags
	}
	if u.Enabled != nil {
		m.Enabled = *u.Enabled
	}
	if u.NotBefore != nil {
		m.NotBefore = unixOf(*u.NotBefore)
	}
	if u.Expires != nil {
		m.Expires = unixOf(*u.Expires)
	}
}
