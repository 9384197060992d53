package keyvault_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/keyvault"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
)

const azureURL = "https://pay.vault.azure.net"

// publishedVault is one that throttles as Key Vault's documentation says, and
// counts what it answers by status.
type publishedVault struct {
	handler  http.Handler
	mu       sync.Mutex
	byStatus map[int]int
}

func newPublishedVault(t *testing.T, names int) *publishedVault {
	t.Helper()
	store := brokertest.NewSecretStore(vaultName(t))
	for i := range names {
		if _, err := store.SetSecret(t.Context(), secretNamed(t, fmt.Sprint("s-", i)), broker.NewSecret{Value: broker.NewValue("v"), Enabled: true}); err != nil {
			t.Fatal(err)
		}
	}
	return &publishedVault{byStatus: map[int]int{}, handler: vaulthttp.New(vaulthttp.Config{
		Vault: vaultName(t), Secrets: store, Tokens: verifier(testToken),
		Simulate: vaulthttp.Simulation{Throttle: true, Latency: 20 * time.Millisecond},
	})}
}

func (v *publishedVault) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	v.handler.ServeHTTP(w, r)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.byStatus[w.Code]++
	return w.Result(), nil
}

func (v *publishedVault) answered(status int) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.byStatus[status]
}

// as returns ctx with an errand and a deadline.
func as(t *testing.T, principal string, u broker.Urgency, deadline time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return broker.WithErrand(ctx, broker.Errand{Principal: principal, Urgency: u})
}

// After a 429 that says five seconds, 200 callers come. The vault is not asked
// before, and then by one of them.
func TestGateAfterThrottling(t *testing.T) {
	tests := map[string]struct {
		deadline time.Duration
		refuses  int // requests that the vault throttles
		most     int // calls, the first included
		served   bool
	}{
		"who cannot wait":                 {deadline: 4 * time.Second, refuses: 1000, most: 1},
		"throttled again":                 {deadline: 8 * time.Second, refuses: 1000, most: 2},
		"at its best again":               {deadline: 8 * time.Second, refuses: 1, most: 201, served: true},
		"at its best again, no more time": {deadline: 5 * time.Second, refuses: 1, most: 1},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var at []time.Time
				c := newClient(t, keyvault.Config{URL: azureURL, Transport: exchange(func(r *http.Request) (*http.Response, error) {
					mu.Lock()
					at = append(at, time.Now())
					n := len(at)
					mu.Unlock()
					time.Sleep(50 * time.Millisecond)
					if n <= tt.refuses {
						return status(429, "Retry-After", "5")()
					}
					return answer(r), nil
				})})
				name := secretNamed(t, "db")
				_, err := c.GetSecret(as(t, "first", 0, time.Second), name)
				wantCode(t, err, broker.CodeVaultThrottled)
				closed := time.Now()
				var wg sync.WaitGroup
				for i := range 200 {
					wg.Go(func() {
						began := time.Now()
						_, err := c.GetSecret(as(t, fmt.Sprint(i%7), 0, tt.deadline), name)
						if tt.served {
							if err != nil {
								t.Error(err)
							}
							return
						}
						if wantCode(t, err, broker.CodeVaultThrottled); broker.AsError(err).RetryAfter < time.Second {
							t.Errorf("retry after %v", broker.AsError(err).RetryAfter)
						}
						if took := time.Since(began); tt.most == 1 && took != 0 {
							t.Errorf("told after %v, want at once", took)
						}
					})
				}
				wg.Wait()
				if len(at) > tt.most {
					t.Errorf("%d calls, want at most %d", len(at), tt.most)
				}
				for i, when := range at[1:] {
					if since := when.Sub(closed); since < 5*time.Second {
						t.Errorf("call %d came %v after the throttling", i+2, since)
					}
				}
				if tt.served && (len(at) < 3 || at[2].Sub(at[1]) < 50*time.Millisecond) {
					t.Error("the second was sent before the probe was answered")
				}
			})
		})
	}
}

