package broker

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/singleflight"
)

const (
	defaultCacheBytes = 64 << 20
	// loadTimeout bounds a load, which no caller's deadline does.
	loadTimeout = 10 * time.Second
	// entryOverhead is what an entry costs beside its texts, roughly.
	entryOverhead = 400
	genShards     = 1024
)

// answers keeps what a store said of each name.
//
// An answer is fresh for ttl. In the last fifth of that time who asks for it has
// it renewed, and does not wait. One that is older, by stale at most, is served
// only if the store cannot be asked; see outage.
//
// Concurrent questions about one name share one load, which is detached from
// those who wait: a caller that goes away fails nobody else. What is forgotten is
// not used again, nor is a load that began before.
type answers[V any] struct {
	c      answersConfig
	ask    func(context.Context, Name) (V, error)
	kept   *otter.Cache[Name, *answer[V]]
	pinned *nameCount // of kept, where a version is named
	began  time.Time  // carries a monotonic reading
	loads  singleflight.Group
	gens   *generations
	absent absences
	outage outage

	metrics *cacheMetrics
}

// answersConfig says how long and how much is kept.
type answersConfig struct {
	ttl, stale, negative time.Duration
	maxBytes             uint64 // 0 for 64 MiB

	// For the metrics.
	vault, kind string
	meters      metric.MeterProvider
}

type answer[V any] struct {
	value V
	// asked is when the load began, from when the answers did, so that one is
	// never taken for younger than it is.
	asked time.Duration
	gen   uint64
	// renewable is the age from which it is renewed, and renewing that somebody
	// does so.
	renewable time.Duration
	renewing  atomic.Bool
}

// found is what answers say of a name.
type found[V any] struct {
	value V
	// cached: it cost no call of its own. stale: it is older than the time to
	// live.
	cached, stale bool
}

// newAnswers returns answers of ask, of which weigh tells what a value has in its
// texts.
func newAnswers[V any](c answersConfig, gens *generations, weigh func(V) int, ask func(context.Context, Name) (V, error)) *answers[V] {
	if c.maxBytes == 0 {
		c.maxBytes = defaultCacheBytes
	}
	a := &answers[V]{c: c, ask: ask, gens: gens, pinned: newNameCount(), began: time.Now()}
	a.kept = otter.Must(&otter.Options[Name, *answer[V]]{
		MaximumWeight: c.maxBytes,
		Weigher: func(n Name, k *answer[V]) uint32 {
			return uint32(entryOverhead + len(n.object) + weigh(k.value)) //nolint:gosec // bounded by Key Vault's limits
		},
		OnAtomicDeletion: func(e otter.DeletionEvent[Name, *answer[V]]) { a.pinned.add(e.Key, -1) },
		Logger:           &otter.NoopLogger{},
	})
	if c.ttl > 0 {
		a.absent = newAbsences(c.negative)
	}
	a.metrics = newCacheMetrics(c.meters, c.vault, c.kind, func() (int, uint64) { return a.kept.EstimatedSize(), a.kept.WeightedSize() })
	return a
}

// get returns an answer that is younger than within. Unless that is the time to
// live or more, none is stale; 0 asks the store.
func (a *answers[V]) get(ctx context.Context, name Name, within time.Duration) (found[V], error) {
	gen := a.gens.of(name).Load()
	if within <= 0 {
		// A call of its own: a load under way may have asked before this began.
		a.metrics.count(lookupMiss)
		asked := time.Now()
		v, err := a.ask(ctx, name)
		a.learn(name, gen, asked, v, err)
		return found[V]{value: v}, err
	}
	if err := ctx.Err(); err != nil {
		return found[V]{}, AsError(err)
	}
	k, age := a.usableIn(name, gen, within)
	switch {
	case k == nil:
		if err := a.absent.of(name, gen, within); err != nil {
			a.metrics.count(lookupNegative)
			return found[V]{}, err
		}
	case age < a.c.ttl:
		a.metrics.count(lookupHit)
		if age >= k.renewable {
			a.renew(ctx, name, k)
		}
		return k.found(false), nil
	case a.outage.lasts():
		a.metrics.count(lookupStale)
		a.renew(ctx, name, k)
		return k.found(true), nil
	}
	f, err := a.wait(ctx, name, gen, within, k != nil)
	if f.stale {
		a.metrics.count(lookupStale)
	} else {
		a.metrics.count(lookupMiss)
	}
	return f, err
}

