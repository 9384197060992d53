package localvault

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// Each version of a certificate has a key and a secret of the same name and
// version. Both lie on their own shelves, marked as managed: they are read and used
// there, and change only with their certificate, in one transaction.

// errManaged refuses to change what is a certificate's.
var errManaged = &broker.Error{Code: broker.CodeCertificateManaged}

// own returns the head of the named object to change: it must be there, not be
// deleted, and not be a certificate's.
func (s objects) own(ctx context.Context, tx *bbolt.Tx, name broker.Name) (*head, error) {
	h, err := s.live(ctx, tx, name)
	if err == nil && h.state.Managed {
		return nil, errManaged
	}
	return h, err
}

// unreserved fails where a key or secret of the name would stand in a certificate's
// way: one that is being made has neither yet.
func (s objects) unreserved(ctx context.Context, tx *bbolt.Tx, name broker.Name) error {
	if s.shelf == certificateShelf {
		return nil
	}
	h, err := objects{s.v, certificateShelf}.head(ctx, tx, name.As(broker.KindCertificates))
	if err != nil || h != nil {
		return errManaged // a damaged certificate keeps its name, too
	}
	return nil
}

// pair returns the heads of a certificate's key and secret. Before its first
// version there are none.
func (s certificates) pair(ctx context.Context, tx *bbolt.Tx, certificate *head, name broker.Name) ([]*head, error) {
	if !certificate.state.made() {
		return nil, nil
	}
	var pair []*head
	for _, shelf := range []*shelf{keyShelf, secretShelf} {
		one := objects{s.v, shelf}
		h, err := one.head(ctx, tx, name.As(shelf.kind))
		switch {
		case err != nil:
			return nil, err
		case h == nil:
			return nil, s.damaged(ctx, name, errNoRow)
		case !h.state.Managed:
			return nil, s.damaged(ctx, name, errUnmanaged)
		}
		pair = append(pair, h)
	}
	return pair, nil
}

// free fails if a key or secret that is no certificate's has the name. Deleted ones
// that are past their retention do not count, and are removed with remove.
func (s certificates) free(ctx context.Context, tx *bbolt.Tx, name broker.Name, remove bool) error {
	for _, shelf := range []*shelf{keyShelf, secretShelf} {
		one := objects{s.v, shelf}
		h, err := one.head(ctx, tx, name.As(shelf.kind))
		switch {
		case err != nil:
			return err
		case h == nil:
		case h.state.expired(time.Now()):
			if !remove {
				continue
			}
			if err := h.remove(tx); err != nil {
				return err
			}
		case h.state.Deleted != 0:
			return &broker.Error{
				Code:    broker.CodeCertificateExists,
				Message: "a deleted " + shelf.noun + " of this name is no certificate's; purge it, or choose another name",
			}
		default:
			return &broker.Error{
				Code:    broker.CodeCertificateExists,
				Message: "a " + shelf.noun + " of this name is no certificate's; choose another name",
			}
		}
	}
	return nil
}

var errUnmanaged = errors.New("the certificate's key or secret is not marked as its own")
