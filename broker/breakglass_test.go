package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// alarms is what a world's broker counts and logs of break-glass.
type alarms struct {
	reader *sdkmetric.ManualReader
	log    bytes.Buffer
}

// watched returns a world whose alarms are watched.
func watched(t *testing.T, decide func(broker.Request) broker.Decision) (*world, *alarms) {
	t.Helper()
	return watchedBy(t, brokertest.AuthorizerFunc(func(_ context.Context, r broker.Request) (broker.Decision, error) { return decide(r), nil }))
}

func watchedBy(t *testing.T, authz broker.Authorizer) (*world, *alarms) {
	t.Helper()
	return watchedOver(t, authz, func(s broker.SecretStore) broker.SecretStore { return s })
}

func watchedOver(t *testing.T, authz broker.Authorizer, over func(broker.SecretStore) broker.SecretStore) (*world, *alarms) {
	t.Helper()
	w, a := newWorld(t, authz), &alarms{reader: sdkmetric.NewManualReader()}
	var err error
	w.Broker, err = broker.New(broker.Config{
		Vaults:        map[string]broker.Vault{"pay": {Secrets: over(w.store), Keys: w.keysIn}},
		Authorizer:    authz,
		Auditor:       w.audit,
		Logger:        slog.New(slog.NewTextHandler(&a.log, nil)),
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(a.reader)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, a
}

// counted is keyward.breakglass, by action and policy.
func (a *alarms) counted(t *testing.T) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := a.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, sm := range all.ScopeMetrics {
		for _, m := range sm.Metrics {
			if m.Name != "keyward.breakglass" {
				continue
			}
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				action, _ := p.Attributes.Value(attribute.Key("action"))
				policy, _ := p.Attributes.Value(attribute.Key("policy"))
				if p.Attributes.Len() != 2 {
					t.Errorf("labels %v", p.Attributes)
				}
				got[action.AsString()+" "+policy.AsString()] = p.Value
			}
		}
	}
	return got
}

func (a *alarms) warnings() []string {
	var found []string
	for line := range strings.Lines(a.log.String()) {
		if strings.Contains(line, "break-glass") && strings.Contains(line, "level=WARN") {
			found = append(found, line)
		}
	}
	return found
}

var (
	emergency = broker.Decision{Allowed: true, Policies: []string{"emergency"}, BreakGlass: true}
	everyday  = broker.Decision{Allowed: true, Policies: []string{"everyday"}}
	forbidden = broker.Decision{Policies: []string{"never"}, BreakGlass: true} // an authorizer that is beside itself
)

// Whatever is done by break-glass is counted once, logged once, and marked in
// each of its records.
func TestBreakGlassRaisesOneAlarm(t *testing.T) {
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			var action broker.Action
			w, a := watched(t, func(r broker.Request) broker.Decision { action = r.Action; return emergency })
			n := op.prepare(t, w)
			if err := op.do(t.Context(), w, n); err != nil {
				t.Fatal(err)
			}
			if got, want := a.counted(t), map[string]int64{string(action) + " emergency": 1}; !maps.Equal(got, want) {
				t.Errorf("counted %v, want %v", got, want)
			}
			lines := a.warnings()
			if len(lines) != 1 {
				t.Fatalf("%d warnings, want 1: %s", len(lines), &a.log)
			}
			for _, want := range []string{"principal=" + alice.ID, "action=" + string(action), "resource=vaults/pay", "policies=[emergency]", "request="} {
				if !strings.Contains(lines[0], want) {
					t.Errorf("%s lacks %s", lines[0], want)
				}
			}
			events := w.audit.Events()
			if len(events) == 0 {
				t.Fatal("nothing is on record")
			}
			for _, e := range events {
				marked := e.Decision.BreakGlass
				if name == "BatchGetSecrets" {
					marked = e.Items[0].Decision.BreakGlass
				}
				if !marked {
					t.Errorf("not marked: %+v", e)
				}
			}
		})
	}
}

// No alarm for what was allowed as on every day, or not allowed at all.
func TestNoAlarmWithoutBreakGlass(t *testing.T) {
	fails := brokertest.AuthorizerFunc(func(context.Context, broker.Request) (broker.Decision, error) {
		return emergency, errors.New("broken")
	})
	for name, op := range operations {
		for what, authz := range map[string]broker.Authorizer{
			"allowed": brokertest.AllowAll{}, "fails": fails,
			"denied": brokertest.AuthorizerFunc(func(context.Context, broker.Request) (broker.Decision, error) { return forbidden, nil }),
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				w, a := watchedBy(t, authz)
				n := op.prepare(t, w)
				_ = op.do(t.Context(), w, n)
				if got := a.counted(t); len(got) != 0 || len(a.warnings()) != 0 {
					t.Errorf("counted %v, logged %q", got, a.warnings())
				}
				for _, e := range w.audit.Events() {
					if what == "fails" && e.Decision.BreakGlass {
						t.Errorf("recorded as break-glass: %+v", e)
					}
				}
			})
		}
	}
}

