package localvault

import (
	"context"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// BackupSecret implements broker.SecretStore. A secret of which a record is
// damaged has no backup: one without that record would pass for a whole one.
func (s secrets) BackupSecret(ctx context.Context, name broker.Name) (broker.Value, error) {
	return s.backup(ctx, name)
}

// RestoreSecret implements broker.SecretStore. Versions keep their ids and times.
func (s secrets) RestoreSecret(ctx context.Context, vault broker.Name, blob broker.Value) (restored broker.Secret, err error) {
	err = s.restore(ctx, vault, blob, func(tx *bbolt.Tx, h *head, name broker.Name) error {
		restored, err = s.latest(ctx, tx, h, name)
		return err
	})
	if err != nil {
		return broker.Secret{}, err
	}
	return restored, nil
}