// Nobody knows anything yet, and everybody asks for all: the vault throttles
// nobody, and everybody is served.
func TestGateColdStart(t *testing.T) {
	const names, callers = 5000, 500
	synctest.Test(t, func(t *testing.T) {
		v := newPublishedVault(t, names)
		c := newClient(t, keyvault.Config{URL: azureURL, Transport: v})
		var next, failures atomic.Int64
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				for n := next.Add(1) - 1; n < names; n = next.Add(1) - 1 {
					if _, err := c.GetSecret(as(t, fmt.Sprint("p-", i), 0, 10*time.Second), secretNamed(t, fmt.Sprint("s-", n))); err != nil {
						failures.Add(1)
					}
				}
			})
		}
		began := time.Now()
		wg.Wait()
		if v.answered(429) != 0 || v.answered(200) != names || failures.Load() != 0 {
			t.Errorf("%d served, %d throttled, %d failures; want %d, 0, 0", v.answered(200), v.answered(429), failures.Load(), names)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %v: the gate gives too little", took)
		}
	})
}

// Writes have a tenth of what reads have, and less.
func TestGateKnowsWhatCallsCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newPublishedVault(t, 0)
		c := newClient(t, keyvault.Config{URL: azureURL, Transport: v})
		var wg sync.WaitGroup
		for i := range 700 {
			wg.Go(func() {
				if _, err := c.SetSecret(as(t, "p", 0, time.Minute), secretNamed(t, fmt.Sprint("s-", i)), broker.NewSecret{Value: broker.NewValue("v")}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if v.answered(429) != 0 || v.answered(200) != 700 {
			t.Errorf("%d answered and %d throttled, want 700 and 0", v.answered(200), v.answered(429))
		}
	})
}

// While a scan has more to ask than the vault can give, who waits for an answer
// gets it at once, and the scan goes on.
func TestGateScan(t *testing.T) {
	const names = 5000
	synctest.Test(t, func(t *testing.T) {
		v := newPublishedVault(t, names)
		c := newClient(t, keyvault.Config{URL: azureURL, Transport: v})
		var scanned atomic.Int64
		var wg sync.WaitGroup
		for i := range names {
			wg.Go(func() {
				if _, err := c.GetSecret(as(t, "scanner", broker.UrgencyScan, time.Minute), secretNamed(t, fmt.Sprint("s-", i))); err != nil {
					t.Error(err)
				}
				scanned.Add(1)
			})
		}
		synctest.Wait()
		var burst sync.WaitGroup
		for i := range 300 {
			burst.Go(func() {
				began := time.Now()
				_, err := c.GetSecret(as(t, "user", 0, time.Second), secretNamed(t, fmt.Sprint("s-", i)))
				if took := time.Since(began); err != nil || took > 25*time.Millisecond {
					t.Errorf("%v after %v beside a scan, of 300 at once", err, took)
				}
			})
		}
		burst.Wait()
		for i := range 500 {
			began := time.Now()
			if _, err := c.GetSecret(as(t, "user", 0, time.Second), secretNamed(t, fmt.Sprint("s-", i))); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 25*time.Millisecond {
				t.Fatalf("read %d took %v beside a scan, want the vault's 20ms", i, took)
			}
		}
		if n := scanned.Load(); n == 0 || n == names {
			t.Errorf("%d of %d scanned meanwhile", n, names)
		}
		wg.Wait()
		if v.answered(429) != 0 {
			t.Errorf("%d throttled", v.answered(429))
		}
	})
}

// Interactive callers who want more than there is do not stop a scan.
func TestGateScanIsNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newPublishedVault(t, 1)
		c := newClient(t, keyvault.Config{URL: azureURL, Transport: v})
		name := secretNamed(t, "s-0")
		var wg sync.WaitGroup
		for range 8000 {
			wg.Go(func() { _, _ = c.GetSecret(as(t, "user", 0, time.Minute), name) })
		}
		synctest.Wait()
		for range 10 {
			if _, err := c.GetSecret(as(t, "scanner", broker.UrgencyScan, time.Minute), name); err != nil {
				t.Fatal(err)
			}
		}
		if v.answered(200) > 4000 {
			t.Errorf("ten calls of a scan went after %d others", v.answered(200))
		}
		wg.Wait()
	})
}

