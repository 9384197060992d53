package localvault

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// claim returns the head of the named object to write to, or nil if the name is
// free. What is deleted and past its retention makes room.
func (s objects) claim(ctx context.Context, tx *bbolt.Tx, name broker.Name) (*head, error) {
	h, err := s.head(ctx, tx, name)
	switch {
	case err != nil:
		return nil, err
	case h == nil:
		return nil, s.unreserved(ctx, tx, name)
	case h.state.expired(time.Now()):
		return nil, h.remove(tx)
	case h.state.Deleted != 0:
		return nil, &broker.Error{Code: s.shelf.softDeleted}
	case h.state.Managed:
		return nil, errManaged
	}
	return h, nil
}

// softDelete deletes the named object, and returns its head.
func (s objects) softDelete(ctx context.Context, tx *bbolt.Tx, name broker.Name) (*head, error) {
	h, err := s.own(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC().Truncate(time.Second)
	h.state.Deleted, h.state.Purges = now.Unix(), now.AddDate(0, 0, int(s.v.retention)).Unix()
	return h, h.put(tx)
}

// undelete brings the named object back, and returns its head.
func (s objects) undelete(ctx context.Context, tx *bbolt.Tx, name broker.Name) (*head, error) {
	h, err := s.softDeleted(ctx, tx, name)
	switch {
	case err != nil:
		return nil, err
	case h.state.Managed:
		return nil, errManaged
	}
	h.state.Deleted, h.state.Purges = 0, 0
	return h, h.put(tx)
}

// purge removes the named object for good, if the vault allows it.
func (s objects) purge(ctx context.Context, name broker.Name) error {
	return s.v.update(ctx, func(tx *bbolt.Tx) error {
		h, err := s.softDeleted(ctx, tx, name)
		switch {
		case err != nil:
			return err
		case h.state.Managed:
			return errManaged
		case s.v.protected:
			return &broker.Error{Code: broker.CodeNotSupported, Err: errors.New("the vault has purge protection")}
		}
		return h.remove(tx)
	})
}

// DeletedVersion returns the latest version of a soft-deleted object, with the
// errors of a get of it.
func (s objects) DeletedVersion(ctx context.Context, name broker.Name) (ver string, err error) {
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		h, err := s.softDeleted(ctx, tx, name)
		if err != nil {
			return err
		}
		ver = h.state.Latest.String()
		return nil
	})
	return ver, err
}

// softDeleted returns the head of the named object, which must be deleted and
// within its retention.
func (s objects) softDeleted(ctx context.Context, tx *bbolt.Tx, name broker.Name) (*head, error) {
	h, err := s.head(ctx, tx, name)
	switch {
	case err != nil:
		return nil, err
	case h == nil, h.state.Deleted == 0, h.state.expired(time.Now()):
		return nil, s.notFound()
	}
	return h, nil
}

// claimable fails as claim would, and changes nothing.
func (s objects) claimable(ctx context.Context, tx *bbolt.Tx, name broker.Name) error {
	h, err := s.head(ctx, tx, name)
	switch {
	case err != nil:
		return err
	case h == nil:
		return s.unreserved(ctx, tx, name)
	case h.state.expired(time.Now()):
		return nil
	case h.state.Deleted != 0:
		return &broker.Error{Code: s.shelf.softDeleted}
	case h.state.Managed:
		return errManaged
	}
	return nil
}
