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

const (
	defaultCacheBytes = 64 << 20
	// loadTimeout bounds a load, which no caller's deadline does.
	loadTimeout = 10 * time.Second
	// entryOverhead is what an entry costs beside its texts, roughly.
	entryOverhead = 400
	genShards     = 1024
)

// answers keeps what a store said of each name, at most ttl long.
//
// Concurrent questions about one name share one load, which is detached from
// those who wait: a caller that goes away fails nobody else. What is forgotten is
// not used again, nor is a load that began before.
type answers[V any] struct {
	ttl   time.Duration
	ask   func(context.Context, Name) (V, error)
	kept  *otter.Cache[Name, answer[V]]
	loads singleflight.Group
	gens  *generations
}

type answer[V any] struct {
	value V
	// asked is when the load began, so that an answer is never taken for
	// younger than it is. It carries a monotonic reading.
	asked time.Time
	gen   uint64
}

// newAnswers returns answers of at most maxBytes, 0 for 64 MiB, of which weigh
// tells what a value has in its texts.
func newAnswers[V any](
	ttl time.Duration, maxBytes uint64, gens *generations, weigh func(V) int, ask func(context.Context, Name) (V, error),
) *answers[V] {
	if maxBytes == 0 {
		maxBytes = defaultCacheBytes
	}
	return &answers[V]{
		ttl:  ttl,
		ask:  ask,
		gens: gens,
		kept: otter.Must(&otter.Options[Name, answer[V]]{
			MaximumWeight: maxBytes,
			Weigher: func(n Name, a answer[V]) uint32 {
				return uint32(entryOverhead + len(n.object) + weigh(a.value)) //nolint:gosec // bounded by Key Vault's limits
			},
			Logger: &otter.NoopLogger{},
		}),
	}
}

// get returns an answer that is younger than within, and whether it cost no call
// of its own. The time to live bounds within; 0 asks the store.
func (a *answers[V]) get(ctx context.Context, name Name, within time.Duration) (v V, cached bool, err error) {
	gen := a.gens.of(name).Load()
	if within <= 0 {
		// A call of its own: a load under way may have asked before this began.
		v, err = a.fetch(ctx, name, gen)
		return v, false, err
	}
	if err := ctx.Err(); err != nil {
		return v, false, AsError(err)
	}
	if v, ok := a.peek(name, within); ok {
		return v, true, nil
	}
	led := false
	// The generation is part of the key: a question that begins after a write does
	// not join a load that began before it.
	done := a.loads.DoChan(name.String()+"#"+strconv.FormatUint(gen, 10), func() (any, error) {
		led = true
		return a.load(ctx, name, gen)
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return v, false, r.Err
		}
		return r.Val.(V), !led, nil //nolint:forcetypeassert // load returns nothing else
	case <-ctx.Done():
		return v, false, AsError(ctx.Err())
	}
}

// peek returns the answer that is kept and younger than within, if any.
func (a *answers[V]) peek(name Name, within time.Duration) (v V, ok bool) {
	gen := a.gens.of(name).Load()
	k, ok := a.kept.GetIfPresent(name)
	if !ok || k.gen != gen || time.Since(k.asked) >= min(within, a.ttl) {
		return v, false
	}
	return k.value, true
}

func (a *answers[V]) load(ctx context.Context, name Name, gen uint64) (v V, err error) {
	defer contain(&err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	return a.fetch(ctx, name, gen)
}

// contain, deferred, makes a panic an error. In a goroutine that is nobody's it
// would end the process. Its text is left out: it could quote a value.
func contain(err *error) {
	if p := recover(); p != nil {
		*err = &Error{Code: CodeInternal, Err: fmt.Errorf("panic in a load: %T\n%s", p, debug.Stack())}
	}
}

// fetch asks the store, and keeps the answer unless a write overtook it.
func (a *answers[V]) fetch(ctx context.Context, name Name, gen uint64) (v V, err error) {
	asked := time.Now()
	v, err = a.ask(ctx, name)
	if err != nil {
		if gone(err) {
			a.kept.Invalidate(name)
		}
		var none V
		return none, err
	}
	// A slower answer to an older question does not replace a newer one.
	k, ok := a.kept.GetIfPresent(name)
	newer := ok && k.gen == gen && k.asked.After(asked)
	if a.ttl > 0 && a.gens.of(name).Load() == gen && !newer {
		a.kept.Set(name, answer[V]{value: v, asked: asked, gen: gen})
	}
	return v, nil
}

// forget ends the life of every answer and load of name, whichever version.
func (a *answers[V]) forget(name Name) {
	a.gens.of(name).Add(1)
	a.kept.Invalidate(name.Base())
}

// gone reports whether a store refused because of what the object is: what is
// kept of it is not so any more.
func gone(err error) bool {
	switch CodeOf(err) {
	case CodeSecretNotFound, CodeSecretDisabled, CodeKeyNotFound, CodeKeyDisabled:
		return true
	}
	return false
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
