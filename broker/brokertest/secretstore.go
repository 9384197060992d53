package brokertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/keyward/keyward/broker"
)

// Names of the methods of a SecretStore, as Calls and hooks know them.
const (
	GetSecret          = "GetSecret"
	SetSecret          = "SetSecret"
	UpdateSecret       = "UpdateSecret"
	DeleteSecret       = "DeleteSecret"
	GetDeletedSecret   = "GetDeletedSecret"
	ListDeletedSecrets = "ListDeletedSecrets"
	RecoverSecret      = "RecoverSecret"
	PurgeSecret        = "PurgeSecret"
	BackupSecret       = "BackupSecret"
	RestoreSecret      = "RestoreSecret"
	ListSecrets        = "ListSecrets"
	ListSecretVersions = "ListSecretVersions"
)

const retentionDays = 90

// A Hook runs before each call of a store. It may block; an error is the
// call's answer. The name is the vault's where a call names no secret.
type Hook func(ctx context.Context, method string, name broker.Name) error

// SecretStore is a small broker.SecretStore in memory, which counts its calls
// and can be made to fail or to wait. Its methods may be called concurrently.
type SecretStore struct {
	vault broker.Name

	mu      sync.Mutex
	secrets map[string]*secret
	sorted  []string // the names of secrets; nil where they have changed
	made    uint64   // versions made so far, and so the next one's id
	calls   map[string]int
	hook    Hook
}

type secret struct {
	versions []broker.SecretValue // oldest first
	deleted  time.Time            // zero while it lives
}

func (s *secret) latest() broker.Secret { return copied(s.versions[len(s.versions)-1].Secret) }

var _ broker.SecretStore = (*SecretStore)(nil)

// NewSecretStore returns an empty store of the vault.
func NewSecretStore(vault broker.Name) *SecretStore {
	return &SecretStore{
		vault:   vault,
		secrets: make(map[string]*secret),
		calls:   make(map[string]int),
	}
}

// Calls returns how often a method was called, failed calls included.
func (s *SecretStore) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// SetHook makes h run before each later call; nil ends it.
func (s *SecretStore) SetHook(h Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = h
}

// enter counts a call and runs the hook, without holding the lock.
func (s *SecretStore) enter(ctx context.Context, method string, name broker.Name) error {
	s.mu.Lock()
	s.calls[method]++
	hook := s.hook
	s.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, method, name); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return broker.AsError(err)
	}
	return nil
}

