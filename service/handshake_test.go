package service_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// A client whose certificate is of another CA gets no further than the
// handshake, over either transport; that it was there is counted and logged. A
// probe that connects and leaves is neither.
func TestFailedHandshakesAreSeen(t *testing.T) {
	w := newWorld(t)
	cert := newAuthority(t).issue(t, clientLeaf("spiffe://example.org/billing"))
	foreign := w.tls(identity{})
	foreign.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	for address, protocol := range map[string]string{w.grpcAddr: "h2", w.httpAddr: "http/1.1"} {
		probe, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		probe.Close()

		conf := foreign.Clone()
		conf.NextProtos = []string{protocol}
		conn, err := tls.Dial("tcp", address, conf)
		if err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			_, err = conn.Read(make([]byte, 1)) // the refusal comes behind the handshake
			conn.Close()
		}
		if err == nil {
			t.Errorf("%s took a foreign certificate", protocol)
		}
	}
	failed := func() map[string]int64 {
		var all metricdata.ResourceMetrics
		if err := w.meters.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for _, sm := range all.ScopeMetrics {
			for _, m := range sm.Metrics {
				if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "keyward.handshakes.failed" {
					for _, p := range sum.DataPoints {
						got[labels(p.Attributes, "transport")] += p.Value
					}
				}
			}
		}
		return got
	}
	logged := func() int { return strings.Count(w.logs.String(), "a TLS handshake failed") }
	// The server's side of a refusal ends after the client's, and logs what it
	// has counted.
	for deadline := time.Now().Add(patience); logged() < 2 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if got := failed(); got["grpc"] != 1 || got["rest"] != 1 {
		t.Errorf("counted %v, want one of each", got)
	}
	if n := logged(); n != 2 {
		t.Errorf("logged %d, want 2:\n%s", n, w.logs)
	}
}
