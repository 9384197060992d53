package broker_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// That there is no such secret is known for a moment, and not behind a write.
func TestAbsenceIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCacheWorld(t, time.Minute)
		w.SecretCache = broker.NewSecretCache(w.store, broker.SecretCacheConfig{TTL: time.Minute, NegativeTTL: time.Second})
		n, err := w.name.Vault().Object(broker.KindSecrets, "absent")
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			after, within time.Duration
			calls         int
		}{
			{0, time.Hour, 1},
			{0, time.Hour, 1},
			{900 * time.Millisecond, time.Hour, 1},
			{0, 100 * time.Millisecond, 2},
			{0, 0, 3},
			{time.Second, time.Hour, 4},
			{0, time.Hour, 4},
		} {
			time.Sleep(step.after)
			if _, err := w.GetSecretWithin(t.Context(), n, step.within); broker.CodeOf(err) != broker.CodeSecretNotFound {
				t.Fatalf("%+v: %v", step, err)
			}
			if got := w.store.Calls(brokertest.GetSecret); got != step.calls {
				t.Errorf("%+v: %d calls", step, got)
			}
		}
		if _, err := w.SetSecret(t.Context(), n, broker.NewSecret{Value: broker.NewValue("v"), Enabled: true}); err != nil {
			t.Fatal(err)
		}
		if v, err := w.GetSecret(t.Context(), n); err != nil || v.Value.Reveal() != "v" {
			t.Errorf("behind a write: %v", err)
		}
		if _, err := w.DeleteSecret(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if _, err := w.GetSecret(t.Context(), n); broker.CodeOf(err) != broker.CodeSecretNotFound {
			t.Errorf("behind a delete: %v", err)
		}
		if _, err := w.RecoverSecret(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if v, err := w.GetSecret(t.Context(), n); err != nil || v.Value.Reveal() != "v" {
			t.Errorf("behind a recovery: %v", err)
		}
	})
}

// Names that are not there cost those that are nothing.
func TestAbsentNamesLeaveOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, all := warm(t, 500)
		for range 20 {
			for _, n := range all[:100] {
				missing, err := n.Vault().Object(broker.KindSecrets, "missing-"+n.ObjectName())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.GetSecret(t.Context(), missing); broker.CodeOf(err) != broker.CodeSecretNotFound {
					t.Fatal(err)
				}
			}
		}
		before := w.store.Calls(brokertest.GetSecret)
		for _, n := range all {
			if v, err := w.GetSecret(t.Context(), n); err != nil || !v.Cached {
				t.Fatalf("cached %v, %v", v.Cached, err)
			}
		}
		if n := w.store.Calls(brokertest.GetSecret) - before; n > 0 {
			t.Errorf("%d calls for what is kept", n)
		}
	})
}

func TestLookupsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCacheWorld(t, time.Minute)
		reader := sdkmetric.NewManualReader()
		c := calmConfig
		c.NegativeTTL, c.Vault, c.MeterProvider = time.Second, "pay", sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
		w.SecretCache = broker.NewSecretCache(w.store, c)
		absent, err := w.name.Vault().Object(broker.KindSecrets, "absent")
		if err != nil {
			t.Fatal(err)
		}
		w.get(t, "first", false)                         // miss
		_, _ = w.GetSecret(t.Context(), absent)          // miss
		_, _ = w.GetSecret(t.Context(), absent)          // negative
		w.get(t, "first", true)                          // hit
		_, _ = w.GetSecretWithin(t.Context(), w.name, 0) // miss
		time.Sleep(59 * time.Second)
		w.get(t, "first", true) // hit, refresh
		synctest.Wait()
		w.fail(errUnavailable)
		time.Sleep(2 * time.Minute)
		w.get(t, "first", true) // stale
		w.get(t, "first", true) // stale

		var got metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &got); err != nil {
			t.Fatal(err)
		}
		counts, held := map[string]int64{}, map[string]int64{}
		for _, m := range got.ScopeMetrics[0].Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					result, _ := p.Attributes.Value("result")
					if want := attribute.NewSet(attribute.String("vault", "pay"), attribute.String("kind", "secrets"), attribute.String("result", result.AsString())); !p.Attributes.Equals(&want) {
						t.Errorf("attributes %v", p.Attributes.ToSlice())
					}
					counts[result.AsString()] = p.Value
				}
			case metricdata.Gauge[int64]:
				held[m.Name] = data.DataPoints[0].Value
			}
		}
		for result, n := range map[string]int64{"miss": 3, "negative": 1, "hit": 2, "refresh": 1, "stale": 2} {
			if counts[result] != n {
				t.Errorf("%s: %d, want %d", result, counts[result], n)
			}
		}
		if held["keyward.cache.entries"] != 1 || held["keyward.cache.size"] < 400 || held["keyward.cache.size"] > 500 {
			t.Errorf("held %v", held)
		}
	})
}

