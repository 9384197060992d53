package keyvault_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/keyward/keyward/broker/keyvault"
)

func TestTelemetry(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tp := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	reader := metric.NewManualReader()
	mp := metric.NewMeterProvider(metric.WithReader(reader))
	var parent string
	var failed bool
	url, roots := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parent = r.Header.Get("Traceparent")
		if !failed {
			failed = true
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprint(w, bundle("db-password"))
	}), true)
	var log bytes.Buffer
	cache := newCache(t, &tokens{}, keyvault.TokenCacheConfig{Logger: debugLog(&log), TracerProvider: tp, MeterProvider: mp})
	c := newClient(t, keyvault.Config{URL: url, RootCAs: roots, Tokens: cache, Logger: debugLog(&log), TracerProvider: tp, MeterProvider: mp})
	ctx, root := tp.Tracer("test").Start(t.Context(), "root")
	if _, err := c.GetSecret(ctx, secretNamed(t, "db-password")); err != nil {
		t.Fatal(err)
	}
	root.End()

	all := spans.Ended()
	i := slices.IndexFunc(all, func(s trace.ReadOnlySpan) bool { return s.Name() == "keyvault GetSecret" })
	if i < 0 {
		t.Fatalf("no span of the call among %d", len(all))
	}
	span := all[i]
	if span.SpanKind() != oteltrace.SpanKindClient || span.Parent().SpanID() != root.SpanContext().SpanID() {
		t.Error("the span is not a client's below the caller's")
	}
	if !strings.Contains(parent, span.SpanContext().TraceID().String()) || !strings.Contains(parent, span.SpanContext().SpanID().String()) {
		t.Errorf("traceparent %q is not the span's", parent)
	}
	for _, want := range []attribute.KeyValue{
		attribute.String("keyward.vault", "pay"), attribute.String("http.request.method", "GET"),
		attribute.Int("http.response.status_code", 200), attribute.Int("http.request.resend_count", 1),
	} {
		if !slices.Contains(span.Attributes(), want) {
			t.Errorf("the span lacks %v: %v", want, span.Attributes())
		}
	}
	if !slices.ContainsFunc(all, func(s trace.ReadOnlySpan) bool { return s.Name() == "keyvault AcquireToken" }) {
		t.Error("no span of the token's acquisition")
	}

	if got := sum(t, reader, "keyward.vault.calls", attribute.String("status", "200")); got != 1 {
		t.Errorf("%d calls of status 200, want 1", got)
	}
	if got := sum(t, reader, "keyward.vault.calls", attribute.String("status", "503")); got != 1 {
		t.Errorf("%d calls of status 503, want 1", got)
	}
	if got := sum(t, reader, "keyward.token.refreshes", attribute.String("result", "ok")); got != 1 {
		t.Errorf("%d refreshes, want 1", got)
	}
	if got := sum(t, reader, "keyward.pool.connections", attribute.String("vault", "pay")); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}

	told := log.String() + fmt.Sprintf("%+v", collect(t, reader))
	for _, s := range all {
		told += s.Name() + fmt.Sprint(s.Attributes(), s.Events(), s.Status())
	}
	for _, secret := range []string{canary, testToken, "db-password", url} {
		if strings.Contains(told, secret) {
			t.Errorf("telemetry or log tells %q", secret)
		}
	}
}

func collect(t *testing.T, r *metric.ManualReader) metricdata.ResourceMetrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// sum returns the total of a counter's points that have the attribute.
func sum(t *testing.T, r *metric.ManualReader, name string, with attribute.KeyValue) int64 {
	t.Helper()
	var total int64
	for _, scope := range collect(t, r).ScopeMetrics {
		for _, m := range scope.Metrics {
			data, ok := m.Data.(metricdata.Sum[int64])
			if m.Name != name || !ok {
				continue
			}
			for _, p := range data.DataPoints {
				if v, ok := p.Attributes.Value(with.Key); ok && v == with.Value {
					total += p.Value
				}
			}
		}
	}
	return total
}
