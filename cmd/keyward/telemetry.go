package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// flushTimeout bounds what a collector that is gone can cost at shutdown.
const flushTimeout = 3 * time.Second

// telemetry is where traces and metrics go: metrics to /metrics always, and
// both to a collector where the standard OTEL_EXPORTER_OTLP_* variables name
// one. Export is in the background, with bounded queues: a collector that is
// down costs data, not calls.
type telemetry struct {
	traces  *sdktrace.TracerProvider
	metrics *sdkmetric.MeterProvider
	page    http.Handler // GET /metrics
	// logs are the audit log's, where audit.otlp asks for them; or nil.
	logs     *sdklog.LoggerProvider
	resource *resource.Resource
}

func newTelemetry(ctx context.Context, env func(string) string, log *slog.Logger) (*telemetry, error) {
	version, _ := buildVersion()
	res, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "keyward"), attribute.String("service.version", version)),
		resource.WithFromEnv(), // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win
	)
	if err != nil {
		return nil, fmt.Errorf("telemetry: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.WarnContext(ctx, "telemetry could not be exported", "error", err)
	}))

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	prom, err := otelprom.New(otelprom.WithRegisterer(registry), otelprom.WithoutScopeInfo())
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	metricOpts := []sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithReader(prom)}
	traceOpts := []sdktrace.TracerProviderOption{sdktrace.WithResource(res)}

	if protocol, ok, err := otlpProtocol(env, "METRICS"); err != nil {
		return nil, err
	} else if ok {
		var exp sdkmetric.Exporter
		if protocol == "grpc" {
			exp, err = otlpmetricgrpc.New(ctx)
		} else {
			exp, err = otlpmetrichttp.New(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("telemetry: metrics: %w", err)
		}
		metricOpts = append(metricOpts, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exp)))
	}
	if protocol, ok, err := otlpProtocol(env, "TRACES"); err != nil {
		return nil, err
	} else if ok {
		var exp sdktrace.SpanExporter
		if protocol == "grpc" {
			exp, err = otlptracegrpc.New(ctx)
		} else {
			exp, err = otlptracehttp.New(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("telemetry: traces: %w", err)
		}
		traceOpts = append(traceOpts, sdktrace.WithBatcher(exp))
	} else {
		// Nobody would see them, but trace ids still reach the audit record of
		// callers that send one.
		traceOpts = append(traceOpts, sdktrace.WithSampler(sdktrace.NeverSample()))
	}
	return &telemetry{
		traces:  sdktrace.NewTracerProvider(traceOpts...),
		metrics: sdkmetric.NewMeterProvider(metricOpts...),
		page:    promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),

		resource: res,
	}, nil
}

// otlpProtocol tells whether a signal ("TRACES", "METRICS") is exported, and
// how: grpc or http/protobuf, the specification's default.
func otlpProtocol(env func(string) string, signal string) (protocol string, enabled bool, err error) {
	first := func(suffix string) string {
		if v := env("OTEL_EXPORTER_OTLP_" + signal + "_" + suffix); v != "" {
			return v
		}
		return env("OTEL_EXPORTER_OTLP_" + suffix)
	}
	if env("OTEL_SDK_DISABLED") == "true" || first("ENDPOINT") == "" {
		return "", false, nil
	}
	switch exporter := env("OTEL_" + signal + "_EXPORTER"); exporter {
	case "none":
		return "", false, nil
	case "", "otlp":
	default:
		return "", false, fmt.Errorf("telemetry: OTEL_%s_EXPORTER=%s: want otlp or none", signal, exporter)
	}
	switch protocol := first("PROTOCOL"); protocol {
	case "", "http/protobuf":
		return "http/protobuf", true, nil
	case "grpc":
		return "grpc", true, nil
	default:
		return "", false, fmt.Errorf("telemetry: OTEL_EXPORTER_OTLP_PROTOCOL=%s: want grpc or http/protobuf", protocol)
	}
}

// close exports what is left.
func (t *telemetry) close(log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	err := t.traces.Shutdown(ctx)
	if t.logs != nil {
		err = errors.Join(err, t.logs.Shutdown(ctx))
	}
	if err := errors.Join(err, t.metrics.Shutdown(ctx)); err != nil {
		log.Warn("the last telemetry could not be exported", "error", err)
	}
}
