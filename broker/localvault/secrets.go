package localvault

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// secrets is the vault's broker.SecretStore. Names in its answers are in the
// vault that was asked for: a vault does not know its alias.
type secrets struct{ objects }

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
		value, err := h.value(tx, ver)
		if err != nil {
			return s.damaged(ctx, name, err)
		}
		defer clear(value)
		got.Value = broker.NewValue(string(value))
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
		return s.eachVersion(ctx, tx, h, name, func(ver version, m metadata) error {
			one, err := s.secret(name, ver, m)
			all = append(all, one)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(all)
	return all, nil
}

// latest describes the latest version of a secret to the caller.
func (s secrets) latest(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name) (broker.Secret, error) {
	m, err := s.latestMetadata(ctx, tx, h, name)
	if err != nil {
		return broker.Secret{}, err
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
		Managed:         m.managed,
	}, nil
}