// A cache that is closed is no more in the gauges; what stands in its place is.
func TestClosedCachesAreNotShown(t *testing.T) {
	w := newCacheWorld(t, time.Minute)
	reader := sdkmetric.NewManualReader()
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	shown := func() (kinds []string) {
		t.Helper()
		var got metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &got); err != nil {
			t.Fatal(err)
		}
		for _, scope := range got.ScopeMetrics {
			for _, m := range scope.Metrics {
				if data, ok := m.Data.(metricdata.Gauge[int64]); ok && m.Name == "keyward.cache.entries" {
					for _, p := range data.DataPoints {
						kind, _ := p.Attributes.Value("kind")
						kinds = append(kinds, fmt.Sprintf("%s %d", kind.AsString(), p.Value))
					}
				}
			}
		}
		slices.Sort(kinds)
		return kinds
	}
	newSecrets := func() *broker.SecretCache {
		return broker.NewSecretCache(w.store, broker.SecretCacheConfig{TTL: time.Minute, Vault: "pay", MeterProvider: mp})
	}
	secrets, keys := newSecrets(), broker.NewKeyCache(nil, broker.KeyCacheConfig{TTL: time.Minute, Vault: "pay", MeterProvider: mp})
	if _, err := secrets.GetSecret(t.Context(), w.name); err != nil {
		t.Fatal(err)
	}
	if got, want := shown(), []string{"key_versions 0", "keys 0", "secrets 1"}; !slices.Equal(got, want) {
		t.Errorf("before: %q, want %q", got, want)
	}
	next := newSecrets()
	if got, want := shown(), []string{"key_versions 0", "keys 0", "secrets 0"}; !slices.Equal(got, want) {
		t.Errorf("with another in its place: %q, want %q", got, want)
	}
	secrets.Close()
	keys.Close()
	if got, want := shown(), []string{"secrets 0"}; !slices.Equal(got, want) {
		t.Errorf("after: %q, want %q", got, want)
	}
	next.Close()
	if got := shown(); len(got) > 0 {
		t.Errorf("after all: %q", got)
	}
}

// A store learns whose call it serves, and how urgent it is.
func TestErrandsOfTheGuardAndTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCacheWorld(t, time.Minute)
		var got []broker.Errand
		w.store.SetHook(func(ctx context.Context, _ string, _ broker.Name) error {
			got = append(got, broker.ErrandOf(ctx))
			return nil
		})
		b, err := broker.New(broker.Config{
			Vaults: map[string]broker.Vault{"pay": {Secrets: w.SecretCache}}, Authorizer: brokertest.AllowAll{}, Auditor: &brokertest.Auditor{},
		})
		if err != nil {
			t.Fatal(err)
		}
		c := broker.Caller{Principal: broker.Principal{ID: "k8s/pay"}}
		get := func() error {
			_, err := b.GetSecret(t.Context(), c, w.name, broker.GetSecretOptions{})
			return err
		}
		whose, refresh := broker.Errand{Principal: "k8s/pay"}, broker.Errand{Urgency: broker.UrgencyRefresh}
		for _, step := range []struct {
			what string
			do   func() error
			want broker.Errand
		}{
			{"a read", get, whose},
			{"a renewal", func() error { time.Sleep(59 * time.Second); return get() }, refresh},
			{"a change", func() error {
				_, err := b.DeleteSecret(t.Context(), c, w.name, "")
				return err
			}, whose},
			{"a batch", func() error {
				_, err := b.BatchGetSecrets(t.Context(), c, broker.Name{}, []broker.Name{w.name}, broker.GetSecretOptions{})
				return err
			}, whose},
			{"a list", func() error {
				_, err := b.ListSecrets(t.Context(), c, w.name.Vault(), broker.Page{})
				return err
			}, broker.Errand{Principal: "k8s/pay", Urgency: broker.UrgencyScan}},
		} {
			got = nil
			if err := step.do(); err != nil {
				t.Fatalf("%s: %v", step.what, err)
			}
			synctest.Wait()
			if len(got) == 0 || got[0] != step.want {
				t.Errorf("%s: %+v, want %+v", step.what, got, step.want)
			}
		}
	})
}
