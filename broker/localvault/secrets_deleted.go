package localvault

import (
	"context"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// GetDeletedSecret implements broker.SecretStore.
func (s secrets) GetDeletedSecret(ctx context.Context, name broker.Name) (deleted broker.DeletedSecret, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.softDeleted(ctx, tx, name)
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

// ListDeletedSecrets implements broker.SecretStore, as ListSecrets does.
func (s secrets) ListDeletedSecrets(ctx context.Context, vault broker.Name, p broker.Page) (page broker.DeletedSecretPage, err error) {
	page.Next, err = s.walk(ctx, vault, p, func(tx *bbolt.Tx, name broker.Name) bool {
		h, err := s.softDeleted(ctx, tx, name)
		if err != nil || h.state.Managed {
			return false
		}
		item, err := s.deletedSecret(ctx, tx, h, name)
		if err != nil {
			return false
		}
		page.Secrets = append(page.Secrets, item)
		return true
	})
	if err != nil {
		return broker.DeletedSecretPage{}, err
	}
	return page, nil
}

// RecoverSecret implements broker.SecretStore.
func (s secrets) RecoverSecret(ctx context.Context, name broker.Name) (recovered broker.Secret, err error) {
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.undelete(ctx, tx, name)
		if err != nil {
			return err
		}
		recovered, err = s.latest(ctx, tx, h, name)
		return err
	})
	if err != nil {
		return broker.Secret{}, err
	}
	return recovered, nil
}

// PurgeSecret implements broker.SecretStore.
func (s secrets) PurgeSecret(ctx context.Context, name broker.Name) error { return s.purge(ctx, name) }

// deletedSecret describes a deleted secret to the caller.
func (s secrets) deletedSecret(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name) (broker.DeletedSecret, error) {
	latest, err := s.latest(ctx, tx, h, name)
	if err != nil {
		return broker.DeletedSecret{}, err
	}
	latest.Name = name.Base()
	return broker.DeletedSecret{
		Secret:  latest,
		Deleted: time.Unix(h.state.Deleted, 0).UTC(),
		Purges:  time.Unix(h.state.Purges, 0).UTC(),
	}, nil
}
