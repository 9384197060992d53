package broker

import (
	"context"
	"errors"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
)

// lookup is what became of a question to a cache.
type lookup int

const (
	lookupHit      lookup = iota // fresh
	lookupMiss                   // the vault is asked, or a load under way joined
	lookupStale                  // too old, and the vault cannot be asked
	lookupRefresh                // renewed, beside a hit or a stale one
	lookupNegative               // known not to be there
	lookupKinds
)

func (l lookup) String() string { return [...]string{"hit", "miss", "stale", "refresh", "negative"}[l] }

// cacheMetrics count the questions to one cache, of which each call has one. The SDK
// asks for them when it exports: to tell it of each costs more than to look.
type cacheMetrics struct {
	lookups [lookupKinds]atomic.Int64
	held    metric.Registration // what the SDK asks
}

// newCacheMetrics returns the metrics of a vault's answers of a kind, whose number
// and bytes are held's. A nil mp is none.
func newCacheMetrics(mp metric.MeterProvider, vault, kind string, held func() (entries int, bytes uint64)) *cacheMetrics {
	if mp == nil {
		mp = metricnoop.NewMeterProvider()
	}
	meter := mp.Meter(scope)
	of := []attribute.KeyValue{attribute.String("vault", vault), attribute.String("kind", kind)}
	m := &cacheMetrics{}
	var as [lookupKinds]metric.ObserveOption
	for l := range lookupKinds {
		as[l] = metric.WithAttributeSet(attribute.NewSet(append(of[:2:2], attribute.String("result", l.String()))...))
	}
	observe := metric.WithAttributeSet(attribute.NewSet(of...))
	lookups, err1 := meter.Int64ObservableCounter("keyward.cache.lookups", metric.WithDescription(
		"Questions to the cache, by vault, kind and result: hit, miss, stale, negative; and refresh, a renewal that one of the others began."))
	entries, err2 := meter.Int64ObservableGauge("keyward.cache.entries", metric.WithDescription("Answers that the cache holds, by vault and kind."))
	size, err3 := meter.Int64ObservableGauge("keyward.cache.size", metric.WithUnit("By"), metric.WithDescription("What the answers weigh that the cache holds, by vault and kind."))
	err := errors.Join(err1, err2, err3)
	if err == nil {
		m.held, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
			for l := range lookupKinds {
				if n := m.lookups[l].Load(); n > 0 {
					o.ObserveInt64(lookups, n, as[l])
				}
			}
			n, bytes := held()
			o.ObserveInt64(entries, int64(n), observe)
			o.ObserveInt64(size, int64(bytes), observe) //nolint:gosec // bounded by the memory
			return nil
		}, lookups, entries, size)
	}
	if err != nil {
		otel.Handle(err)
		m.held = metricnoop.Registration{}
	}
	return m
}

func (m *cacheMetrics) count(l lookup) { m.lookups[l].Add(1) }

// close ends what the gauges show. Without it they would hold the cache.
func (m *cacheMetrics) close() {
	if err := m.held.Unregister(); err != nil {
		otel.Handle(err)
	}
}
