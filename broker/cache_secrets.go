package broker

import (
	"context"
	"math"
	"time"
)

// SecretCacheConfig says how long and how much a SecretCache keeps.
type SecretCacheConfig struct {
	// TTL is how old an answer may be, or a list's last walk. 0 keeps nothing;
	// concurrent reads of one name still share one call, and lists one walk.
	TTL time.Duration
	// MaxBytes bounds the values; 0 means 64 MiB.
	MaxBytes uint64
}

// SecretCache is a SecretStore that remembers the values of another, and its
// whole lists.
//
// Concurrent reads of one name share one load, and concurrent lists one walk of
// the store's pages. They are detached from those who wait: a caller that goes
// away fails nobody else. A write through the cache is seen by every read and
// list that begins after it returned. Pinned versions age like the latest,
// because a version can be disabled.
//
// MaxBytes bounds the values. A list is kept beside them, once whole, as large
// as the vault makes it.
type SecretCache struct {
	SecretStore // what is not of interest here passes through

	values *answers[SecretValue]
	lists  *listCache[*Secret, *DeletedSecret]
}

var (
	_ SecretStore = (*SecretCache)(nil)
	_ FreshReader = (*SecretCache)(nil)
	_ WholeLister = (*SecretCache)(nil)
)

// NewSecretCache returns a cache over store.
func NewSecretCache(store SecretStore, c SecretCacheConfig) *SecretCache {
	values := newAnswers(c.TTL, c.MaxBytes, newGenerations(), weighSecret, store.GetSecret)
	return &SecretCache{
		SecretStore: store,
		values:      values,
		lists: newListCache(c.TTL, values.forget,
			func(vault Name) pages[*Secret] { return secretPages(store, vault) },
			func(vault Name) pages[*DeletedSecret] { return deletedSecretPages(store, vault) }),
	}
}

func weighSecret(v SecretValue) int {
	return v.Value.Len() + len(v.ContentType) + weighTags(v.Tags)
}

func weighTags(tags map[string]string) (n int) {
	for k, v := range tags {
		n += len(k) + len(v)
	}
	return n
}

// untilTTL is an age that the time to live alone bounds.
const untilTTL time.Duration = math.MaxInt64

// GetSecret implements SecretStore.
func (c *SecretCache) GetSecret(ctx context.Context, name Name) (SecretValue, error) {
	return c.GetSecretWithin(ctx, name, untilTTL)
}

// GetSecretWithin implements FreshReader. The time to live bounds maxAge.
func (c *SecretCache) GetSecretWithin(ctx context.Context, name Name, maxAge time.Duration) (SecretValue, error) {
	v, cached, err := c.values.get(ctx, name, maxAge)
	v.Cached = cached
	return v, err
}

// AllSecrets implements WholeLister.
func (c *SecretCache) AllSecrets(ctx context.Context, vault Name) (Whole[*Secret], error) {
	return c.lists.of(vault).live.all(ctx)
}

// AllDeletedSecrets implements WholeLister.
func (c *SecretCache) AllDeletedSecrets(ctx context.Context, vault Name) (Whole[*DeletedSecret], error) {
	return c.lists.of(vault).deleted.all(ctx)
}

// SetSecret implements SecretStore.
func (c *SecretCache) SetSecret(ctx context.Context, name Name, s NewSecret) (Secret, error) {
	return listWrite(c.lists, name, func() (Secret, error) { return c.SecretStore.SetSecret(ctx, name, s) }, showSecret)
}

// UpdateSecret implements SecretStore.
func (c *SecretCache) UpdateSecret(ctx context.Context, name Name, u SecretUpdate) (Secret, error) {
	return listUpdate(c.lists, name, func() (Secret, error) { return c.SecretStore.UpdateSecret(ctx, name, u) }, secretItem)
}

// RecoverSecret implements SecretStore.
func (c *SecretCache) RecoverSecret(ctx context.Context, name Name) (Secret, error) {
	return listWrite(c.lists, name, func() (Secret, error) { return c.SecretStore.RecoverSecret(ctx, name) }, showSecret)
}

// RestoreSecret implements SecretStore.
func (c *SecretCache) RestoreSecret(ctx context.Context, vault Name, blob Value) (Secret, error) {
	return listWrite(c.lists, vault.Vault(), func() (Secret, error) {
		s, err := c.SecretStore.RestoreSecret(ctx, vault, blob)
		if err == nil {
			c.values.forget(s.Name)
		}
		return s, err
	}, showSecret)
}

// DeleteSecret implements SecretStore.
func (c *SecretCache) DeleteSecret(ctx context.Context, name Name) (DeletedSecret, error) {
	return listWrite(c.lists, name, func() (DeletedSecret, error) { return c.SecretStore.DeleteSecret(ctx, name) },
		func(l *vaultLists[*Secret, *DeletedSecret], d DeletedSecret) {
			d.Name = d.Name.Base()
			l.showDeleted(&d)
		})
}

// PurgeSecret implements SecretStore.
func (c *SecretCache) PurgeSecret(ctx context.Context, name Name) error {
	_, err := listWrite(c.lists, name, func() (struct{}, error) { return struct{}{}, c.SecretStore.PurgeSecret(ctx, name) },
		func(l *vaultLists[*Secret, *DeletedSecret], _ struct{}) { l.deleted.drop(name) })
	return err
}

func showSecret(l *vaultLists[*Secret, *DeletedSecret], s Secret) { l.showLive(secretItem(s)) }

// secretItem is s as lists have it.
func secretItem(s Secret) *Secret {
	s.Name = s.Name.Base()
	return &s
}
