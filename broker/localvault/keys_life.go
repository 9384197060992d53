package localvault

import (
	"context"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// DeleteKey implements broker.KeyStore.
func (s keys) DeleteKey(ctx context.Context, name broker.Name) (deleted broker.DeletedKey, err error) {
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.softDelete(ctx, tx, name)
		if err != nil {
			return err
		}
		deleted, err = s.deletedKey(ctx, tx, h, name)
		return err
	})
	if err != nil {
		return broker.DeletedKey{}, err
	}
	return deleted, nil
}

// GetDeletedKey implements broker.KeyStore.
func (s keys) GetDeletedKey(ctx context.Context, name broker.Name) (deleted broker.DeletedKey, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.softDeleted(ctx, tx, name)
		if err != nil {
			return err
		}
		deleted, err = s.deletedKey(ctx, tx, h, name)
		return err
	})
	if err != nil {
		return broker.DeletedKey{}, err
	}
	return deleted, nil
}

// ListDeletedKeys implements broker.KeyStore, as ListKeys does.
func (s keys) ListDeletedKeys(ctx context.Context, vault broker.Name, p broker.Page) (page broker.DeletedKeyPage, err error) {
	page.Next, err = s.walk(ctx, vault, p, func(tx *bbolt.Tx, name broker.Name) bool {
		h, err := s.softDeleted(ctx, tx, name)
		if err != nil || h.state.Managed {
			return false
		}
		k, err := s.deletedKey(ctx, tx, h, name)
		if err != nil {
			return false
		}
		k.Key = item(k.Key)
		page.Keys = append(page.Keys, k)
		return true
	})
	if err != nil {
		return broker.DeletedKeyPage{}, err
	}
	return page, nil
}

// RecoverKey implements broker.KeyStore.
func (s keys) RecoverKey(ctx context.Context, name broker.Name) (recovered broker.Key, err error) {
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.undelete(ctx, tx, name)
		if err != nil {
			return err
		}
		recovered, err = s.latest(ctx, tx, h, name)
		return err
	})
	if err != nil {
		return broker.Key{}, err
	}
	s.v.rotator.wake()
	return recovered, nil
}

// PurgeKey implements broker.KeyStore.
func (s keys) PurgeKey(ctx context.Context, name broker.Name) error { return s.purge(ctx, name) }

// BackupKey implements broker.KeyStore. A key of which a record is damaged has no
// backup. The rotation policy is in it.
func (s keys) BackupKey(ctx context.Context, name broker.Name) (broker.Value, error) {
	return s.backup(ctx, name)
}

// RestoreKey implements broker.KeyStore. Versions keep their ids and times.
func (s keys) RestoreKey(ctx context.Context, vault broker.Name, blob broker.Value) (restored broker.Key, err error) {
	err = s.restore(ctx, vault, blob, func(tx *bbolt.Tx, h *head, name broker.Name) error {
		restored, err = s.latest(ctx, tx, h, name)
		return err
	})
	if err != nil {
		return broker.Key{}, err
	}
	s.v.rotator.wake()
	return restored, nil
}

// deletedKey describes a deleted key to the caller.
func (s keys) deletedKey(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name) (broker.DeletedKey, error) {
	latest, err := s.latest(ctx, tx, h, name)
	if err != nil {
		return broker.DeletedKey{}, err
	}
	latest.Name = name.Base()
	return broker.DeletedKey{
		Key:     latest,
		Deleted: time.Unix(h.state.Deleted, 0).UTC(),
		Purges:  time.Unix(h.state.Purges, 0).UTC(),
	}, nil
}
