package broker

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// alarm counts and logs what ev was allowed by break-glass policies alone. A
// change is counted with its intent, a list once however many objects it shows,
// and a batch by name: each of those was decided for itself.
//
// It says who and by what, never why: the reason is the caller's own text, and
// has its place in the record.
func (b *Broker) alarm(ctx context.Context, ev Event) {
	if ev.Phase == PhaseOutcome {
		return
	}
	if ev.Decision.broken() {
		b.sound(ctx, ev, ev.Resource, ev.Decision.Policies)
		return
	}
	var listed []string
	for _, i := range ev.Items {
		switch {
		case !i.Decision.broken():
		case ev.Action == ActionGetSecret:
			b.sound(ctx, ev, i.Resource, i.Decision.Policies)
		default:
			listed = append(listed, i.Decision.Policies...)
		}
	}
	if listed != nil {
		b.sound(ctx, ev, ev.Resource, listed)
	}
}

func (b *Broker) sound(ctx context.Context, ev Event, n Name, policies []string) {
	ids := slices.Compact(slices.Sorted(slices.Values(policies)))
	b.breakGlass.Add(ctx, 1, metric.WithAttributes(
		attribute.String("action", string(ev.Action)), attribute.String("policy", strings.Join(ids, ","))))
	b.log.LogAttrs(ctx, slog.LevelWarn, "break-glass: allowed by an emergency's policy alone",
		slog.String("principal", ev.Caller.ID), slog.String("action", string(ev.Action)), slog.String("resource", n.String()),
		slog.Any("policies", ids), slog.String("request", ev.Caller.RequestID))
}

// broken: the glass was.
func (d Decision) broken() bool { return d.Allowed && d.BreakGlass }
