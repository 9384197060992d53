package localvault

import (
	"context"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// HasOperation reports whether a certificate, soft-deleted or not, has an
// operation. It is for package vaulthttp: Key Vault's replies about one
// certificate lead to it.
func (s certificates) HasOperation(ctx context.Context, name broker.Name) (has bool, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.head(ctx, tx, name)
		switch {
		case err != nil:
			return err
		case h == nil:
			return s.notFound()
		}
		has = h.state.Operation != nil
		return nil
	})
	return has, err
}
