package keyvault

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// poolTelemetry is what a pool tells of its connections. A nil one tells nothing.
type poolTelemetry struct {
	vault      attribute.KeyValue
	opened     func(delta int64)
	dials      metric.Int64Counter
	handshakes metric.Int64Counter
	duration   metric.Float64Histogram
	requests   metric.Int64Counter
}

func newPoolTelemetry(t *telemetry, mp metric.MeterProvider) (*poolTelemetry, error) {
	meter := mp.Meter(instrumentation)
	dials, err1 := meter.Int64Counter("keyward.pool.dials",
		metric.WithDescription("TCP connections to vaults that were attempted, by result."))
	handshakes, err2 := meter.Int64Counter("keyward.pool.handshakes",
		metric.WithDescription("TLS handshakes with vaults, by result and the protocol agreed on."))
	duration, err3 := meter.Float64Histogram("keyward.pool.handshake.duration", metric.WithUnit("s"),
		metric.WithDescription("How long TLS handshakes with vaults took."),
		metric.WithExplicitBucketBoundaries(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5))
	requests, err4 := meter.Int64Counter("keyward.pool.requests",
		metric.WithDescription("Requests that got a connection, by whether it had served another before."))
	return &poolTelemetry{
		vault: t.vault, opened: t.opened,
		dials: dials, handshakes: handshakes, duration: duration, requests: requests,
	}, errors.Join(err1, err2, err3, err4)
}

// dialed counts an attempt to connect. Connections outlive the calls that open
// them, and so nothing here belongs to a call.
func (t *poolTelemetry) dialed(err error) {
	if t == nil {
		return
	}
	t.dials.Add(context.Background(), 1, metric.WithAttributeSet(attribute.NewSet(t.vault, result(err))))
	if err == nil {
		t.opened(1)
	}
}

func (t *poolTelemetry) closed() {
	if t != nil {
		t.opened(-1)
	}
}

// watch returns r, told of by the transport that gets it.
func (t *poolTelemetry) watch(r *http.Request) *http.Request {
	if t == nil {
		return r
	}
	// A handshake that the transport gives up on may end before it has begun.
	var began atomic.Pointer[time.Time]
	return r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		TLSHandshakeStart: func() {
			now := time.Now()
			began.Store(&now)
		},
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			as := metric.WithAttributeSet(attribute.NewSet(t.vault, result(err), protocol(s, err)))
			t.handshakes.Add(context.Background(), 1, as)
			if b := began.Load(); b != nil {
				t.duration.Record(context.Background(), time.Since(*b).Seconds(), as)
			}
		},
		GotConn: func(c httptrace.GotConnInfo) {
			t.requests.Add(context.Background(), 1,
				metric.WithAttributeSet(attribute.NewSet(t.vault, attribute.Bool("reused", c.Reused))))
		},
	}))
}

func result(err error) attribute.KeyValue {
	if err != nil {
		return attribute.String("result", "error")
	}
	return attribute.String("result", "ok")
}

// protocol says what a handshake agreed on: without a word on it, HTTP/1.1.
func protocol(s tls.ConnectionState, err error) attribute.KeyValue {
	switch {
	case err != nil:
		return attribute.String("protocol", "none")
	case s.NegotiatedProtocol == "h2":
		return attribute.String("protocol", "h2")
	}
	return attribute.String("protocol", "http/1.1")
}
