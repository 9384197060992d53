package broker

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// KeyCacheConfig says how long and how much a KeyCache keeps.
type KeyCacheConfig struct {
	// TTL is as of SecretCacheConfig.
	TTL time.Duration
	// MaxBytes bounds the public keys, and once more the lists of versions; 0 means
	// 64 MiB.
	MaxBytes uint64
	// PublicKeys: verify, encrypt and wrap with the public key that is kept, and
	// ask no vault. Without a TTL it has no effect.
	PublicKeys bool
	// Vault and MeterProvider are as of SecretCacheConfig.
	Vault         string
	MeterProvider metric.MeterProvider
}

// KeyCache is a KeyStore that remembers the public keys of another, its whole
// lists and the versions of each key. What it says of loads, walks and writes is
// as of SecretCache.
//
// What a vault refuses, to a use of a key too, ends what is known of that key.
type KeyCache struct {
	KeyStore // what is not of interest here passes through

	public   bool
	keys     *answers[keptKey]
	versions *answers[[]Key]
	lists    *listCache[*Key, *DeletedKey]
}

// keptKey is a version of a key, and what can be done with it here: nothing, if
// public is zero.
type keptKey struct {
	Key
	public PublicKey
}

var (
	_ KeyStore       = (*KeyCache)(nil)
	_ FreshKeyReader = (*KeyCache)(nil)
	_ WholeKeyLister = (*KeyCache)(nil)
)

// NewKeyCache returns a cache over store.
func NewKeyCache(store KeyStore, c KeyCacheConfig) *KeyCache {
	k := &KeyCache{KeyStore: store, public: c.PublicKeys && c.TTL > 0}
	gens := newGenerations() // both kinds of answers are forgotten at once
	// None is stale: what a key of the vault's may be used for is no older than TTL.
	kept := answersConfig{ttl: c.TTL, maxBytes: c.MaxBytes, vault: c.Vault, kind: "keys", meters: c.MeterProvider}
	k.keys = newAnswers(kept, gens, func(k keptKey) int { return 2 * weighKey(k.Key) }, k.askKey)
	kept.kind = "key_versions"
	k.versions = newAnswers(kept, gens, weighVersions, k.askVersions)
	k.lists = newListCache(c.TTL, k.keys.forget,
		func(vault Name) pages[*Key] { return keyPages(store, vault) },
		func(vault Name) pages[*DeletedKey] { return deletedKeyPages(store, vault) })
	return k
}

// Close ends what the metrics show of the cache, which nobody is to use any more.
func (c *KeyCache) Close() {
	c.keys.metrics.close()
	c.versions.metrics.close()
}

func weighKey(k Key) int {
	const op = 16 // with its text's header
	return len(k.JWK.N) + len(k.JWK.E) + len(k.JWK.X) + len(k.JWK.Y) + op*len(k.Ops) + weighTags(k.Tags)
}

func weighVersions(all []Key) (n int) {
	for _, k := range all {
		n += entryOverhead + weighKey(k)
	}
	return n
}

func (c *KeyCache) askKey(ctx context.Context, name Name) (keptKey, error) {
	k, err := c.KeyStore.GetKey(ctx, name)
	if err != nil {
		c.heed(name, "", err)
		return keptKey{}, err
	}
	kept := keptKey{Key: k}
	if c.public {
		// One that is no public key, as a symmetric one, is of no use here.
		kept.public, _ = NewPublicKey(k.JWK)
	}
	return kept, nil
}

func (c *KeyCache) askVersions(ctx context.Context, name Name) ([]Key, error) {
	all, err := c.KeyStore.ListKeyVersions(ctx, name)
	if err != nil {
		c.heed(name, "", err)
	}
	return all, err
}

// GetKey implements KeyStore.
func (c *KeyCache) GetKey(ctx context.Context, name Name) (Key, error) {
	k, _, err := c.GetKeyWithin(ctx, name, untilTTL)
	return k, err
}

// GetKeyWithin implements FreshKeyReader. The time to live bounds maxAge.
func (c *KeyCache) GetKeyWithin(ctx context.Context, name Name, maxAge time.Duration) (Key, bool, error) {
	k, err := c.keys.get(ctx, name, maxAge)
	return k.value.Key, k.cached, err
}

