package broker

import (
	"context"
	"fmt"
	"hash/maphash"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"
)

// SecretCacheConfig says how long and how much a SecretCache keeps.
type SecretCacheConfig struct {
	// TTL is how old an answer may be, or a list's last walk. 0 keeps nothing;
	// concurrent reads of one name still share one call, and lists one walk.
	TTL time.Duration
	// MaxBytes bounds the values; 0 means 64 MiB.
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

	ttl     time.Duration
	entries *otter.Cache[Name, cacheEntry]
	loads   singleflight.Group
	// gens counts writes, by the hash of a secret's name: an entry or a load of
	// an older generation is not used. Two names that share a counter cost each
	// other a miss, nothing more.
	seed maphash.Seed
	gens [genShards]atomic.Uint64

	mu sync.Mutex
	// vaults are the lists, by the vault's name: a store goes by whichever it is
	// asked for.
	vaults map[Name]*vaultLists
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
	_ WholeLister = (*SecretCache)(nil)
)

// NewSecretCache returns a cache over store.
func NewSecretCache(store SecretStore, c SecretCacheConfig) *SecretCache {
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultCacheBytes
	}
	return &SecretCache{
		SecretStore: store,
		ttl:         c.TTL,
		vaults:      make(map[Name]*vaultLists),
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

func (c *SecretCache) load(ctx context.Context, name Name, gen uint64) (v SecretValue, err error) {
	defer contain(&err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	return c.ask(ctx, name, gen)
}

// contain, deferred, makes a panic an error. In a goroutine that is nobody's it
// would end the process. Its text is left out: it could quote a value.
func contain(err *error) {
	if p := recover(); p != nil {
		*err = &Error{Code: CodeInternal, Err: fmt.Errorf("panic in a load: %T\n%s", p, debug.Stack())}
	}
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

// AllSecrets implements WholeLister.
func (c *SecretCache) AllSecrets(ctx context.Context, vault Name) (Whole[*Secret], error) {
	return c.lists(vault).live.all(ctx)
}

// AllDeletedSecrets implements WholeLister.
func (c *SecretCache) AllDeletedSecrets(ctx context.Context, vault Name) (Whole[*DeletedSecret], error) {
	return c.lists(vault).deleted.all(ctx)
}

// lists returns the lists of n's vault.
func (c *SecretCache) lists(n Name) *vaultLists {
	vault := n.Vault()
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.vaults[vault]
	if l == nil {
		l = &vaultLists{
			live:    &wholeList[*Secret]{pages: livePages(c.SecretStore, vault), ttl: c.ttl},
			deleted: &wholeList[*DeletedSecret]{pages: deletedPages(c.SecretStore, vault), ttl: c.ttl},
			writes:  make(map[Name]*nameWrites),
		}
		c.vaults[vault] = l
	}
	return l
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
