package brokertest

import (
	"context"
	"time"

	"github.com/keyward/keyward/broker"
)

// DeleteSecret implements broker.SecretStore.
func (s *SecretStore) DeleteSecret(ctx context.Context, name broker.Name) (broker.DeletedSecret, error) {
	if err := s.enter(ctx, DeleteSecret, name); err != nil {
		return broker.DeletedSecret{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.live(name)
	if err != nil {
		return broker.DeletedSecret{}, err
	}
	sec.deleted = time.Now().Truncate(time.Second)
	return sec.describeDeleted(), nil
}

// GetDeletedSecret implements broker.SecretStore.
func (s *SecretStore) GetDeletedSecret(ctx context.Context, name broker.Name) (broker.DeletedSecret, error) {
	if err := s.enter(ctx, GetDeletedSecret, name); err != nil {
		return broker.DeletedSecret{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.softDeleted(name)
	if err != nil {
		return broker.DeletedSecret{}, err
	}
	return sec.describeDeleted(), nil
}

// ListDeletedSecrets implements broker.SecretStore.
func (s *SecretStore) ListDeletedSecrets(ctx context.Context, vault broker.Name, p broker.Page) (broker.DeletedSecretPage, error) {
	if err := s.enter(ctx, ListDeletedSecrets, vault); err != nil {
		return broker.DeletedSecretPage{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var page broker.DeletedSecretPage
	page.Next = s.walk(p, func(_ broker.Name, sec *secret) bool {
		if sec.deleted.IsZero() {
			return false
		}
		page.Secrets = append(page.Secrets, sec.describeDeleted())
		return true
	})
	return page, nil
}

// RecoverSecret implements broker.SecretStore.
func (s *SecretStore) RecoverSecret(ctx context.Context, name broker.Name) (broker.Secret, error) {
	if err := s.enter(ctx, RecoverSecret, name); err != nil {
		return broker.Secret{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.softDeleted(name)
	if err != nil {
		return broker.Secret{}, err
	}
	sec.deleted = time.Time{}
	return sec.latest(), nil
}

// PurgeSecret implements broker.SecretStore.
func (s *SecretStore) PurgeSecret(ctx context.Context, name broker.Name) error {
	if err := s.enter(ctx, PurgeSecret, name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.softDeleted(name); err != nil {
		return err
	}
	delete(s.secrets, name.ObjectName())
	s.sorted = nil
	return nil
}

// softDeleted returns the secret of the name, which this vault must have and
// have deleted.
func (s *SecretStore) softDeleted(name broker.Name) (*secret, error) {
	sec := s.secrets[name.ObjectName()]
	if name.Vault() != s.vault || sec == nil || sec.deleted.IsZero() {
		return nil, &broker.Error{Code: broker.CodeSecretNotFound}
	}
	return sec, nil
}

func (s *secret) describeDeleted() broker.DeletedSecret {
	latest := s.latest()
	latest.Name = latest.Name.Base()
	return broker.DeletedSecret{Secret: latest, Deleted: s.deleted, Purges: s.deleted.AddDate(0, 0, retentionDays)}
}