// AllKeys implements WholeKeyLister.
func (c *KeyCache) AllKeys(ctx context.Context, vault Name) (Whole[*Key], error) {
	return c.lists.of(vault).live.all(ctx)
}

// AllDeletedKeys implements WholeKeyLister.
func (c *KeyCache) AllDeletedKeys(ctx context.Context, vault Name) (Whole[*DeletedKey], error) {
	return c.lists.of(vault).deleted.all(ctx)
}

// ListKeyVersions implements KeyStore.
func (c *KeyCache) ListKeyVersions(ctx context.Context, name Name) ([]Key, error) {
	all, err := c.AllKeyVersions(ctx, name)
	return slices.Clone(all.Items), err
}

// AllKeyVersions implements WholeKeyLister.
func (c *KeyCache) AllKeyVersions(ctx context.Context, name Name) (Whole[Key], error) {
	all, err := c.versions.get(ctx, name.Base(), untilTTL)
	return Whole[Key]{Items: all.value, Cached: all.cached}, err
}

// CreateKey implements KeyStore.
func (c *KeyCache) CreateKey(ctx context.Context, name Name, n NewKey) (Key, error) {
	return listWrite(c.lists, name, func() (Key, error) { return c.KeyStore.CreateKey(ctx, name, n) }, showKey)
}

// ImportKey implements KeyStore.
func (c *KeyCache) ImportKey(ctx context.Context, name Name, n KeyImport) (Key, error) {
	return listWrite(c.lists, name, func() (Key, error) { return c.KeyStore.ImportKey(ctx, name, n) }, showKey)
}

// RotateKey implements KeyStore.
func (c *KeyCache) RotateKey(ctx context.Context, name Name) (Key, error) {
	return listWrite(c.lists, name, func() (Key, error) { return c.KeyStore.RotateKey(ctx, name) }, showKey)
}

// UpdateKey implements KeyStore.
func (c *KeyCache) UpdateKey(ctx context.Context, name Name, u KeyUpdate) (Key, error) {
	return listUpdate(c.lists, name, func() (Key, error) { return c.KeyStore.UpdateKey(ctx, name, u) }, keyItem)
}

// RecoverKey implements KeyStore.
func (c *KeyCache) RecoverKey(ctx context.Context, name Name) (Key, error) {
	return listWrite(c.lists, name, func() (Key, error) { return c.KeyStore.RecoverKey(ctx, name) }, showKey)
}

// RestoreKey implements KeyStore.
func (c *KeyCache) RestoreKey(ctx context.Context, vault Name, blob Value) (Key, error) {
	return listWrite(c.lists, vault.Vault(), func() (Key, error) {
		k, err := c.KeyStore.RestoreKey(ctx, vault, blob)
		if err == nil {
			c.keys.forget(k.Name)
		}
		return k, err
	}, showKey)
}

// DeleteKey implements KeyStore.
func (c *KeyCache) DeleteKey(ctx context.Context, name Name) (DeletedKey, error) {
	return listWrite(c.lists, name, func() (DeletedKey, error) { return c.KeyStore.DeleteKey(ctx, name) },
		func(l *vaultLists[*Key, *DeletedKey], d DeletedKey) {
			d.Key = *keyItem(d.Key)
			l.showDeleted(&d)
		})
}

// PurgeKey implements KeyStore.
func (c *KeyCache) PurgeKey(ctx context.Context, name Name) error {
	_, err := listWrite(c.lists, name, func() (struct{}, error) { return struct{}{}, c.KeyStore.PurgeKey(ctx, name) },
		func(l *vaultLists[*Key, *DeletedKey], _ struct{}) { l.deleted.drop(name) })
	return err
}

func showKey(l *vaultLists[*Key, *DeletedKey], k Key) { l.showLive(keyItem(k)) }

// keyItem is k as lists have it.
func keyItem(k Key) *Key {
	k.Name, k.JWK, k.Ops = k.Name.Base(), JWK{}, nil
	return &k
}
