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
		ver, m, err := s.version(ctx, tx, h, name)
		if err != nil {
			return err
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

// ListSecrets implements broker.SecretStore. Secrets are in the order of their
// names; a page's token is the last name looked at. A damaged secret is left
// out, and logged.
func (s secrets) ListSecrets(ctx context.Context, vault broker.Name, p broker.Page) (page broker.SecretPage, err error) {
	page.Next, err = s.walk(ctx, vault, p, func(tx *bbolt.Tx, name broker.Name) bool {
		// A damaged secret was logged, a deleted one is not to be shown.
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return false
		}
		item, err := s.latest(ctx, tx, h, name)
		if err != nil {
			return false
		}
		item.Name = name
		page.Secrets = append(page.Secrets, item)
		return true
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

// walk calls take with the name of each secret from the page's beginning on, live
// or deleted, until it reported true as often as the page has room. It returns the
// token of the next page.
func (s secrets) walk(ctx context.Context, vault broker.Name, p broker.Page, take func(*bbolt.Tx, broker.Name) bool) (next string, err error) {
	size := p.Size
	if size <= 0 || size > broker.MaxStorePage {
		size = broker.MaxStorePage
	}
	if p.Token != "" {
		if n, err := vault.Object(broker.KindSecrets, p.Token); err != nil || n.ObjectName() != p.Token {
			return "", &broker.Error{Code: broker.CodeBadPageToken, Field: "page_token"}
		}
	}
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketSecrets).Cursor()
		k, _ := c.Seek([]byte(p.Token))
		if k != nil && string(k) == p.Token {
			k, _ = c.Next()
		}
		taken, last := 0, ""
		for ; k != nil; k, _ = c.Next() {
			if taken == size {
				next = last
				return nil
			}
			if err := ctx.Err(); err != nil {
				return broker.AsError(err)
			}
			name, err := vault.Object(broker.KindSecrets, string(k))
			if err != nil {
				return err
			}
			if take(tx, name) {
				taken++
			}
			last = name.ObjectName()
		}
		return nil
	})
	return next, err
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

// version returns the named version of a secret, or the latest.
func (s secrets) version(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name) (version, metadata, error) {
	ver := h.state.Latest
	if name.Version() != "" {
		var ok bool
		if ver, ok = parseVersion(name.Version()); !ok || tx.Bucket(bucketMetadata).Get(h.row(ver)) == nil {
			return version{}, metadata{}, notFound()
		}
	}
	m, err := h.metadata(tx, ver)
	if err != nil {
		return version{}, metadata{}, s.damaged(ctx, name, err)
	}
	return ver, m, nil
}

// latest describes the latest version of a secret to the caller.
func (s secrets) latest(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name) (broker.Secret, error) {
	m, err := h.metadata(tx, h.state.Latest)
	if err != nil {
		return broker.Secret{}, s.damaged(ctx, name, err)
	}
	return s.secret(name, h.state.Latest, m)
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
