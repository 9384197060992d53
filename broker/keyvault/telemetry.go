package keyvault

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/keyward/keyward/broker"
)

// telemetry is what a client tells of its calls: the operation, the vault's
// alias and how it went. Names of secrets, URLs and the vault's words stay out.
type telemetry struct {
	vault       attribute.KeyValue
	tracer      trace.Tracer
	calls       metric.Int64Counter
	duration    metric.Float64Histogram
	connections metric.Int64UpDownCounter
	gate        gateTelemetry
}

func newTelemetry(vault broker.Name, tp trace.TracerProvider, mp metric.MeterProvider) (*telemetry, error) {
	meter := mp.Meter(instrumentation)
	calls, err1 := meter.Int64Counter("keyward.vault.calls",
		metric.WithDescription("HTTP requests to vaults, by operation and status; retries count."))
	duration, err2 := meter.Float64Histogram("keyward.vault.call.duration", metric.WithUnit("s"),
		metric.WithDescription("How long HTTP requests to vaults took, the reply's body included."),
		metric.WithExplicitBucketBoundaries(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5))
	connections, err3 := meter.Int64UpDownCounter("keyward.pool.connections",
		metric.WithDescription("Open connections to vaults."))
	gate, err4 := newGateTelemetry(meter)
	return &telemetry{
		vault:       attribute.String("vault", vault.VaultAlias()),
		tracer:      tp.Tracer(instrumentation),
		calls:       calls,
		duration:    duration,
		connections: connections,
		gate:        gate,
	}, errors.Join(err1, err2, err3, err4)
}

// within performs a call in a span, which holds all its tries.
func (t *telemetry) within(ctx context.Context, k call, act func(context.Context) *broker.Error) *broker.Error {
	ctx, span := t.tracer.Start(ctx, "keyvault "+k.operation,
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(
			attribute.String("keyward.vault", t.vault.Value.AsString()),
			attribute.String("http.request.method", k.method),
		))
	defer span.End()
	err := act(ctx)
	if err != nil {
		markFailed(span, err)
	}
	return err
}

// tried records one HTTP request of a call. A status of 0 is none at all.
func (t *telemetry) tried(ctx context.Context, k call, try, status int, began time.Time) {
	text := "error"
	span := trace.SpanFromContext(ctx)
	if status != 0 {
		text = strconv.Itoa(status)
		span.SetAttributes(attribute.Int("http.response.status_code", status))
	}
	if try > 1 {
		span.SetAttributes(attribute.Int("http.request.resend_count", try-1))
	}
	as := metric.WithAttributeSet(attribute.NewSet(t.vault,
		attribute.String("operation", k.operation), attribute.String("status", text)))
	t.calls.Add(ctx, 1, as)
	t.duration.Record(ctx, time.Since(began).Seconds(), as)
}

// opened counts connections. They outlive the calls that open them.
func (t *telemetry) opened(delta int64) {
	t.connections.Add(context.Background(), delta, metric.WithAttributes(t.vault))
}

// propagate writes the W3C trace context into a request.
func propagate(ctx context.Context, h http.Header) {
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h))
}

// markFailed gives a span the code of an error. Its text is for the log.
func markFailed(span trace.Span, e *broker.Error) {
	span.SetAttributes(attribute.String("error.type", string(e.Code)))
	span.SetStatus(codes.Error, string(e.Code))
}