func (k *answer[V]) found(stale bool) found[V] {
	return found[V]{value: k.value, cached: true, stale: stale}
}

// usable returns the answer that is kept and may be served if the store cannot be
// asked, and its age; or nil.
func (a *answers[V]) usable(name Name, within time.Duration) (*answer[V], time.Duration) {
	return a.usableIn(name, a.gens.of(name).Load(), within)
}

// usableIn is usable for a question that began in generation gen.
func (a *answers[V]) usableIn(name Name, gen uint64, within time.Duration) (*answer[V], time.Duration) {
	k, ok := a.kept.GetIfPresent(name)
	if !ok || k.gen != gen {
		return nil, 0
	}
	age := a.age(k)
	if age >= within || age >= a.c.ttl && age-a.c.ttl >= a.c.stale {
		return nil, 0
	}
	return k, age
}

func (a *answers[V]) age(k *answer[V]) time.Duration { return time.Since(a.began) - k.asked }

// peek returns the answer that is kept and fresh, if any.
func (a *answers[V]) peek(name Name) (v V, ok bool) {
	k, age := a.usable(name, untilTTL)
	if k == nil || age >= a.c.ttl {
		return v, false
	}
	return k.value, true
}

// wait waits for a load that does not begin before a write of generation gen. If
// it fails, or takes long, an old answer serves, if there is still one: old.
func (a *answers[V]) wait(ctx context.Context, name Name, gen uint64, within time.Duration, old bool) (found[V], error) {
	led := false
	// The generation is part of the key: a question that begins after a write does
	// not join a load that began before it.
	done := a.loads.DoChan(loadKey(name, gen), func() (any, error) {
		// Another load may have ended between the look at what is kept and now.
		if k, age := a.usable(name, within); k != nil && age < a.c.ttl {
			return k.value, nil
		}
		if err := a.absent.of(name, gen, within); err != nil {
			return nil, err
		}
		led = true
		return a.load(ctx, name, gen)
	})
	patient := patienceOf(ctx)
	var late <-chan time.Time
	if old {
		t := time.NewTimer(patient)
		defer t.Stop()
		late = t.C
	}
	for {
		select {
		case r := <-done:
			if r.Err == nil {
				return found[V]{value: r.Val.(V), cached: !led}, nil //nolint:forcetypeassert // load returns nothing else
			}
			if old && unanswered(r.Err) {
				if k, age := a.usable(name, within); k != nil {
					return k.found(age >= a.c.ttl), nil
				}
			}
			return found[V]{}, r.Err
		case <-late:
			if k, age := a.usable(name, within); k != nil {
				if patient == patience { // and it was not the caller who was in haste
					a.outage.failed(nil)
				}
				return k.found(age >= a.c.ttl), nil
			}
			late = nil
		case <-ctx.Done():
			return found[V]{}, AsError(ctx.Err())
		}
	}
}

func loadKey(name Name, gen uint64) string { return name.String() + "#" + strconv.FormatUint(gen, 10) }

// renew replaces k, for nobody who waits, unless somebody does so already.
func (a *answers[V]) renew(ctx context.Context, name Name, k *answer[V]) {
	if k.renewing.Load() || !a.outage.mayAsk() || !k.renewing.CompareAndSwap(false, true) {
		return
	}
	a.metrics.count(lookupRefresh)
	ctx = WithErrand(context.WithoutCancel(ctx), Errand{Urgency: UrgencyRefresh})
	done := a.loads.DoChan(loadKey(name, k.gen), func() (any, error) { return a.load(ctx, name, k.gen) })
	go func() {
		// What the vault did not answer is tried again when mayAsk; what else
		// failed, when somebody must wait for it.
		if r := <-done; r.Err != nil && (unanswered(r.Err) || a.age(k) >= a.c.ttl) {
			k.renewing.Store(false)
		}
	}()
}

