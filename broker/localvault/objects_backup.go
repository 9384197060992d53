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
func (s *shelf) backupPrefix() string { return "keyward " + s.noun + " backup 1\n" }

// backup is an object with all its versions.
type backup struct {
	Name     string          `json:"name"`
	Versions []backupVersion `json:"versions"` // oldest first
	Rotation *rotationPolicy `json:"rotation,omitempty"`
	// Policy and Pair are of certificates: the pair is the key and the secret.
	Policy *certificatePolicy `json:"policy,omitempty"`
	Pair   []backup           `json:"pair,omitempty"`
}

type backupVersion struct {
	Version version `json:"version"`
	metadata
	Value []byte `json:"value"`
}

// backup returns the named object as a blob.
func (s objects) backup(ctx context.Context, name broker.Name) (blob broker.Value, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.own(ctx, tx, name)
		if err != nil {
			return err
		}
		blob, err = s.sealBackup(ctx, tx, name, h)
		return err
	})
	if err != nil {
		return broker.Value{}, err
	}
	return blob, nil
}

// sealBackup returns an object as a blob, with the pair that goes with it.
func (s objects) sealBackup(ctx context.Context, tx *bbolt.Tx, name broker.Name, h *head, pair ...*head) (broker.Value, error) {
	b, err := h.backup(tx)
	defer func() { b.clear() }()
	for i := 0; i < len(pair) && err == nil; i++ {
		var one backup
		one, err = pair[i].backup(tx)
		b.Pair = append(b.Pair, one)
	}
	switch {
	case errors.Is(err, errTooLarge):
		return broker.Value{}, s.backupTooLarge()
	case err != nil:
		return broker.Value{}, s.damaged(ctx, name, err)
	}
	plain, err := json.Marshal(b)
	if err != nil {
		return broker.Value{}, err
	}
	defer clear(plain)
	sealed := s.v.backups.seal(s.shelf.place(purposeBackup, "", version{}), plain)
	if len(s.shelf.backupPrefix())+len(sealed) > broker.MaxBackupLen {
		return broker.Value{}, s.backupTooLarge()
	}
	return broker.NewValue(s.shelf.backupPrefix() + string(sealed)), nil
}

// restore brings back what backup returned, and calls done with its head and name
// before the change is made. Versions keep their ids and times.
func (s objects) restore(ctx context.Context, vault broker.Name, blob broker.Value, done func(*bbolt.Tx, *head, broker.Name) error) error {
	b, name, err := s.namedBackup(vault, blob)
	if err != nil {
		return err
	}
	defer b.clear()
	return s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.claim(ctx, tx, name)
		switch {
		case err != nil:
			return err
		case h != nil:
			return &broker.Error{Code: s.shelf.exists}
		}
		h = s.v.newHead(s.shelf, b.Name)
		if err := h.restore(tx, b); err != nil {
			return err
		}
		return done(tx, h, name)
	})
}

// namedBackup opens a blob of the shelf's kind.
func (s objects) namedBackup(vault broker.Name, blob broker.Value) (backup, broker.Name, error) {
	if blob.Len() > broker.MaxBackupLen {
		return backup{}, broker.Name{}, &broker.Error{Code: broker.CodeValueTooLarge, Field: "blob"}
	}
	b, err := s.v.openBackup(s.shelf, blob)
	if err != nil {
		return backup{}, broker.Name{}, badBlob(err)
	}
	name, err := vault.Object(s.shelf.kind, b.Name)
	if err != nil {
		return backup{}, broker.Name{}, badBlob(err)
	}
	return b, name, nil
}

// restore writes all versions into a new head.
func (h *head) restore(tx *bbolt.Tx, b backup) error {
	h.state.Rotation, h.state.Policy = b.Rotation, b.Policy
	for _, v := range b.Versions {
		if err := h.putVersion(tx, v.Version, v.metadata, v.Value); err != nil {
			return err
		}
	}
	return nil
}

// openBackup opens a blob of any vault under the same master key.
func (v *Vault) openBackup(s *shelf, blob broker.Value) (backup, error) {
	text, ok := strings.CutPrefix(blob.Reveal(), s.backupPrefix())
	if !ok {
		return backup{}, errors.New("the blob does not begin as a backup does")
	}
	plain, err := v.backups.open(s.place(purposeBackup, "", version{}), []byte(text))
	if err != nil {
		return backup{}, err
	}
	defer clear(plain)
	var b backup
	err = json.Unmarshal(plain, &b)
	return b, err
}

// backup reads all versions of an object. It stops with errTooLarge once they
// cannot fit into a blob.
func (h *head) backup(tx *bbolt.Tx) (backup, error) {
	b := backup{Name: h.name, Rotation: h.state.Rotation, Policy: h.state.Policy}
	prefix := rowPrefix(h.name)
	metas, values := tx.Bucket(h.shelf.metadata).Cursor(), tx.Bucket(h.shelf.values).Cursor()
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
	for _, one := range b.Pair {
		one.clear()
	}
}

var errTooLarge = errors.New("too large for a blob")

func (s objects) backupTooLarge() error {
	return &broker.Error{
		Code: broker.CodeValueTooLarge, Field: "name",
		Message: "the versions of this " + s.shelf.noun + " do not fit into a backup of 1 MiB",
	}
}

func badBlob(cause error) error {
	return &broker.Error{
		Code: broker.CodeBadField, Field: "blob", Err: cause,
		Message: "this is no backup of a vault with this master key, or it was changed",
	}
}
