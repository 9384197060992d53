package vaulthttp_test

import (
	"context"
	"strings"

	"github.com/keyward/keyward/broker"
)

// pacedStore is a store that can be told to settle and to fill its pages as Key
// Vault does.
type pacedStore struct {
	broker.SecretStore
	*pace
}

// pace is what the stores of a vault are told.
type pace struct {
	settling    bool // what was moved is not there yet
	empty, more bool // the next page's
	making      bool // the certificate is being made
}

// held begins the token of a page that was put off, with the store's own after
// it. The end has none.
const (
	held    = "held "
	heldEnd = held + "end"
)

func (s *pacedStore) GetSecret(ctx context.Context, n broker.Name) (broker.SecretValue, error) {
	if s.settling {
		return broker.SecretValue{}, &broker.Error{Code: broker.CodeSecretNotFound}
	}
	return s.SecretStore.GetSecret(ctx, n)
}

func (s *pacedStore) GetDeletedSecret(ctx context.Context, n broker.Name) (broker.DeletedSecret, error) {
	if s.settling {
		return broker.DeletedSecret{}, &broker.Error{Code: broker.CodeSecretNotFound}
	}
	return s.SecretStore.GetDeletedSecret(ctx, n)
}

func (s *pacedStore) RestoreSecret(ctx context.Context, vault broker.Name, blob broker.Value) (broker.Secret, error) {
	if s.settling {
		return broker.Secret{}, &broker.Error{Code: broker.CodeSecretExists}
	}
	return s.SecretStore.RestoreSecret(ctx, vault, blob)
}

func (s *pacedStore) ListSecrets(ctx context.Context, vault broker.Name, p broker.Page) (broker.SecretPage, error) {
	if next, ok := s.hold(p); ok {
		return broker.SecretPage{Next: next}, nil
	}
	p.Token = strings.TrimPrefix(p.Token, held)
	page, err := s.SecretStore.ListSecrets(ctx, vault, p)
	if page.Next == "" && s.more {
		page.Next = heldEnd
	}
	return page, err
}

func (s *pacedStore) ListDeletedSecrets(ctx context.Context, vault broker.Name, p broker.Page) (broker.DeletedSecretPage, error) {
	if next, ok := s.hold(p); ok {
		return broker.DeletedSecretPage{Next: next}, nil
	}
	p.Token = strings.TrimPrefix(p.Token, held)
	page, err := s.SecretStore.ListDeletedSecrets(ctx, vault, p)
	if page.Next == "" && s.more {
		page.Next = heldEnd
	}
	return page, err
}

// hold returns the token of an empty page's successor, if this page is to be
// empty.
func (s *pace) hold(p broker.Page) (next string, ok bool) {
	switch {
	case p.Token == heldEnd && s.more:
		return heldEnd, true
	case p.Token == heldEnd:
		return "", true
	case s.empty && s.more:
		return held + strings.TrimPrefix(p.Token, held), true
	}
	return "", false
}

// DeletedVersion makes the ids of what is soft-deleted whole.
func (s *pacedStore) DeletedVersion(ctx context.Context, n broker.Name) (string, error) {
	v, ok := s.SecretStore.(interface {
		DeletedVersion(ctx context.Context, n broker.Name) (string, error)
	})
	if !ok {
		return "", &broker.Error{Code: broker.CodeNotSupported}
	}
	return v.DeletedVersion(ctx, n)
}
