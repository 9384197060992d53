package broker

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// decisionCounts count decisions, of which each call has one at least. The SDK asks
// for them when it exports; to tell it of each costs more than to decide.
type decisionCounts struct {
	// kinds are those that there have been. Who adds one replaces the map.
	kinds  atomic.Pointer[map[decisionKind]*decisionCount]
	adding sync.Mutex
}

type decisionKind struct {
	action  Action
	allowed bool
}

type decisionCount struct {
	n  atomic.Int64
	as metric.MeasurementOption
}

func (c *decisionCounts) register(m metric.Meter) error {
	c.kinds.Store(&map[decisionKind]*decisionCount{})
	_, err := m.Int64ObservableCounter("keyward.decisions",
		metric.WithDescription("Policy decisions, by action and result."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			for _, k := range *c.kinds.Load() {
				o.Observe(k.n.Load(), k.as)
			}
			return nil
		}))
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	return nil
}

func (c *decisionCounts) count(a Action, d Decision) { c.of(decisionKind{a, d.Allowed}).n.Add(1) }

func (c *decisionCounts) of(k decisionKind) *decisionCount {
	if n, ok := (*c.kinds.Load())[k]; ok {
		return n
	}
	c.adding.Lock()
	defer c.adding.Unlock()
	now := *c.kinds.Load()
	if n, ok := now[k]; ok {
		return n
	}
	n := &decisionCount{as: metric.WithAttributeSet(attribute.NewSet(
		attribute.String("action", string(k.action)), attribute.String("decision", decisionText(Decision{Allowed: k.allowed}))))}
	after := maps.Clone(now)
	after[k] = n
	c.kinds.Store(&after)
	return n
}
