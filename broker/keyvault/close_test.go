package keyvault

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/keyward/keyward/broker"
)

// A closed client has no connection, whether a call was using it or not, and shows
// nothing of the vault as it is now.
func TestClosedClient(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		var held atomic.Bool
		came := make(chan struct{}, 1)
		f := newFaulty(t, http2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if held.Load() {
				came <- struct{}{}
				<-r.Context().Done()
				return
			}
			_, _ = io.WriteString(w, faultsBundle)
		}))
		if err := f.get(t, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		held.Store(true)
		failed := make(chan error)
		go func() { failed <- f.get(t, 30*time.Second) }()
		<-came
		if n := f.sum(t, "keyward.pool.connections"); n < 1 {
			t.Errorf("%d connections before", n)
		}
		if !f.shows(t, "keyward.gate.state") {
			t.Error("the gate is not shown before")
		}
		f.client.Close()
		if err := <-failed; broker.CodeOf(err) != broker.CodeVaultUnavailable {
			t.Errorf("the call under way: %v", err)
		}
		if err := f.get(t, 30*time.Second); broker.CodeOf(err) != broker.CodeVaultUnavailable {
			t.Errorf("a call after it: %v", err)
		}
		if n := f.sum(t, "keyward.pool.connections"); n != 0 {
			t.Errorf("%d connections after", n)
		}
		if f.shows(t, "keyward.gate.state") {
			t.Error("the gate is shown after")
		}
	})
}

// shows reports whether there is a gauge with any point.
func (f *faulty) shows(t *testing.T, name string) bool {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := f.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if data, ok := m.Data.(metricdata.Gauge[int64]); ok && m.Name == name && len(data.DataPoints) > 0 {
				return true
			}
		}
	}
	return false
}