// One principal has a thousand calls waiting. Another's single one, and of each
// urgency, goes with the next.
func TestGateIsFair(t *testing.T) {
	for _, u := range []broker.Urgency{broker.UrgencyInteractive, broker.UrgencyRefresh, broker.UrgencyScan} {
		synctest.Test(t, func(t *testing.T) {
			v := newPublishedVault(t, 1)
			c := newClient(t, keyvault.Config{URL: azureURL, Transport: v})
			name := secretNamed(t, "s-0")
			var wg sync.WaitGroup
			for range 1000 + 800 {
				wg.Go(func() { _, _ = c.GetSecret(as(t, "greedy", u, time.Minute), name) })
			}
			synctest.Wait()
			time.Sleep(100 * time.Millisecond)
			before := v.answered(200)
			// It has no time for a thousand others, and needs none.
			if _, err := c.GetSecret(as(t, "modest", u, 200*time.Millisecond), name); err != nil {
				t.Error(err)
			}
			// 240 a second go, and the vault takes 20 ms.
			if n := v.answered(200) - before; n > 15 {
				t.Errorf("urgency %d: %d calls went before", u, n)
			}
			wg.Wait()
		})
	}
}

// A budget that cannot serve a call in time says so at once.
func TestGateRefusesWhatCannotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newPublishedVault(t, 1)
		c := newClient(t, keyvault.Config{URL: "https://127.0.0.1", Transport: v, Budget: keyvault.Budget{Share: 0.8, Replicas: 2}})
		name := secretNamed(t, "s-0")
		var wg sync.WaitGroup
		for range 400 + 120*10 {
			wg.Go(func() { _, _ = c.GetSecret(as(t, "p", 0, time.Minute), name) })
		}
		synctest.Wait()
		began := time.Now()
		_, err := c.GetSecret(as(t, "p", 0, 5*time.Second), name)
		wantCode(t, err, broker.CodeVaultThrottled)
		if after := broker.AsError(err).RetryAfter.Round(100 * time.Millisecond); after != 10*time.Second || time.Since(began) != 0 {
			t.Errorf("told after %v to come in %v; want at once, 10s", time.Since(began), after)
		}
		wg.Wait()
	})
}

// A vault that is down gets one probe in ten seconds, and its callers an answer
// at once.
func TestBreaker(t *testing.T) {
	for label, fail := range map[string]func() (*http.Response, error){"503": status(503), "reset": reset} {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				down, calls := true, 0
				c := newClient(t, keyvault.Config{URL: azureURL, Transport: exchange(func(r *http.Request) (*http.Response, error) {
					if calls++; down {
						return fail()
					}
					return answer(r), nil
				})})
				get := func() error {
					_, err := c.GetSecret(as(t, "p", 0, 5*time.Second), secretNamed(t, "db"))
					return err
				}
				for range 2 {
					wantCode(t, get(), broker.CodeVaultUnavailable)
				}
				if calls != 5 {
					t.Fatalf("%d calls open the breaker, want 5", calls)
				}
				calls = 0
				for range 595 { // one a 100 ms, for a minute less what is left of this ten seconds
					began := time.Now()
					err := get()
					wantCode(t, err, broker.CodeVaultUnavailable)
					if after := broker.AsError(err).RetryAfter; time.Since(began) != 0 || after < time.Second || after > 10*time.Second {
						t.Fatalf("told after %v to come in %v", time.Since(began), after)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if calls != 5 {
					t.Errorf("%d probes in a minute, want 5", calls)
				}
				down = false
				time.Sleep(10 * time.Second)
				for range 10 {
					if err := get(); err != nil {
						t.Fatal(err)
					}
				}
			})
		})
	}
}