// byName decides by the last part of a name: e-… is an emergency's, by a policy
// for its last digit, n-… nobody's.
func byName(r broker.Request) broker.Decision {
	switch {
	case strings.HasPrefix(r.Resource.ObjectName(), "e-"):
		d := emergency
		d.Policies = []string{"emergency-" + r.Resource.ObjectName()[len(r.Resource.ObjectName())-1:]}
		return d
	case strings.HasPrefix(r.Resource.ObjectName(), "n-"):
		return forbidden
	}
	return everyday
}

func TestBatchesRaiseAnAlarmForEachName(t *testing.T) {
	w, a := watched(t, byName)
	var names []broker.Name
	for _, object := range []string{"a", "e-1", "e-2", "n-1", "b"} {
		names = append(names, w.put(t, object, "v"))
	}
	names = append(names, w.secret(t, "e-1")) // asked for twice, decided twice
	if _, err := w.BatchGetSecrets(t.Context(), alice, w.vault, names, broker.GetSecretOptions{}); err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"getSecret emergency-1": 2, "getSecret emergency-2": 1}
	if got := a.counted(t); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	if lines := a.warnings(); len(lines) != 3 || !strings.Contains(lines[1], "resource=vaults/pay/secrets/e-2") {
		t.Errorf("logged %q", lines)
	}
}

func TestListsRaiseOneAlarm(t *testing.T) {
	w, a := watched(t, byName)
	for i := range 30 {
		w.put(t, fmt.Sprintf("%s-%02d%d", []string{"a", "e", "n"}[i%3], i, i%2), "v")
	}
	for range 2 {
		p, err := w.ListSecrets(t.Context(), alice, w.vault, broker.Page{})
		if err != nil || len(p.Secrets) != 20 {
			t.Fatalf("%d secrets, %v", len(p.Secrets), err)
		}
	}
	if got, want := a.counted(t), map[string]int64{"listSecrets emergency-0,emergency-1": 2}; !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	if lines := a.warnings(); len(lines) != 2 || !strings.Contains(lines[0], "resource=vaults/pay/secrets ") {
		t.Errorf("logged %q", lines)
	}
}

// A certificate's key that break-glass released is marked, though the secret
// itself was allowed as on every day.
func TestBreakGlassForACertificatesKey(t *testing.T) {
	authz := brokertest.AuthorizerFunc(func(_ context.Context, r broker.Request) (broker.Decision, error) {
		if r.Action == broker.ActionDownloadCertificate {
			return emergency, nil
		}
		return everyday, nil
	})
	w, a := watchedOver(t, authz, func(s broker.SecretStore) broker.SecretStore { return managed{s} })
	n := w.put(t, "a", "v")
	if _, err := w.GetSecret(t.Context(), alice, n, broker.GetSecretOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, want := a.counted(t), map[string]int64{"getSecret emergency,everyday": 1}; !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	if e := w.audit.Events(); len(e) != 1 || !e[0].Decision.BreakGlass {
		t.Errorf("recorded %+v", e)
	}
}

// Setting what is deleted tells of the recovery only if there was one.
func TestBreakGlassOfARecovery(t *testing.T) {
	for name, want := range map[string]map[string]int64{
		"live":    {"setSecret emergency": 1},
		"deleted": {"setSecret emergency": 1, "undeleteSecret emergency": 1},
	} {
		t.Run(name, func(t *testing.T) {
			w, a := watched(t, func(broker.Request) broker.Decision { return emergency })
			n := w.put(t, "a", "v").Base()
			if name == "deleted" {
				w.remove(t.Context(), n)
			}
			_, err := w.SetSecret(t.Context(), alice, n, broker.NewSecret{Value: broker.NewValue("w"), Enabled: true}, broker.SetSecretOptions{RecoverDeleted: true})
			if err != nil {
				t.Fatal(err)
			}
			if got := a.counted(t); !maps.Equal(got, want) {
				t.Errorf("counted %v, want %v", got, want)
			}
		})
	}
}
