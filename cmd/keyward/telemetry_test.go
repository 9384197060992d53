package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	collectmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collecttraces "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// collector is an OTLP receiver on loopback.
type collector struct {
	collecttraces.UnimplementedTraceServiceServer
	address string

	mu    sync.Mutex
	spans []*tracepb.Span
	names map[string]bool // of metrics
	raw   bytes.Buffer    // everything that was received
}

// metricsCollector is the same for metrics: the two services' methods share a
// name.
type metricsCollector struct {
	collectmetrics.UnimplementedMetricsServiceServer
	*collector
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{address: ln.Addr().String(), names: map[string]bool{}}
	s := grpc.NewServer()
	collecttraces.RegisterTraceServiceServer(s, c)
	collectmetrics.RegisterMetricsServiceServer(s, metricsCollector{collector: c})
	go s.Serve(ln)
	t.Cleanup(s.Stop)
	return c
}

// env makes a process export to the collector.
func (c *collector) env() []string {
	return []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + c.address,
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
	}
}

func (c *collector) Export(_ context.Context, r *collecttraces.ExportTraceServiceRequest) (*collecttraces.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(r)
	for _, rs := range r.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			c.spans = append(c.spans, ss.GetSpans()...)
		}
	}
	return &collecttraces.ExportTraceServiceResponse{}, nil
}

func (m metricsCollector) Export(_ context.Context, r *collectmetrics.ExportMetricsServiceRequest) (*collectmetrics.ExportMetricsServiceResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep(r)
	for _, rm := range r.GetResourceMetrics() {
		for _, sm := range rm.GetScopeMetrics() {
			for _, metric := range sm.GetMetrics() {
				m.names[metric.GetName()] = true
			}
		}
	}
	return &collectmetrics.ExportMetricsServiceResponse{}, nil
}

func (c *collector) keep(m proto.Message) {
	if b, err := proto.Marshal(m); err == nil {
		c.raw.Write(b)
	}
}

// One cold Get, called within a caller's trace, is one tree: the server's span
// under the caller's, and under it the decision, the vault call and the record.
// Nothing in it names the secret.
func TestTracesAndMetricsOfAGet(t *testing.T) {
	const (
		object    = "db-password-of-the-trace-test"
		traceID   = "4bf92f3577b34da6a3ce929d0e0e4736"
		callersID = "00f067aa0ba902b7"
	)
	otlp := startCollector(t)
	p := startDev(t, filepath.Join(t.TempDir(), "data"), otlp.env()...)
	c := p.secrets()
	if err := set(t.Context(), c, object, "value"); err != nil {
		t.Fatal(err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+traceID+"-"+callersID+"-01")
	if _, err := c.GetSecret(ctx, &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/" + object}); err != nil {
		t.Fatal(err)
	}
	if status, body := p.rest("GET", "/v1/vaults/dev/secrets/"+object, p.token("billing"), ""); status != 403 {
		t.Fatal(status, body)
	}
	if err := p.stop(syscall.SIGTERM); err != nil { // flushes
		t.Fatalf("%v\n%s", err, p.err)
	}

	otlp.mu.Lock()
	defer otlp.mu.Unlock()
	var got []string
	byID := map[string]*tracepb.Span{}
	for _, s := range otlp.spans {
		byID[string(s.GetSpanId())] = s
	}
	for _, s := range otlp.spans {
		if strings.Contains(s.String(), object) {
			t.Errorf("the span %s names the secret", s.GetName())
		}
		if hex.EncodeToString(s.GetTraceId()) != traceID {
			continue
		}
		parent := "caller"
		if hex.EncodeToString(s.GetParentSpanId()) != callersID {
			parent = byID[string(s.GetParentSpanId())].GetName()
		}
		got = append(got, parent+" > "+s.GetName()+" "+strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_")))
	}
	slices.Sort(got)
	want := []string{
		"caller > keyward.v1.SecretService/GetSecret server",
		"keyward.v1.SecretService/GetSecret > audit.record internal",
		"keyward.v1.SecretService/GetSecret > keyvault GetSecret client",
		"keyward.v1.SecretService/GetSecret > policy.decide internal",
	}
	if !slices.Equal(got, want) {
		t.Errorf("spans of the caller's trace:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	for _, name := range []string{
		"keyward.calls", "keyward.call.duration", "keyward.decisions", "keyward.vault.calls",
		"keyward.vault.call.duration", "keyward.token.refreshes", "keyward.pool.connections",
	} {
		if !otlp.names[name] {
			t.Errorf("the metric %s was not exported", name)
		}
	}
	if bytes.Contains(otlp.raw.Bytes(), []byte(object)) {
		t.Error("the secret's name was exported")
	}
	var found bool
	for _, r := range p.audit() {
		found = found || r["trace"] == traceID
	}
	if !found {
		t.Error("no audit record carries the caller's trace")
	}
}
