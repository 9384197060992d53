package service

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// What is told of each call, over gRPC and REST alike. The warm call pays for it, so
// what can be made once is, and an unsampled span is given nothing to keep; the
// libraries' own instrumentation cost more than the rest of the call.

// serverSpan is how the span of a call starts.
var serverSpan = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}

// startSpan starts the span of a call that came with the headers in from.
func (s *Server) startSpan(ctx context.Context, from propagation.TextMapCarrier, name string) (context.Context, trace.Span) {
	return s.tracer.Start(s.propagator.Extract(ctx, from), name, serverSpan...) //nolint:spancheck // observe ends it
}

// noSpan is that of what is not traced.
var noSpan trace.Span = noop.Span{}

// observe counts and times c, which ends, and ends its span.
func (s *Server) observe(c *call) {
	s.metrics.observe(c)
	if c.span.IsRecording() {
		c.span.SetAttributes(attribute.String("rpc.response.status_code", codeName(c.code)))
		if c.code == codes.Internal || c.code == codes.Unavailable {
			c.span.SetStatus(otelcodes.Error, codeName(c.code))
		}
	}
	c.span.End()
}

// incoming carries the headers of a gRPC call, of which nothing is copied that
// nobody asks for.
type incoming struct {
	ctx context.Context //nolint:containedctx // grpc-go has the headers in it
}

// Get implements propagation.TextMapCarrier.
func (i incoming) Get(key string) string {
	if v := metadata.ValueFromIncomingContext(i.ctx, key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Set implements propagation.TextMapCarrier. These headers are only read.
func (incoming) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (i incoming) Keys() []string {
	md, _ := metadata.FromIncomingContext(i.ctx)
	keys := make([]string, 0, len(md))
	for k := range md {
		keys = append(keys, k)
	}
	return keys
}

// callMetrics counts and times calls.
type callMetrics struct {
	duration metric.Float64Histogram
	// kinds are those that there have been: at most the methods, times the
	// transports, times the codes. Who adds one replaces the map.
	kinds  atomic.Pointer[map[callKind]*callCount]
	adding sync.Mutex
}

// callKind is how a call is counted.
type callKind struct {
	method, transport string
	code              codes.Code
}

// callCount counts the calls of a kind. The SDK asks for it when it exports; to tell
// it of each call would cost as much as all else that is measured.
type callCount struct {
	calls    atomic.Int64
	as       metric.MeasurementOption
	duration []metric.RecordOption
}

func newCallMetrics(mp metric.MeterProvider) (*callMetrics, error) {
	m := &callMetrics{}
	m.kinds.Store(&map[callKind]*callCount{})
	meter := mp.Meter(scope)
	_, err1 := meter.Int64ObservableCounter("keyward.calls",
		metric.WithDescription("Calls, by method, status code and transport."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			for _, n := range *m.kinds.Load() {
				o.Observe(n.calls.Load(), n.as)
			}
			return nil
		}))
	var err2 error
	m.duration, err2 = meter.Float64Histogram("keyward.call.duration",
		metric.WithUnit("s"),
		metric.WithDescription("The time from a call's arrival to its answer, by method and transport."),
		metric.WithExplicitBucketBoundaries(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10))
	return m, errors.Join(err1, err2)
}

// observe counts c. Its method is one that the server has, or noMethod: never what a
// client sent.
func (m *callMetrics) observe(c *call) {
	n := m.of(callKind{c.method, c.caller.Transport, c.code})
	n.calls.Add(1)
	m.duration.Record(c, time.Since(c.began).Seconds(), n.duration...)
}

func (m *callMetrics) of(k callKind) *callCount {
	if n, ok := (*m.kinds.Load())[k]; ok {
		return n
	}
	m.adding.Lock()
	defer m.adding.Unlock()
	now := *m.kinds.Load()
	if n, ok := now[k]; ok {
		return n
	}
	method, transport := attribute.String("method", k.method), attribute.String("transport", k.transport)
	n := &callCount{
		as:       metric.WithAttributeSet(attribute.NewSet(method, transport, attribute.String("code", codeName(k.code)))),
		duration: []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(method, transport))},
	}
	after := maps.Clone(now)
	after[k] = n
	m.kinds.Store(&after)
	return n
}

// codeName returns the name of a status code as google.rpc spells it, such as
// PERMISSION_DENIED.
func codeName(c codes.Code) string { return rpccode.Code(c).String() } //nolint:gosec // 0 to 16
