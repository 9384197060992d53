package localvault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// backupPrefix begins a blob, and says how to read what follows: a backup as
// JSON, sealed under the backup key. That key is derived from the master key, so
// that a vault which has the same one can restore the blob, and no other.
const backupPrefix = "keyward secret backup 1\n"

// backup is a secret with all its versions.
type backup struct {
	Name     string          `json:"name"`
	Versions []backupVersion `json:"versions"` // oldest first
}

type backupVersion struct {
	Version version `json:"version"`
	metadata
	Value []byte `json:"value"`
}

// BackupSecret implements broker.SecretStore. A secret of which a record is
// damaged has no backup: one without that record would pass for a whole one.
func (s secrets) BackupSecret(ctx context.Context, name broker.Name) (blob broker.Value, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		b, err := h.backup(tx)
		defer b.clear()
		switch {
		case errors.Is(err, errTooLarge):
			return backupTooLarge()
		case err != nil:
			return s.damaged(ctx, name, err)
		}
		plain, err := json.Marshal(b)
		if err != nil {
			return err
		}
		defer clear(plain)
		sealed := s.v.backups.seal(place{purpose: purposeBackup}, plain)
		if len(backupPrefix)+len(sealed) > broker.MaxBackupLen {
			return backupTooLarge()
		}
		blob = broker.NewValue(backupPrefix + string(sealed))
		return nil
	})
	if err != nil {
		return broker.Value{}, err
	}
	return blob, nil
}

// RestoreSecret implements broker.SecretStore. Versions keep their ids and times.
func (s secrets) RestoreSecret(ctx context.Context, vault broker.Name, blob broker.Value) (restored broker.Secret, err error) {
	if blob.Len() > broker.MaxBackupLen {
		return broker.Secret{}, &broker.Error{Code: broker.CodeValueTooLarge, Field: "blob"}
	}
	b, err := s.v.openBackup(blob)
	if err != nil {
		return broker.Secret{}, badBlob(err)
	}
	defer b.clear()
	name, err := vault.Object(broker.KindSecrets, b.Name)
	if err != nil {
		return broker.Secret{}, badBlob(err)
	}
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.claim(ctx, tx, name)
		switch {
		case err != nil:
			return err
		case h != nil:
			return &broker.Error{Code: broker.CodeSecretExists}
		}
		h = s.v.newHead(b.Name)
		for _, v := range b.Versions {
			if err := h.putVersion(tx, v.Version, v.metadata, broker.NewValue(string(v.Value))); err != nil {
				return err
			}
		}
		restored, err = s.latest(ctx, tx, h, name)
		return err
	})
	if err != nil {
		return broker.Secret{}, err
	}
	return restored, nil
}

// openBackup opens a blob of any vault under the same master key.
func (v *Vault) openBackup(blob broker.Value) (backup, error) {
	text, ok := strings.CutPrefix(blob.Reveal(), backupPrefix)
	if !ok {
		return backup{}, errors.New("the blob does not begin as a backup does")
	}
	plain, err := v.backups.open(place{purpose: purposeBackup}, []byte(text))
	if err != nil {
		return backup{}, err
	}
	defer clear(plain)
	var b backup
	err = json.Unmarshal(plain, &b)
	return b, err
}

// backup reads all versions of a secret. It stops with errTooLarge once they
// cannot fit into a blob.
func (h *head) backup(tx *bbolt.Tx) (backup, error) {
	b := backup{Name: h.name}
	prefix := rowPrefix(h.name)
	metas, values := tx.Bucket(bucketMetadata).Cursor(), tx.Bucket(bucketValues).Cursor()
	k, sealedMeta := metas.Seek(prefix)
	_, sealedValue := values.Seek(prefix)
	size := 0
	var last version
	for bytes.HasPrefix(k, prefix) {
		copy(last[:], k[len(prefix):])
		m, err := h.openMetadata(last, sealedMeta)
		if err != nil {
			return b, err
		}
		// If a row is missing on either side, this is another version's value and
		// does not open.
		value, err := h.openValue(last, sealedValue)
		if err != nil {
			return b, err
		}
		b.Versions = append(b.Versions, backupVersion{last, m, value})
		// The JSON is longer than what is counted here.
		if size += len(sealedMeta) + len(value); size > broker.MaxBackupLen {
			return b, errTooLarge
		}
		k, sealedMeta = metas.Next()
		_, sealedValue = values.Next()
	}
	if last != h.state.Latest {
		return b, errNoRow
	}
	return b, nil
}

// clear overwrites the values.
func (b backup) clear() {
	for _, v := range b.Versions {
		clear(v.Value)
	}
}

var errTooLarge = errors.New("too large for a blob")

func backupTooLarge() error {
	return &broker.Error{
		Code: broker.CodeValueTooLarge, Field: "name",
		Message: "the versions of this secret do not fit into a backup of 1 MiB",
	}
}

func badBlob(cause error) error {
	return &broker.Error{
		Code: broker.CodeBadField, Field: "blob", Err: cause,
		Message: "this is no backup of a vault with this master key, or it was changed",
	}
}
