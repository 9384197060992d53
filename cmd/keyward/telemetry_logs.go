package main

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	otellog "go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"

	"github.com/keyward/keyward/broker"
)

const auditScope = "github.com/keyward/keyward/broker/audit"

// auditMirror sends the audit log's lines to a collector. It never waits: what
// the queue has no room for, and what the collector does not take, is lost there
// and counted. The file is the record.
type auditMirror struct {
	logger otellog.Logger
	count  metric.Int64Counter
}

var (
	offered = metric.WithAttributeSet(attribute.NewSet(attribute.String("result", "offered")))
	sent    = metric.WithAttributeSet(attribute.NewSet(attribute.String("result", "sent")))
	failed  = metric.WithAttributeSet(attribute.NewSet(attribute.String("result", "failed")))
)

// newAuditMirror begins to export logs. The telemetry's close ends it.
func (t *telemetry) newAuditMirror(ctx context.Context, env func(string) string) (*auditMirror, error) {
	protocol, ok, err := otlpProtocol(env, "LOGS")
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errors.New("audit.otlp: there is no collector; name one with OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, or leave audit.otlp out")
	}
	var exporter sdklog.Exporter
	if protocol == "grpc" {
		exporter, err = otlploggrpc.New(ctx)
	} else {
		exporter, err = otlploghttp.New(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("telemetry: logs: %w", err)
	}
	count, err := t.metrics.Meter(auditScope).Int64Counter("keyward.audit.otlp",
		metric.WithDescription("Audit records for the collector, by result: offered, sent, failed. What was offered and is neither waits or was dropped; the file has all."))
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	t.logs = sdklog.NewLoggerProvider(
		sdklog.WithResource(t.resource),
		sdklog.WithProcessor(sdklog.NewBatchProcessor(countingExporter{exporter, count})),
	)
	return &auditMirror{logger: t.logs.Logger(auditScope), count: count}, nil
}

// tell is audit.Config.Mirror. The body is the line, so that what the collector
// keeps is a chain that can be verified; the attributes are to search by.
func (m *auditMirror) tell(ctx context.Context, line []byte, e broker.Event) {
	var r otellog.Record
	r.SetEventName("keyward.audit")
	r.SetTimestamp(e.Time)
	r.SetSeverity(otellog.SeverityInfo)
	decision := "allow"
	if !e.Decision.Allowed {
		decision = "deny"
		r.SetSeverity(otellog.SeverityWarn)
	}
	r.SetBody(attribute.StringValue(string(line)))
	r.AddAttributes(
		attribute.String("keyward.principal", e.Caller.ID),
		attribute.String("keyward.action", string(e.Action)),
		attribute.String("keyward.resource", e.Resource.String()),
		attribute.String("keyward.decision", decision),
		attribute.String("keyward.outcome", e.Outcome),
	)
	m.logger.Emit(ctx, r)
	m.count.Add(ctx, 1, offered)
}

// countingExporter counts what became of records.
type countingExporter struct {
	sdklog.Exporter

	count metric.Int64Counter
}

func (x countingExporter) Export(ctx context.Context, records []sdklog.Record) error {
	err := x.Exporter.Export(ctx, records)
	result := sent
	if err != nil {
		result = failed
	}
	x.count.Add(ctx, int64(len(records)), result)
	return err
}
