package localvault

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// secrets is the vault's broker.SecretStore. Names in its answers are in the
// vault that was asked for: a vault does not know its alias.
type secrets struct{ v *Vault }

var _ broker.SecretStore = secrets{}

// GetSecret implements broker.SecretStore.
func (s secrets) GetSecret(ctx context.Context, name broker.Name) (got broker.SecretValue, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		ver := h.state.Latest
		if name.Version() != "" {
			var ok bool
			if ver, ok = parseVersion(name.Version()); !ok || tx.Bucket(bucketMetadata).Get(h.row(ver)) == nil {
				return notFound()
			}
		}
		m, err := h.metadata(tx, ver)
		if err != nil {
			return s.damaged(ctx, name, err)
		}
		if !m.Enabled {
			return &broker.Error{Code: broker.CodeSecretDisabled}
		}
		if got.Secret, err = s.secret(name, ver, m); err != nil {
			return err
		}
		if got.Value, err = h.value(tx, ver); err != nil {
			return s.damaged(ctx, name, err)
		}
		got.Fetched = time.Now()
		return nil
	})
	if err != nil {
		return broker.SecretValue{}, err
	}
	return got, nil
}

// SetSecret implements broker.SecretStore. A value that is too large is
// CodeValueTooLarge.
func (s secrets) SetSecret(ctx context.Context, name broker.Name, n broker.NewSecret) (set broker.Secret, err error) {
	if n.Value.Len() > broker.MaxValueLen {
		return broker.Secret{}, &broker.Error{Code: broker.CodeValueTooLarge, Field: "value"}
	}
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		now := time.Now()
		h, err := s.head(ctx, tx, name)
		switch {
		case err != nil:
			return err
		case h != nil && h.state.expired(now):
			if err := remove(tx, h.name); err != nil {
				return err
			}
			h = nil
		case h != nil && h.state.Deleted != 0:
			return &broker.Error{Code: broker.CodeSecretSoftDeleted}
		}
		if h == nil {
			h = s.v.newHead(name.ObjectName())
		}
		ver := nextVersion(h.state.Latest, now)
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
		if err := h.putVersion(tx, ver, m, n.Value); err != nil {
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

// DeleteSecret implements broker.SecretStore.
func (s secrets) DeleteSecret(ctx context.Context, name broker.Name) (deleted broker.DeletedSecret, err error) {
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		m, err := h.metadata(tx, h.state.Latest)
		if err != nil {
			return s.damaged(ctx, name, err)
		}
		if deleted.Secret, err = s.secret(name, h.state.Latest, m); err != nil {
			return err
		}
		deleted.Name = name.Base()
		deleted.Deleted = time.Now().UTC().Truncate(time.Second)
		deleted.Purges = deleted.Deleted.AddDate(0, 0, int(s.v.retention))
		h.state.Deleted, h.state.Purges = deleted.Deleted.Unix(), deleted.Purges.Unix()
		return h.put(tx)
	})
	if err != nil {
		return broker.DeletedSecret{}, err
	}
	return deleted, nil
}

