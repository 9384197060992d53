package service

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/time/rate"

	"github.com/keyward/keyward/broker"
)

// Limits are what a Server takes of one caller. The zero Limits are none.
type Limits struct {
	// Principal holds for the calls of each principal, over both transports
	// together. Health, reflection and the API's description are not limited.
	Principal Limit
	// FailedAuthentication holds for the calls from each peer address (of IPv6,
	// from each /64) that name no caller.
	//
	// Who has good credentials is never refused by it: else a flood from behind a
	// proxy or a NAT would lock out all its neighbours. So a flood still costs
	// what it takes to look at its credentials; what it is spared is the record of
	// each.
	FailedAuthentication Limit
}

// Limit is a token bucket. A call takes a token, and one that finds none is
// refused and takes nothing.
type Limit struct {
	// Rate is how many tokens come a second. 0 means no limit.
	Rate float64
	// Burst is how many tokens there are at most, and at first. 0 means Rate,
	// rounded up.
	Burst int
}

const (
	// MaxRate is the most that Limit.Rate and Limit.Burst can be.
	MaxRate = 1_000_000
	// maxBuckets bounds the buckets of each kind that are remembered. One that
	// is forgotten is a full one: with more names or addresses than this, somebody
	// gains a burst for each, but never a call without credentials.
	maxBuckets = 10_000
)

func (l Limit) validate(what string) error {
	// Put so that no number at all is refused too.
	if !(l.Rate >= 0 && l.Rate <= MaxRate) || l.Burst < 0 || l.Burst > MaxRate {
		return fmt.Errorf("service: %s: a rate and a burst are 0 to %d", what, MaxRate)
	}
	return nil
}

// limits keep the buckets. They may be used concurrently.
type limits struct {
	principals *buckets[string]
	failures   *buckets[netip.Prefix]
	limited    metric.Int64Counter
	now        func() time.Time
	of         Limits
}

func (l Limits) validate() error {
	if err := l.Principal.validate("Limits.Principal"); err != nil {
		return err
	}
	return l.FailedAuthentication.validate("Limits.FailedAuthentication")
}

func newLimits(l Limits, mp metric.MeterProvider, now func() time.Time) (*limits, error) {
	if err := l.validate(); err != nil {
		return nil, err
	}
	limited, err := mp.Meter(scope).Int64Counter("keyward.calls.limited",
		metric.WithDescription("Calls refused by a rate limit, by kind (principal or failedAuthentication) and transport."))
	if err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	return &limits{
		principals: newBuckets[string](l.Principal),
		failures:   newBuckets[netip.Prefix](l.FailedAuthentication),
		limited:    limited,
		now:        now,
		of:         l,
	}, nil
}

// changed returns the limits that to asks for, with the buckets of those that are
// as they were.
func (l *limits) changed(to Limits) (*limits, error) {
	if err := to.validate(); err != nil {
		return nil, err
	}
	after := *l
	after.of = to
	if to.Principal != l.of.Principal {
		after.principals = newBuckets[string](to.Principal)
	}
	if to.FailedAuthentication != l.of.FailedAuthentication {
		after.failures = newBuckets[netip.Prefix](to.FailedAuthentication)
	}
	return &after, nil
}

// call takes a token of an authenticated caller, and returns an error if there
// is none. That is not recorded: nothing was decided or disclosed, and a record
// of each would be a flood of its own.
func (l *limits) call(ctx context.Context, c broker.Caller) error {
	if l.principals == nil {
		return nil
	}
	wait, _ := l.principals.take(c.ID, l.now())
	if wait == 0 {
		return nil
	}
	l.count(ctx, "principal", c)
	return &broker.Error{Code: broker.CodeCallerRateLimited, RetryAfter: wait}
}

// failure takes a token of the address that a failed authentication came from.
// It returns what the call is answered with, always an error, and whether that
// is to be recorded. Beyond the limit, the first refusal of a run is, and the
// rest are only counted: the run ends when the bucket is full again.
func (l *limits) failure(ctx context.Context, c broker.Caller, cause error) (record bool, answer error) {
	switch broker.CodeOf(cause) {
	case broker.CodeNoCredentials, broker.CodeBadCredentials:
	case broker.CodeCanceled, broker.CodeDeadlineExceeded:
		// Who leaves before it is judged is not judged for nothing.
	default:
		return true, cause // a fault of ours, which waiting would not mend
	}
	wait, first := l.failures.take(network(c.Peer), l.now())
	if wait == 0 {
		return true, cause
	}
	l.count(ctx, "failedAuthentication", c)
	return first, &broker.Error{
		Code:       broker.CodeCallerRateLimited,
		Message:    "too many calls without valid credentials from this address; get new ones before you try again",
		RetryAfter: wait,
		Err:        cause,
	}
}

// unrecorded says that what failure wanted recorded could not be: the next
// refusal of the run is to be.
func (l *limits) unrecorded(c broker.Caller) { l.failures.endRun(network(c.Peer)) }

func (l *limits) count(ctx context.Context, kind string, c broker.Caller) {
	l.limited.Add(ctx, 1, metric.WithAttributes(attribute.String("kind", kind), attribute.String("transport", c.Transport)))
}

// network is whose failures are counted together: an IPv4 address, or an IPv6
// network of the size that one customer is given. Those without an address are
// one.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	if a.Is6() {
		p, _ := a.Prefix(64) // 64 fits
		return p
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// buckets are the buckets of one Limit, by whose they are. nil is no limit.
type buckets[K comparable] struct {
	rate  rate.Limit
	burst int
	of    *otter.Cache[K, *bucket]
}

type bucket struct {
	mu     sync.Mutex
	tokens *rate.Limiter
	// run: a call was refused since the bucket was last full.
	run bool
}

func newBuckets[K comparable](l Limit) *buckets[K] {
	if l.Rate == 0 {
		return nil
	}
	if l.Burst == 0 {
		l.Burst = int(math.Ceil(l.Rate))
	}
	return &buckets[K]{
		rate:  rate.Limit(l.Rate),
		burst: l.Burst,
		of:    otter.Must(&otter.Options[K, *bucket]{MaximumSize: maxBuckets, Logger: &otter.NoopLogger{}}),
	}
}

// take takes one of k's tokens. If there is none, it returns how long it takes
// until there is one, and whether this begins a run.
func (b *buckets[K]) take(k K, now time.Time) (wait time.Duration, first bool) {
	if b == nil {
		return 0, false
	}
	one, ok := b.of.GetIfPresent(k)
	if !ok {
		one, _ = b.of.SetIfAbsent(k, &bucket{tokens: rate.NewLimiter(b.rate, b.burst)})
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	tokens := one.tokens.TokensAt(now)
	one.run = one.run && tokens < float64(b.burst)
	if one.tokens.AllowN(now, 1) {
		return 0, false
	}
	first, one.run = !one.run, true
	seconds := (1 - tokens) / float64(b.rate)
	return time.Duration(math.Ceil(min(seconds, 1e9) * 1e9)), first
}

func (b *buckets[K]) endRun(k K) {
	if b == nil {
		return
	}
	if one, ok := b.of.GetIfPresent(k); ok {
		one.mu.Lock()
		one.run = false
		one.mu.Unlock()
	}
}
