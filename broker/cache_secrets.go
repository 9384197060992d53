package broker

import (
	"context"
	"math"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// SecretCacheConfig says how long and how much a SecretCache keeps.
type SecretCacheConfig struct {
	// TTL is how old an answer may be, or a list's last walk. 0 keeps nothing;
	// concurrent reads of one name still share one call, and lists one walk.
	TTL time.Duration
	// StaleIfError is how much older than TTL an answer may be that is served,
	// marked, because the vault cannot be asked. It does not apply to lists.
	StaleIfError time.Duration
	// NegativeTTL is for how long it is remembered that there is no such secret. 0,
	// and a TTL of 0, remember nothing.
	NegativeTTL time.Duration
	// MaxBytes bounds the values; 0 means 64 MiB.
	MaxBytes uint64
	// Vault is the alias in the metrics, and MeterProvider where they go; nil for
	// nowhere.
	Vault         string
	MeterProvider metric.MeterProvider
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

	values *answers[packedSecret]
	lists  *listCache[*Secret, *DeletedSecret]
}

var (
	_ SecretStore = (*SecretCache)(nil)
	_ FreshReader = (*SecretCache)(nil)
	_ WholeLister = (*SecretCache)(nil)
)

// NewSecretCache returns a cache over store.
func NewSecretCache(store SecretStore, c SecretCacheConfig) *SecretCache {
	values := newAnswers(answersConfig{
		ttl: c.TTL, stale: c.StaleIfError, negative: c.NegativeTTL, maxBytes: c.MaxBytes,
		vault: c.Vault, kind: "secrets", meters: c.MeterProvider,
	}, newGenerations(), packedSecret.weigh, func(ctx context.Context, name Name) (packedSecret, error) {
		v, err := store.GetSecret(ctx, name)
		if err != nil {
			return packedSecret{}, err
		}
		return pack(name, v)
	})
	return &SecretCache{
		SecretStore: store,
		values:      values,
		lists: newListCache(c.TTL, values.forget,
			func(vault Name) pages[*Secret] { return secretPages(store, vault) },
			func(vault Name) pages[*DeletedSecret] { return deletedSecretPages(store, vault) }),
	}
}

// Close ends what the metrics show of the cache, which nobody is to use any more.
func (c *SecretCache) Close() { c.values.metrics.close() }

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

// GetSecretWithin implements FreshReader. No answer is older than maxAge, and none
// is older than the time to live but for a stale one.
func (c *SecretCache) GetSecretWithin(ctx context.Context, name Name, maxAge time.Duration) (SecretValue, error) {
	f, err := c.values.get(ctx, name, maxAge)
	if err != nil {
		return SecretValue{}, err
	}
	v := f.value.unpack(name)
	v.Cached, v.Stale = f.cached, f.stale
	return v, nil
}

// TTL implements FreshReader.
func (c *SecretCache) TTL() time.Duration { return c.values.c.ttl }

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
