package vaulthttp

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// unsettled are the deletes, recoveries and purges that readers do not see yet.
// Until then, what was moved is found neither among the live ones nor among the
// deleted ones, and its name cannot be used.
type unsettled struct {
	takes time.Duration

	mu    sync.Mutex
	moves map[broker.Name]settlingMove
}

type settlingMove struct {
	recovered bool
	until     time.Time
}

func newUnsettled(takes time.Duration) *unsettled {
	return &unsettled{takes: takes, moves: map[broker.Name]settlingMove{}}
}

// moved notes a move, and forgets those that have settled.
func (u *unsettled) moved(name broker.Name, recovered bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(u.moves, func(_ broker.Name, m settlingMove) bool { return !now.Before(m.until) })
	u.moves[name.Base()] = settlingMove{recovered: recovered, until: now.Add(u.takes)}
}

func (u *unsettled) moving(name broker.Name) (deleted, recovered bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	m, ok := u.moves[name.Base()]
	if !ok || !time.Now().Before(m.until) {
		return false, false
	}
	return !m.recovered, m.recovered
}

// settling is a store of secrets whose moves take their time.
//
// It is for vaulthttp only: some of its errors are Key Vault's words already.
type settling struct {
	broker.SecretStore
	*unsettled
}

func newSettling(s broker.SecretStore, takes time.Duration) *settling {
	return &settling{SecretStore: s, unsettled: newUnsettled(takes)}
}

// live fails for what was recovered and is not seen yet.
func (s *settling) live(name broker.Name) error {
	if _, recovered := s.moving(name); recovered {
		return &broker.Error{Code: broker.CodeSecretNotFound}
	}
	return nil
}

// gone fails for what was deleted and cannot be moved again yet.
func (s *settling) gone(name broker.Name) error {
	if deleted, _ := s.moving(name); deleted {
		return &broker.Error{Code: broker.CodeSecretInTransition}
	}
	return nil
}

func (s *settling) GetSecret(ctx context.Context, name broker.Name) (broker.SecretValue, error) {
	if err := s.live(name); err != nil {
		return broker.SecretValue{}, err
	}
	return s.SecretStore.GetSecret(ctx, name)
}

func (s *settling) SetSecret(ctx context.Context, name broker.Name, n broker.NewSecret) (broker.Secret, error) {
	if _, recovered := s.moving(name); recovered {
		return broker.Secret{}, beingRecovered("Secret")
	}
	if err := s.gone(name); err != nil {
		return broker.Secret{}, err
	}
	return s.SecretStore.SetSecret(ctx, name, n)
}

func (s *settling) UpdateSecret(ctx context.Context, name broker.Name, u broker.SecretUpdate) (broker.Secret, error) {
	if err := s.live(name); err != nil {
		return broker.Secret{}, err
	}
	return s.SecretStore.UpdateSecret(ctx, name, u)
}

func (s *settling) DeleteSecret(ctx context.Context, name broker.Name) (broker.DeletedSecret, error) {
	if err := s.live(name); err != nil {
		return broker.DeletedSecret{}, err
	}
	d, err := s.SecretStore.DeleteSecret(ctx, name)
	if err == nil {
		s.moved(name, false)
	}
	return d, err
}

func (s *settling) GetDeletedSecret(ctx context.Context, name broker.Name) (broker.DeletedSecret, error) {
	if s.gone(name) != nil {
		return broker.DeletedSecret{}, &broker.Error{Code: broker.CodeSecretNotFound}
	}
	return s.SecretStore.GetDeletedSecret(ctx, name)
}

func (s *settling) ListDeletedSecrets(ctx context.Context, vault broker.Name, p broker.Page) (broker.DeletedSecretPage, error) {
	page, err := s.SecretStore.ListDeletedSecrets(ctx, vault, p)
	page.Secrets = slices.DeleteFunc(page.Secrets, func(d broker.DeletedSecret) bool { return s.gone(d.Name) != nil })
	return page, err
}

func (s *settling) RecoverSecret(ctx context.Context, name broker.Name) (broker.Secret, error) {
	if err := s.gone(name); err != nil {
		return broker.Secret{}, err
	}
	got, err := s.SecretStore.RecoverSecret(ctx, name)
	if err == nil {
		s.moved(name, true)
	}
	return got, err
}

func (s *settling) PurgeSecret(ctx context.Context, name broker.Name) error {
	if err := s.gone(name); err != nil {
		return err
	}
	err := s.SecretStore.PurgeSecret(ctx, name)
	if err == nil {
		s.moved(name, false)
	}
	return err
}

func (s *settling) BackupSecret(ctx context.Context, name broker.Name) (broker.Value, error) {
	if err := s.live(name); err != nil {
		return broker.Value{}, err
	}
	return s.SecretStore.BackupSecret(ctx, name)
}

func (s *settling) ListSecrets(ctx context.Context, vault broker.Name, p broker.Page) (broker.SecretPage, error) {
	page, err := s.SecretStore.ListSecrets(ctx, vault, p)
	page.Secrets = slices.DeleteFunc(page.Secrets, func(one broker.Secret) bool { return s.live(one.Name) != nil })
	return page, err
}

func (s *settling) ListSecretVersions(ctx context.Context, name broker.Name) ([]broker.Secret, error) {
	if err := s.live(name); err != nil {
		return nil, err
	}
	return s.SecretStore.ListSecretVersions(ctx, name)
}

func beingRecovered(what string) error {
	return &refusal{
		status: http.StatusConflict, code: keyvault.ErrorConflict, inner: keyvault.InnerBeingRecovered,
		message: what + " is currently being recovered.",
	}
}