// GetSecret implements broker.SecretStore.
func (s *SecretStore) GetSecret(ctx context.Context, name broker.Name) (broker.SecretValue, error) {
	if err := s.enter(ctx, GetSecret, name); err != nil {
		return broker.SecretValue{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.live(name)
	if err != nil {
		return broker.SecretValue{}, err
	}
	stored, err := sec.version(name)
	if err != nil {
		return broker.SecretValue{}, err
	}
	v := *stored
	if !v.Enabled {
		return broker.SecretValue{}, &broker.Error{Code: broker.CodeSecretDisabled}
	}
	v.Tags = maps.Clone(v.Tags)
	v.Fetched = time.Now()
	return v, nil
}

// SetSecret implements broker.SecretStore.
func (s *SecretStore) SetSecret(ctx context.Context, name broker.Name, n broker.NewSecret) (broker.Secret, error) {
	if err := s.enter(ctx, SetSecret, name); err != nil {
		return broker.Secret{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sec := s.secrets[name.ObjectName()]
	if sec == nil {
		sec = new(secret)
		s.secrets[name.ObjectName()], s.sorted = sec, nil
	}
	if !sec.deleted.IsZero() {
		return broker.Secret{}, &broker.Error{Code: broker.CodeSecretSoftDeleted}
	}
	s.made++
	versioned, err := name.WithVersion(fmt.Sprintf("%032x", s.made))
	if err != nil {
		return broker.Secret{}, err
	}
	now := time.Now().Truncate(time.Second)
	v := broker.SecretValue{
		Secret: broker.Secret{
			Name:            versioned,
			ContentType:     n.ContentType,
			Tags:            maps.Clone(n.Tags),
			Enabled:         n.Enabled,
			NotBefore:       n.NotBefore.Truncate(time.Second),
			Expires:         n.Expires.Truncate(time.Second),
			Created:         now,
			Updated:         now,
			RecoveryLevel:   "Recoverable+Purgeable",
			RecoverableDays: retentionDays,
		},
		Value: n.Value,
	}
	sec.versions = append(sec.versions, v)
	return copied(v.Secret), nil
}

// UpdateSecret implements broker.SecretStore.
func (s *SecretStore) UpdateSecret(ctx context.Context, name broker.Name, u broker.SecretUpdate) (broker.Secret, error) {
	if err := s.enter(ctx, UpdateSecret, name); err != nil {
		return broker.Secret{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.live(name)
	if err != nil {
		return broker.Secret{}, err
	}
	v, err := sec.version(name)
	if err != nil {
		return broker.Secret{}, err
	}
	if u.ContentType != nil {
		v.ContentType = *u.ContentType
	}
	if u.Tags != nil {
		v.Tags = maps.Clone(*u.Tags)
	}
	if u.Enabled != nil {
		v.Enabled = *u.Enabled
	}
	if u.NotBefore != nil {
		v.NotBefore = u.NotBefore.Truncate(time.Second)
	}
	if u.Expires != nil {
		v.Expires = u.Expires.Truncate(time.Second)
	}
	v.Updated = time.Now().Truncate(time.Second)
	return copied(v.Secret), nil
}

// ListSecrets implements broker.SecretStore.
func (s *SecretStore) ListSecrets(ctx context.Context, vault broker.Name, p broker.Page) (broker.SecretPage, error) {
	if err := s.enter(ctx, ListSecrets, vault); err != nil {
		return broker.SecretPage{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var page broker.SecretPage
	page.Next = s.walk(p, func(name broker.Name, sec *secret) bool {
		if !sec.deleted.IsZero() {
			return false
		}
		latest := sec.latest()
		latest.Name = name
		page.Secrets = append(page.Secrets, latest)
		return true
	})
	return page, nil
}

// ListSecretVersions implements broker.SecretStore.
func (s *SecretStore) ListSecretVersions(ctx context.Context, name broker.Name) ([]broker.Secret, error) {
	if err := s.enter(ctx, ListSecretVersions, name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.live(name)
	if err != nil {
		return nil, err
	}
	var all []broker.Secret
	for _, v := range slices.Backward(sec.versions) {
		all = append(all, copied(v.Secret))
	}
	return all, nil
}

// walk shows the secrets of a page to visit, which says whether it took one. It
// returns the token of the next page.
func (s *SecretStore) walk(p broker.Page, visit func(broker.Name, *secret) bool) (next string) {
	size := p.Size
	if size <= 0 || size > broker.MaxStorePage {
		size = broker.MaxStorePage
	}
	if s.sorted == nil {
		s.sorted = slices.Sorted(maps.Keys(s.secrets))
	}
	from, there := slices.BinarySearch(s.sorted, p.Token)
	if there {
		from++
	}
	taken, last := 0, p.Token
	for _, object := range s.sorted[from:] {
		if taken == size {
			return last
		}
		sec := s.secrets[object]
		if visit(sec.latest().Name.Base(), sec) {
			taken++
		}
		last = object
	}
	return ""
}

// live returns the secret of the name, which this vault must have and not have
// deleted.
func (s *SecretStore) live(name broker.Name) (*secret, error) {
	sec := s.secrets[name.ObjectName()]
	if name.Vault() != s.vault || sec == nil || !sec.deleted.IsZero() {
		return nil, &broker.Error{Code: broker.CodeSecretNotFound}
	}
	return sec, nil
}

// version returns the named version, or the latest.
func (s *secret) version(name broker.Name) (*broker.SecretValue, error) {
	i := len(s.versions) - 1
	if name.Version() != "" {
		i = slices.IndexFunc(s.versions, func(v broker.SecretValue) bool { return v.Name == name })
	}
	if i < 0 {
		return nil, &broker.Error{Code: broker.CodeSecretNotFound}
	}
	return &s.versions[i], nil
}

func copied(s broker.Secret) broker.Secret {
	s.Tags = maps.Clone(s.Tags)
	return s
}
