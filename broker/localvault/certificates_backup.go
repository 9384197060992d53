package localvault

import (
	"context"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// BackupCertificate implements broker.CertificateStore. Keys, secrets and the policy
// are in the blob, an operation is not.
func (s certificates) BackupCertificate(ctx context.Context, name broker.Name) (blob broker.Value, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.live(ctx, tx, name)
		if err != nil {
			return err
		}
		if !h.state.made() {
			return errInProgress
		}
		pair, err := s.pair(ctx, tx, h, name)
		if err != nil {
			return err
		}
		blob, err = s.sealBackup(ctx, tx, name, h, pair...)
		return err
	})
	if err != nil {
		return broker.Value{}, err
	}
	return blob, nil
}

// RestoreCertificate implements broker.CertificateStore. Versions keep their ids and
// times.
func (s certificates) RestoreCertificate(ctx context.Context, vault broker.Name, blob broker.Value) (restored broker.Certificate, err error) {
	b, name, err := s.namedBackup(vault, blob)
	if err != nil {
		return broker.Certificate{}, err
	}
	defer b.clear()
	if len(b.Pair) != 2 || b.Policy == nil {
		return broker.Certificate{}, badBlob(errNoCertificate)
	}
	err = s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.claim(ctx, tx, name)
		switch {
		case err != nil:
			return err
		case h != nil:
			return &broker.Error{Code: s.shelf.exists}
		}
		for i, shelf := range []*shelf{keyShelf, secretShelf} {
			one, err := s.managedHead(ctx, tx, shelf, name)
			if err != nil {
				return err
			}
			if err := one.restore(tx, b.Pair[i]); err != nil {
				return err
			}
		}
		h = s.v.newHead(s.shelf, b.Name)
		if err := h.restore(tx, b); err != nil {
			return err
		}
		restored, err = s.latest(ctx, tx, h, name)
		return err
	})
	if err != nil {
		return broker.Certificate{}, err
	}
	s.v.rotator.wake()
	return restored, nil
}