// ListSecrets implements broker.SecretStore. Secrets are in the order of their
// names; a page's token is the last name looked at. A damaged secret is left
// out, and logged.
func (s secrets) ListSecrets(ctx context.Context, vault broker.Name, p broker.Page) (page broker.SecretPage, err error) {
	size := p.Size
	if size <= 0 || size > broker.MaxStorePage {
		size = broker.MaxStorePage
	}
	if p.Token != "" {
		if n, err := vault.Object(broker.KindSecrets, p.Token); err != nil || n.ObjectName() != p.Token {
			return broker.SecretPage{}, &broker.Error{Code: broker.CodeBadPageToken, Field: "page_token"}
		}
	}
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketSecrets).Cursor()
		k, _ := c.Seek([]byte(p.Token))
		if k != nil && string(k) == p.Token {
			k, _ = c.Next()
		}
		for ; k != nil; k, _ = c.Next() {
			if len(page.Secrets) == size {
				page.Next = page.Secrets[size-1].Name.ObjectName()
				return nil
			}
			if err := ctx.Err(); err != nil {
				return broker.AsError(err)
			}
			name, err := vault.Object(broker.KindSecrets, string(k))
			if err != nil {
				return err
			}
			// A damaged secret was logged, a deleted one is not to be shown.
			h, err := s.live(ctx, tx, name)
			if err != nil {
				continue
			}
			m, err := h.metadata(tx, h.state.Latest)
			if err != nil {
				_ = s.damaged(ctx, name, err)
				continue
			}
			item, err := s.secret(name, h.state.Latest, m)
			if err != nil {
				return err
			}
			item.Name = name
			page.Secrets = append(page.Secrets, item)
		}
		return nil
	})
	if err != nil {
		return broker.SecretPage{}, err
	}
	return page, nil
}

// ListSecretVersions implements broker.SecretStore. A damaged version is left
// out, and logged.
func (s secrets) ListSecretVersions(ctx context.Context, name broker.Name) (all []broker.Secret, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		prefix := rowPrefix(h.name)
		c := tx.Bucket(bucketMetadata).Cursor()
		for k, sealed := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, sealed = c.Next() {
			var ver version
			copy(ver[:], k[len(prefix):])
			m, err := h.openMetadata(ver, sealed)
			if err != nil {
				_ = s.damaged(ctx, name, err)
				continue
			}
			one, err := s.secret(name, ver, m)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(all)
	return all, nil
}

// head returns the head of the named secret, deleted or not, or nil.
func (s secrets) head(ctx context.Context, tx *bbolt.Tx, name broker.Name) (*head, error) {
	stored := tx.Bucket(bucketSecrets).Get([]byte(name.ObjectName()))
	if stored == nil {
		return nil, nil
	}
	h, err := s.v.openHead(name.ObjectName(), stored)
	if err != nil {
		return nil, s.damaged(ctx, name, err)
	}
	return h, nil
}

// live returns the head of the named secret, which must be there and not be
// deleted.
func (s secrets) live(ctx context.Context, tx *bbolt.Tx, name broker.Name) (*head, error) {
	h, err := s.head(ctx, tx, name)
	switch {
	case err != nil:
		return nil, err
	case h == nil, h.state.Deleted != 0:
		return nil, notFound()
	}
	return h, nil
}

// secret describes a version to the caller.
func (s secrets) secret(name broker.Name, ver version, m metadata) (broker.Secret, error) {
	name, err := name.WithVersion(ver.String())
	if err != nil {
		return broker.Secret{}, err
	}
	return broker.Secret{
		Name:            name,
		ContentType:     m.ContentType,
		Tags:            maps.Clone(m.Tags),
		Enabled:         m.Enabled,
		NotBefore:       timeOf(m.NotBefore),
		Expires:         timeOf(m.Expires),
		Created:         time.Unix(m.Created, 0).UTC(),
		Updated:         time.Unix(m.Updated, 0).UTC(),
		RecoveryLevel:   s.v.recoveryLevel(),
		RecoverableDays: s.v.retention,
	}, nil
}

// damaged refuses one record. The others are still served.
func (s secrets) damaged(ctx context.Context, name broker.Name, cause error) error {
	s.v.log.ErrorContext(ctx, "a record of the local vault is damaged and refused; restore the file from a backup",
		"name", name.String(), "error", cause)
	return &broker.Error{Code: broker.CodeVaultUnavailable, Err: errors.Join(errDamaged, cause)}
}

func notFound() error { return &broker.Error{Code: broker.CodeSecretNotFound} }

// unixOf returns a time in Unix seconds, or nil for none.
func unixOf(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.Unix())
}

func timeOf(unix *int64) time.Time {
	if unix == nil {
		return time.Time{}
	}
	return time.Unix(*unix, 0).UTC()
}
