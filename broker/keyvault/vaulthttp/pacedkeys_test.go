package vaulthttp_test

import (
	"context"
	"strings"

	"github.com/keyward/keyward/broker"
)

// pacedKeys is pacedStore of keys.
type pacedKeys struct {
	broker.KeyStore
	*pace
}

func (s *pacedKeys) GetKey(ctx context.Context, n broker.Name) (broker.Key, error) {
	if s.settling {
		return broker.Key{}, &broker.Error{Code: broker.CodeKeyNotFound}
	}
	return s.KeyStore.GetKey(ctx, n)
}

func (s *pacedKeys) GetDeletedKey(ctx context.Context, n broker.Name) (broker.DeletedKey, error) {
	if s.settling {
		return broker.DeletedKey{}, &broker.Error{Code: broker.CodeKeyNotFound}
	}
	return s.KeyStore.GetDeletedKey(ctx, n)
}

func (s *pacedKeys) RestoreKey(ctx context.Context, vault broker.Name, blob broker.Value) (broker.Key, error) {
	if s.settling {
		return broker.Key{}, &broker.Error{Code: broker.CodeKeyExists}
	}
	return s.KeyStore.RestoreKey(ctx, vault, blob)
}

func (s *pacedKeys) ListKeys(ctx context.Context, vault broker.Name, p broker.Page) (broker.KeyPage, error) {
	if next, ok := s.hold(p); ok {
		return broker.KeyPage{Next: next}, nil
	}
	p.Token = strings.TrimPrefix(p.Token, held)
	page, err := s.KeyStore.ListKeys(ctx, vault, p)
	if page.Next == "" && s.more {
		page.Next = heldEnd
	}
	return page, err
}

func (s *pacedKeys) ListDeletedKeys(ctx context.Context, vault broker.Name, p broker.Page) (broker.DeletedKeyPage, error) {
	if next, ok := s.hold(p); ok {
		return broker.DeletedKeyPage{Next: next}, nil
	}
	p.Token = strings.TrimPrefix(p.Token, held)
	page, err := s.KeyStore.ListDeletedKeys(ctx, vault, p)
	if page.Next == "" && s.more {
		page.Next = heldEnd
	}
	return page, err
}

// DeletedVersion makes the ids of what is soft-deleted whole.
func (s *pacedKeys) DeletedVersion(ctx context.Context, n broker.Name) (string, error) {
	v, ok := s.KeyStore.(interface {
		DeletedVersion(ctx context.Context, n broker.Name) (string, error)
	})
	if !ok {
		return "", &broker.Error{Code: broker.CodeNotSupported}
	}
	return v.DeletedVersion(ctx, n)
}
