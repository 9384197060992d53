package broker

import (
	"context"
	"fmt"
	"hash/maphash"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"
)

// SecretCacheConfig says how long and how much a SecretCache keeps.
type SecretCacheConfig struct {
	// TTL is how old an answer may be. 0 keeps nothing; concurrent reads of one
	// name still share one call.
	TTL time.Duration
	// MaxBytes bounds the cache; 0 means 64 MiB.
	MaxBytes uint64
}

const (
	defaultCacheBytes = 64 << 20
	// loadTimeout bounds a load, which no caller's deadline does.
	loadTimeout = 10 * time.Second
	// entryOverhead is what an entry costs beside its texts, roughly.
	entryOverhead = 400
	genShards     = 1024
)

// SecretCache is a SecretStore that remembers the values of another.
//
// Concurrent reads of one name share one load, which is detached from them all:
// a caller that goes away fails nobody else. A write through the cache is seen
// by every read that begins after it returned. Pinned versions age like the
// latest, because a version can be disabled.
type SecretCache struct {
	SecretStore // lists pass through

	ttl     time.Duration
	entries *otter.Cache[Name, cacheEntry]
	loads   singleflight.Group
	// gens counts writes, by the hash of a secret's name: an entry or a load of
	// an older generation is not used. Two names that share a counter cost each
	// other a miss, nothing more.
	seed maphash.Seed
	gens [genShards]atomic.Uint64
}

type cacheEntry struct {
	value SecretValue
	// asked is when the load began, so that an answer is never taken for
	// younger than it is. It carries a monotonic reading.
	asked time.Time
	gen   uint64
}

var (
	_ SecretStore = (*SecretCache)(nil)
	_ FreshReader = (*SecretCache)(nil)
)

// NewSecretCache returns a cache over store.
func NewSecretCache(store SecretStore, c SecretCacheConfig) *SecretCache {
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultCacheBytes
	}
	return &SecretCache{
		SecretStore: store,
		ttl:         c.TTL,
		seed:        maphash.MakeSeed(),
		entries: otter.Must(&otter.Options[Name, cacheEntry]{
			MaximumWeight: c.MaxBytes,
			Weigher: func(n Name, e cacheEntry) uint32 {
				w := entryOverhead + len(n.object) + e.value.Value.Len() + len(e.value.ContentType)
				for k, v := range e.value.Tags {
					w += len(k) + len(v)
				}
				return uint32(w) //nolint:gosec // bounded by Key Vault's limits, about 40 KiB
			},
			Logger: &otter.NoopLogger{},
		}),
	}
}

// GetSecret implements SecretStore.
func (c *SecretCache) GetSecret(ctx context.Context, name Name) (SecretValue, error) {
	return c.getSecret(ctx, name, c.ttl)
}

// GetSecretWithin implements FreshReader. The time to live bounds maxAge.
func (c *SecretCache) GetSecretWithin(ctx context.Context, name Name, maxAge time.Duration) (SecretValue, error) {
	if maxAge > 0 {
		return c.getSecret(ctx, name, min(maxAge, c.ttl))
	}
	// A call of its own: a load under way may have asked before this began.
	return c.ask(ctx, name, c.gen(name).Load())
}

func (c *SecretCache) getSecret(ctx context.Context, name Name, within time.Duration) (SecretValue, error) {
	if err := ctx.Err(); err != nil {
		return SecretValue{}, AsError(err)
	}
	gen := c.gen(name).Load()
	if e, ok := c.entries.GetIfPresent(name); ok && e.gen == gen && time.Since(e.asked) < within {
		e.value.Cached = true
		return e.value, nil
	}
	led := false
	// The generation is part of the key: a read that begins after a write does
	// not join a load that began before it.
	done := c.loads.DoChan(name.String()+"#"+strconv.FormatUint(gen, 10), func() (any, error) {
		led = true
		return c.load(ctx, name, gen)
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return SecretValue{}, r.Err
		}
		v := r.Val.(SecretValue) //nolint:forcetypeassert // load returns nothing else
		v.Cached = !led
		return v, nil
	case <-ctx.Done():
		return SecretValue{}, AsError(ctx.Err())
	}
}

// SetSecret implements SecretStore.
func (c *SecretCache) SetSecret(ctx context.Context, name Name, s NewSecret) (Secret, error) {
	// Whatever the outcome: a write that failed may have happened.
	defer c.forget(name)
	return c.SecretStore.SetSecret(ctx, name, s)
}

// UpdateSecret implements SecretStore.
func (c *SecretCache) UpdateSecret(ctx context.Context, name Name, u SecretUpdate) (Secret, error) {
	defer c.forget(name)
	return c.SecretStore.UpdateSecret(ctx, name, u)
}

// RecoverSecret implements SecretStore.
func (c *SecretCache) RecoverSecret(ctx context.Context, name Name) (Secret, error) {
	defer c.forget(name)
	return c.SecretStore.RecoverSecret(ctx, name)
}

// PurgeSecret implements SecretStore.
func (c *SecretCache) PurgeSecret(ctx context.Context, name Name) error {
	defer c.forget(name)
	return c.SecretStore.PurgeSecret(ctx, name)
}

// RestoreSecret implements SecretStore.
func (c *SecretCache) RestoreSecret(ctx context.Context, vault Name, blob Value) (Secret, error) {
	s, err := c.SecretStore.RestoreSecret(ctx, vault, blob)
	if err == nil {
		c.forget(s.Name)
	}
	return s, err
}

// DeleteSecret implements SecretStore.
func (c *SecretCache) DeleteSecret(ctx context.Context, name Name) (DeletedSecret, error) {
	defer c.forget(name)
	return c.SecretStore.DeleteSecret(ctx, name)
}

func (c *SecretCache) load(ctx context.Context, name Name, gen uint64) (v SecretValue, err error) {
	// A panic here would be in nobody's goroutine, and end the process. Its text
	// is left out: it could quote a value.
	defer func() {
		if p := recover(); p != nil {
			err = &Error{Code: CodeInternal, Err: fmt.Errorf("panic in a load: %T\n%s", p, debug.Stack())}
		}
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	return c.ask(ctx, name, gen)
}

// ask asks the store, and keeps the answer unless a write overtook it.
func (c *SecretCache) ask(ctx context.Context, name Name, gen uint64) (SecretValue, error) {
	asked := time.Now()
	v, err := c.SecretStore.GetSecret(ctx, name)
	switch {
	case CodeOf(err) == CodeSecretNotFound, CodeOf(err) == CodeSecretDisabled:
		c.entries.Invalidate(name)
		return SecretValue{}, err
	case err != nil:
		return SecretValue{}, err
	}
	// A slower answer to an older question does not replace a newer one.
	e, ok := c.entries.GetIfPresent(name)
	newer := ok && e.gen == gen && e.asked.After(asked)
	if c.ttl > 0 && c.gen(name).Load() == gen && !newer {
		c.entries.Set(name, cacheEntry{value: v, asked: asked, gen: gen})
	}
	return v, nil
}

// forget ends the life of every entry and load of name, whichever version.
func (c *SecretCache) forget(name Name) {
	c.gen(name).Add(1)
	c.entries.Invalidate(name.Base())
}

func (c *SecretCache) gen(name Name) *atomic.Uint64 {
	h := maphash.Comparable(c.seed, name.Base())
	return &c.gens[h%genShards]
}
