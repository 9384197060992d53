package main

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/keyward/keyward/service"
)

// measureReady shows what /readyz says as a metric too, check by check: an alert
// can then say which one failed.
func measureReady(mp metric.MeterProvider, checks []service.Check) error {
	_, err := mp.Meter("github.com/keyward/keyward/cmd/keyward").Int64ObservableGauge("keyward.ready",
		metric.WithDescription("1 while a check of /readyz passes, else 0."),
		metric.WithInt64Callback(func(ctx context.Context, o metric.Int64Observer) error {
			for _, c := range checks {
				passed := int64(1)
				if c.Ready(ctx) != nil {
					passed = 0
				}
				o.Observe(passed, metric.WithAttributes(attribute.String("check", c.Name)))
			}
			return nil
		}))
	return err
}