// A connection that is lost fails all the calls on it. That is one failure, and
// the breaker stays closed.
func TestBreakerCountsALostConnectionOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		c := newClient(t, keyvault.Config{URL: azureURL, Transport: exchange(func(r *http.Request) (*http.Response, error) {
			n := calls.Add(1)
			if time.Sleep(100 * time.Millisecond); n <= 8 {
				return reset()
			}
			return answer(r), nil
		})})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := c.GetSecret(as(t, "p", 0, 5*time.Second), secretNamed(t, "db")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

// Whatever a vault does that answers nothing, its callers are back in time.
func TestGateHungVault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, keyvault.Config{URL: azureURL, Transport: exchange(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})})
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 40 * time.Millisecond)
				deadline := time.Duration(100+i*7%3000) * time.Millisecond
				began := time.Now()
				_, err := c.GetSecret(as(t, fmt.Sprint(i%5), broker.Urgency(i%3), deadline), secretNamed(t, "db"))
				if took := time.Since(began); err == nil || took > deadline+50*time.Millisecond {
					t.Errorf("%v after %v of %v", err, took, deadline)
				}
			})
		}
		wg.Wait()
	})
}

// A vault that fails now and then gets a tenth more calls than are made.
func TestRetryBudget(t *testing.T) {
	const made = 3000
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := newClient(t, keyvault.Config{URL: "https://127.0.0.1", Transport: exchange(func(r *http.Request) (*http.Response, error) {
			if calls++; calls%3 == 0 {
				return status(500)()
			}
			return answer(r), nil
		})})
		for range made {
			_, _ = c.GetSecret(as(t, "p", 0, 5*time.Second), secretNamed(t, "db"))
		}
		if most := made*11/10 + 10; calls > most || calls < made*108/100 {
			t.Errorf("%d calls, want at most %d, and nearly that", calls, most)
		}
	})
}

// A call's span and the metrics say that it waited, and why.
func TestGateTelemetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewSpanRecorder()
		tp := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
		reader := metric.NewManualReader()
		vault, _ := failing(1, status(429, "Retry-After", "3"))
		c := newClient(t, keyvault.Config{
			URL: azureURL, Transport: vault, TracerProvider: tp,
			MeterProvider: metric.NewMeterProvider(metric.WithReader(reader)),
		})
		name := secretNamed(t, "db")
		get := func(deadline time.Duration, want ...attribute.KeyValue) {
			t.Helper()
			_, _ = c.GetSecret(as(t, "p", 0, deadline), name)
			ended := spans.Ended()
			got := attribute.NewSet(ended[len(ended)-1].Attributes()...)
			for _, kv := range want {
				if v, ok := got.Value(kv.Key); !ok || v != kv.Value {
					t.Errorf("%s is %v, want %v", kv.Key, v.String(), kv.Value.String())
				}
			}
			if _, ok := got.Value("keyward.gate.reason"); ok != (len(want) > 0) {
				t.Error("a reason for no wait, or none for one")
			}
		}
		reason := attribute.String("keyward.gate.reason", "throttled")
		get(time.Second)
		if n := gaugeOf(t, reader, "keyward.gate.state"); n != 1 {
			t.Errorf("the gate's state is %d, want 1", n)
		}
		get(time.Second, reason, attribute.Int("keyward.gate.waited_ms", 0))
		get(time.Minute, reason, attribute.Int("keyward.gate.waited_ms", 3000))
		get(time.Second)
		if n := gaugeOf(t, reader, "keyward.gate.state"); n != 0 {
			t.Errorf("the gate's state is %d, want 0", n)
		}
		if n := sum(t, reader, "keyward.gate.refusals", attribute.String("reason", "throttled")); n != 1 {
			t.Errorf("%d refusals, want 1", n)
		}
	})
}

func gaugeOf(t *testing.T, r *metric.ManualReader, name string) int64 {
	t.Helper()
	for _, scope := range collect(t, r).ScopeMetrics {
		for _, m := range scope.Metrics {
			if data, ok := m.Data.(metricdata.Gauge[int64]); ok && m.Name == name {
				return data.DataPoints[0].Value
			}
		}
	}
	t.Fatalf("no gauge %s", name)
	return 0
}