func (a *answers[V]) load(ctx context.Context, name Name, gen uint64) (v V, err error) {
	defer contain(&err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	asked := time.Now()
	v, err = a.ask(ctx, name)
	if err != nil && ctx.Err() != nil {
		// The load's own time, and not its callers'.
		err = &Error{Code: CodeVaultUnavailable, RetryAfter: time.Second, Err: err}
	}
	a.learn(name, gen, asked, v, err)
	return v, err
}

// contain, deferred, makes a panic an error. In a goroutine that is nobody's it
// would end the process. Its text is left out: it could quote a value.
func contain(err *error) {
	if p := recover(); p != nil {
		*err = &Error{Code: CodeInternal, Err: fmt.Errorf("panic in a load: %T\n%s", p, debug.Stack())}
	}
}

// learn keeps what the store said, unless a write overtook it, and drops what is
// known of a name that it refuses.
func (a *answers[V]) learn(name Name, gen uint64, asked time.Time, v V, err error) {
	switch {
	case err == nil:
		a.outage.over()
		a.keep(name.Own(), &answer[V]{value: v, asked: asked.Sub(a.began), gen: gen})
	case unanswered(err):
		a.outage.failed(err)
	case answered(err):
		a.outage.over()
		now := a.gens.of(name).Load()
		if a.has(name) {
			// The other versions too: an object that is not there has none.
			if now = a.end(name); now == gen+1 {
				gen = now
			}
		}
		if now == gen {
			a.absent.note(name.Own(), gen, asked, err)
		}
	}
}

func (a *answers[V]) keep(name Name, k *answer[V]) {
	// A slower answer to an older question does not replace a newer one.
	now, ok := a.kept.GetIfPresent(name)
	newer := ok && now.gen == k.gen && now.asked > k.asked
	if a.c.ttl <= 0 || a.gens.of(name).Load() != k.gen || newer {
		return
	}
	// Many that are asked for at once are not renewed at once.
	k.renewable = a.c.ttl - a.c.ttl/5 + rand.N(a.c.ttl/10+1) //nolint:gosec // no secret
	a.pinned.add(name, 1)
	a.kept.Set(name, k)
}

// forget ends the life of every answer and load of name, whichever version.
func (a *answers[V]) forget(name Name) { a.end(name) }

// end is forget, and returns the generation that it begins.
func (a *answers[V]) end(name Name) uint64 {
	gen := a.gens.of(name).Add(1)
	a.kept.Invalidate(name.Base())
	return gen
}

// has reports whether an answer is kept of the object, whichever version.
func (a *answers[V]) has(name Name) bool {
	_, ok := a.kept.GetEntryQuietly(name.Base())
	return ok || a.pinned.has(name)
}

// nameCount counts the answers that are kept of versions, by the hash of the object's
// name. Two names that share a hash cost each other a miss, nothing more.
type nameCount struct {
	seed maphash.Seed
	mu   sync.Mutex
	of   map[uint64]int32
}

func newNameCount() *nameCount {
	return &nameCount{seed: maphash.MakeSeed(), of: make(map[uint64]int32)}
}

func (c *nameCount) add(name Name, n int32) {
	if name.version == "" {
		return
	}
	h := maphash.Comparable(c.seed, name.Base())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[h] += n; c.of[h] == 0 {
		delete(c.of, h)
	}
}

func (c *nameCount) has(name Name) bool {
	h := maphash.Comparable(c.seed, name.Base())
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of[h] > 0
}

// generations count writes, by the hash of an object's name: an answer or a load
// of an older generation is not used. Two names that share a counter cost each
// other a miss, nothing more.
type generations struct {
	seed   maphash.Seed
	counts [genShards]atomic.Uint64
}

func newGenerations() *generations { return &generations{seed: maphash.MakeSeed()} }

func (g *generations) of(name Name) *atomic.Uint64 {
	h := maphash.Comparable(g.seed, name.Base())
	return &g.counts[h%genShards]
}
