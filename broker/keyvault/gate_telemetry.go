package keyvault

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/keyward/keyward/broker"
)

// gateTelemetry is what a gate tells: who waited for how long, who did not pass,
// and why.
type gateTelemetry struct {
	waits    metric.Float64Histogram
	refusals metric.Int64Counter
	state    metric.Int64ObservableGauge
}

func newGateTelemetry(meter metric.Meter) (gateTelemetry, error) {
	waits, err1 := meter.Float64Histogram("keyward.gate.waits", metric.WithUnit("s"),
		metric.WithDescription("How long calls waited at a vault's gate, of those that did, by reason."),
		metric.WithExplicitBucketBoundaries(0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60))
	refusals, err2 := meter.Int64Counter("keyward.gate.refusals",
		metric.WithDescription("Tries that a vault's gate did not let pass, by reason: budget, throttled, breaker or retries."))
	state, err3 := meter.Int64ObservableGauge("keyward.gate.state",
		metric.WithDescription("What a vault's gate is: 0 open, 1 closed because the vault throttles, 2 closed because it fails."))
	return gateTelemetry{waits: waits, refusals: refusals, state: state}, errors.Join(err1, err2, err3)
}

// watchGate tells what a gate is, until the end of the registration.
func (t *telemetry) watchGate(meter metric.Meter, g *gate) (metric.Registration, error) {
	as := metric.WithAttributes(t.vault)
	return meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(t.gate.state, int64(g.is()), as)
		return nil
	}, t.gate.state)
}

// gateWaits are those of one call, all its tries together.
type gateWaits struct {
	telemetry *telemetry
	waited    time.Duration
}

func (w *gateWaits) add(ctx context.Context, p pass, refused *broker.Error) {
	if p.reason == "" {
		return
	}
	w.waited += p.waited
	trace.SpanFromContext(ctx).SetAttributes(
		attribute.Int64("keyward.gate.waited_ms", w.waited.Milliseconds()),
		attribute.String("keyward.gate.reason", p.reason))
	if p.waited > 0 {
		w.telemetry.gate.waits.Record(ctx, p.waited.Seconds(), w.telemetry.why(p.reason))
	}
	if refused != nil {
		w.telemetry.gate.refusals.Add(ctx, 1, w.telemetry.why(p.reason))
	}
}

// refuse tells of a try that is not made.
func (w *gateWaits) refuse(ctx context.Context, reason string) {
	trace.SpanFromContext(ctx).SetAttributes(attribute.String("keyward.gate.reason", reason))
	w.telemetry.gate.refusals.Add(ctx, 1, w.telemetry.why(reason))
}

func (t *telemetry) why(reason string) metric.MeasurementOption {
	return metric.WithAttributes(t.vault, attribute.String("reason", reason))
}
