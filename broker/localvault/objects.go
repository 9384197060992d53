package localvault

import (
	"bytes"
	"context"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// objects is what the vault's stores have in common: the life of what lies on one
// shelf, whatever it is.
type objects struct {
	v     *Vault
	shelf *shelf
}

// walk calls take with the name of each object from the page's beginning on, live
// or deleted, until it reported true as often as the page has room. It returns the
// token of the next page.
func (s objects) walk(ctx context.Context, vault broker.Name, p broker.Page, take func(*bbolt.Tx, broker.Name) bool) (next string, err error) {
	size := p.Size
	if size <= 0 || size > broker.MaxStorePage {
		size = broker.MaxStorePage
	}
	if p.Token != "" {
		if n, err := vault.Object(s.shelf.kind, p.Token); err != nil || n.ObjectName() != p.Token {
			return "", &broker.Error{Code: broker.CodeBadPageToken, Field: "page_token"}
		}
	}
	err = s.v.view(ctx, func(tx *bbolt.Tx) error {
		c := tx.Bucket(s.shelf.heads).Cursor()
		k, _ := c.Seek([]byte(p.Token))
		if k != nil && string(k) == p.Token {
			k, _ = c.Next()
		}
		taken, last := 0, ""
		for ; k != nil; k, _ = c.Next() {
			if taken == size {
				next = last
				return nil
			}
			if err := ctx.Err(); err != nil {
				return broker.AsError(err)
			}
			name, err := vault.Object(s.shelf.kind, string(k))
			if err != nil {
				return err
			}
			if take(tx, name) {
				taken++
			}
			last = name.ObjectName()
		}
		return nil
	})
	return next, err
}

// head returns the head of the named object, deleted or not, or nil.
func (s objects) head(ctx context.Context, tx *bbolt.Tx, name broker.Name) (*head, error) {
	stored := tx.Bucket(s.shelf.heads).Get([]byte(name.ObjectName()))
	if stored == nil {
		return nil, nil
	}
	h, err := s.v.openHead(s.shelf, name.ObjectName(), stored)
	if err != nil {
		return nil, s.damaged(ctx, name, err)
	}
	return h, nil
}

// live returns the head of the named object, which must be there and not be
// deleted.
func (s objects) live(ctx context.Context, tx *bbolt.Tx, name broker.Name) (*head, error) {
	h, err := s.head(ctx, tx, name)
	switch {
	case err != nil:
		return nil, err
	case h == nil, h.state.Deleted != 0:
		return nil, s.notFound()
	}
	return h, nil
}

// version returns the named version of an object, or the latest.
func (s objects) version(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name) (version, metadata, error) {
	ver := h.state.Latest
	if name.Version() != "" {
		var ok bool
		if ver, ok = parseVersion(name.Version()); !ok || tx.Bucket(s.shelf.metadata).Get(h.row(ver)) == nil {
			return version{}, metadata{}, s.notFound()
		}
	}
	m, err := h.metadata(tx, ver)
	if err != nil {
		return version{}, metadata{}, s.damaged(ctx, name, err)
	}
	return ver, m, nil
}

// latestMetadata returns what is stored of the latest version of an object.
func (s objects) latestMetadata(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name) (metadata, error) {
	m, err := h.metadata(tx, h.state.Latest)
	if err != nil {
		return metadata{}, s.damaged(ctx, name, err)
	}
	return m, nil
}

// eachVersion calls fn with each version of an object, oldest first. A damaged one
// is left out, and logged.
func (s objects) eachVersion(ctx context.Context, tx *bbolt.Tx, h *head, name broker.Name, fn func(version, metadata) error) error {
	prefix := rowPrefix(h.name)
	c := tx.Bucket(s.shelf.metadata).Cursor()
	for k, sealed := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, sealed = c.Next() {
		var ver version
		copy(ver[:], k[len(prefix):])
		m, err := h.openMetadata(ver, sealed)
		if err != nil {
			_ = s.damaged(ctx, name, err)
			continue
		}
		if err := fn(ver, m); err != nil {
			return err
		}
	}
	return nil
}

// damaged refuses one record. The others are still served.
func (s objects) damaged(ctx context.Context, name broker.Name, cause error) error {
	s.v.log.ErrorContext(ctx, "a record of the local vault is damaged and refused; restore the file from a backup",
		"name", name.String(), "error", cause)
	return &broker.Error{Code: broker.CodeVaultUnavailable, Err: errors.Join(errDamaged, cause)}
}

func (s objects) notFound() error { return &broker.Error{Code: s.shelf.notFound} }

// unixOf returns a time in Unix seconds, or nil for none.
func unixOf(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.Unix())
}

func timeOf(unix *int64) time.Time {
	if unix == nil {
		return time.Time{}
	}
	return time.Unix(*unix, 0).UTC()
}
