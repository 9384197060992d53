package service_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/keyward/keyward/broker/brokertest"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestSpans(t *testing.T) {
	w := newWorld(t)
	w.put("vaults/dev/secrets/db", "x")
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", parent, "baggage", "user=hunter2")
	if _, err := w.client(w.billing()).GetSecret(ctx, &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"}); err != nil {
		t.Fatal(err)
	}
	if _, err := grpc_health_v1.NewHealthClient(w.dial(identity{})).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	_ = w.dial(w.billing()).Invoke(ctx, "/keyward.v1.SecretService/MadeUp", &keywardv1.GetSecretRequest{}, &keywardv1.GetSecretResponse{})
	w.rest(w.billing(), "GET /v1/vaults/dev/secrets/db", "", "Traceparent", parent)
	w.rest(w.billing(), "GET /v1/who/knows", "", "Traceparent", parent)
	w.rest(w.billing(), "BREW /v1/vaults/dev/secrets/db", "", "Traceparent", parent)
	w.stop()
	receive(t, w.served, "the end of Serve")
	close(w.served)

	var servers []string
	for _, s := range w.spans.Ended() {
		if s.SpanContext().TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("%s: trace %s", s.Name(), s.SpanContext().TraceID())
		}
		if s.SpanKind() == trace.SpanKindServer {
			servers = append(servers, s.Name())
			if s.Parent().SpanID().String() != "b7ad6b7169203331" {
				t.Errorf("%s: parent %s", s.Name(), s.Parent().SpanID())
			}
		}
		if text := fmt.Sprint(s.Name(), s.Attributes(), s.Events()); strings.Contains(text, "secrets/db") || strings.Contains(text, "hunter2") || strings.Contains(text, "/who") {
			t.Errorf("a raw name: %s", text)
		}
	}
	slices.Sort(servers)
	want := []string{"GET", "GET /v1/{name=vaults/*/secrets/*}", "HTTP", "keyward.v1.SecretService/GetSecret"}
	if !slices.Equal(servers, want) {
		t.Errorf("server spans %q, want %q", servers, want)
	}
	if e := w.audit.Events()[0]; e.Trace != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("recorded trace %q", e.Trace)
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	w.put("vaults/dev/secrets/db", "x")
	c := w.client(w.billing())
	_, _ = c.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"})
	_, _ = c.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/forbidden"})
	w.rest(identity{}, "GET /v1/vaults/dev/secrets/db", "")
	w.rest(w.billing(), "PUT /v1/vaults/dev/secrets/db", `{"value":"y"}`)
	for i := range 50 {
		w.rest(w.billing(), fmt.Sprintf("GET /v1/made-up-%d", i), "")
		_ = w.dial(w.billing()).Invoke(t.Context(), fmt.Sprintf("/keyward.v1.SecretService/MadeUp%d", i), &keywardv1.GetSecretRequest{}, &keywardv1.GetSecretResponse{})
	}
	w.stop()
	receive(t, w.served, "the end of Serve")
	close(w.served)

	var all metricdata.ResourceMetrics
	if err := w.meters.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	calls, timed := map[string]int64{}, map[string]uint64{}
	for _, sm := range all.ScopeMetrics {
		for _, m := range sm.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					if m.Name == "keyward.calls" {
						calls[labels(p.Attributes, "method", "transport", "code")] += p.Value
					}
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					if m.Name == "keyward.call.duration" {
						timed[labels(p.Attributes, "method", "transport")] += p.Count
					} else {
						t.Errorf("a histogram of the library's: %s", m.Name)
					}
				}
			}
		}
	}
	const get, set = "/keyward.v1.SecretService/GetSecret", "/keyward.v1.SecretService/SetSecret"
	want := map[string]int64{
		get + " grpc OK": 1, get + " grpc PERMISSION_DENIED": 1, get + " rest UNAUTHENTICATED": 1,
		set + " rest OK": 1, "unknown rest NOT_FOUND": 50,
	}
	if fmt.Sprint(calls) != fmt.Sprint(want) {
		t.Errorf("calls %v, want %v", calls, want)
	}
	if timed[get+" grpc"] != 2 || timed["unknown rest"] != 50 {
		t.Errorf("durations %v", timed)
	}
}

func labels(s attribute.Set, keys ...string) string {
	var out []string
	for _, k := range keys {
		v, _ := s.Value(attribute.Key(k))
		out = append(out, v.AsString())
	}
	if s.Len() != len(keys) {
		out = append(out, "and more")
	}
	return strings.Join(out, " ")
}

// TestNoCanaryAnywhere: a value, a token and a page token are on the wire where
// they belong, and nowhere else.
func TestNoCanaryAnywhere(t *testing.T) {
	w := newWorld(t)
	const canary = "canary-5f1d"
	id := identity{bearer: w.token("billing")}
	c := w.client(id)
	for i := range 30 {
		w.put(fmt.Sprintf("vaults/dev/secrets/s%d", i), canary)
	}
	_, _ = c.SetSecret(t.Context(), &keywardv1.SetSecretRequest{Name: "vaults/dev/secrets/db", Value: canary})
	_, _ = c.SetSecret(t.Context(), &keywardv1.SetSecretRequest{Name: "vaults/dev/secrets/forbidden", Value: canary})
	_, _ = c.SetSecret(t.Context(), &keywardv1.SetSecretRequest{Name: canary + "/..", Value: canary})
	if got, err := c.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"}); err != nil || got.GetValue() != canary {
		t.Fatalf("%v, %v", got, err)
	}
	page, err := c.ListSecrets(t.Context(), &keywardv1.ListSecretsRequest{Parent: "vaults/dev", PageSize: 5})
	if err != nil || page.GetNextPageToken() == "" {
		t.Fatalf("%v, %v", page, err)
	}
	var errs []string
	for _, body := range []string{`{"value":` + canary, `{"` + canary + `":1}`, `{"value":"x"} ` + canary, `{"value":"` + canary + `","enabled":"` + canary + `"}`, `{"expireTime":"` + canary + `"}`} {
		errs = append(errs, string(w.rest(id, "PUT /v1/vaults/dev/secrets/db", body).body))
	}
	errs = append(errs,
		string(w.rest(id, "GET /v1/vaults/dev/secrets?pageSize="+canary, "").body),
		string(w.rest(id, "GET /v1/vaults/dev/secrets?pageToken="+canary, "").body),
		string(w.rest(identity{bearer: canary}, "GET /v1/vaults/dev/secrets/db", "").body),
		string(w.rest(id, "GET /v1/"+canary, "").body),
	)
	if r := w.rest(id, "PUT /v1/vaults/dev/secrets/db", `{"value":"`+canary+`"}`); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	more, generated := useEveryRPC(w, id, canary)
	errs = append(errs, more...)
	w.stop()
	receive(t, w.served, "the end of Serve")
	close(w.served)

	var all metricdata.ResourceMetrics
	if err := w.meters.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	var spans []string
	for _, s := range w.spans.Ended() {
		spans = append(spans, fmt.Sprint(s.Name(), s.Attributes(), s.Events(), s.Status(), s.Links()))
	}
	for what, text := range map[string]string{
		"log": w.logs.String(), "error": strings.Join(errs, "\n"), "span": strings.Join(spans, "\n"),
		"metric": fmt.Sprintf("%+v", all), "record": fmt.Sprintf("%+v", w.audit.Events()),
	} {
		for _, secret := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary)), page.GetNextPageToken(), id.bearer, generated} {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s holds %q: %s", what, secret, text[max(0, i-80):min(len(text), i+80)])
			}
		}
		if text == "" {
			t.Errorf("no %s was made: the test shows nothing", what)
		}
	}
	if n := w.store.Calls(brokertest.SetSecret); n != 33 {
		t.Errorf("%d sets, want 30 of the test's own, one over gRPC, one over REST and one generated", n)
	}
}

// useEveryRPC calls what handles the value of a secret or its blob, well and
// badly. It returns what failed calls were told, and the value of a generated
// secret.
func useEveryRPC(w *world, id identity, canary string) (errs []string, generated string) {
	w.Helper()
	const db, made = "/v1/vaults/dev/secrets/db", "/v1/vaults/dev/secrets/made"
	backup := w.rest(id, "POST "+db+":backup", "")
	for _, c := range []struct{ target, body string }{
		{"POST " + made + ":generate", ""},
		{"PATCH " + db, `{"contentType":"text/plain"}`},
		{"DELETE " + db, ""},
		{"GET /v1/vaults/dev/deletedSecrets/db", ""},
		{"GET /v1/vaults/dev/deletedSecrets", ""},
		{"POST /v1/vaults/dev/deletedSecrets/db:undelete", ""},
		{"DELETE " + db, ""},
		{"DELETE /v1/vaults/dev/deletedSecrets/db", ""},
		{"POST /v1/vaults/dev/secrets:restore", string(backup.body)},
	} {
		r := w.rest(id, c.target, c.body)
		if r.status != http.StatusOK {
			w.Errorf("%s: %d %s", c.target, r.status, r.body)
		}
		errs = append(errs, string(r.body))
	}
	if r := w.rest(id, "POST /v1/vaults/dev/secrets:batchGet", `{"names":["vaults/dev/secrets/db"]}`); !strings.Contains(string(r.body), canary) {
		w.Errorf("the batch has no value: %s", r.body)
	}
	blob := base64.StdEncoding.EncodeToString([]byte(canary))
	for _, c := range []struct{ target, body string }{
		{"POST /v1/vaults/dev/secrets:restore", `{"blob":"` + blob + `"}`},
		{"POST /v1/vaults/dev/secrets:restore", `{"blob":"` + blob + `","` + canary + `":1}`},
		{"POST /v1/vaults/dev/secrets:restore", string(backup.body)},
		{"PATCH " + db, `{"value":"` + canary + `"}`},
		{"PATCH " + db, `{"contentType":"x","etag":"` + canary + `"}`},
		{"POST /v1/vaults/dev/secrets:batchGet", `{"names":["` + canary + `"`},
		{"POST " + db + ":generate", `{"alphabet":"` + canary + canary + `"}`},
		{"GET /v1/vaults/dev/deletedSecrets?pageToken=" + canary, ""},
	} {
		r := w.rest(id, c.target, c.body)
		if r.status == http.StatusOK {
			w.Errorf("%s was taken: %s", c.target, r.body)
		}
		errs = append(errs, string(r.body))
	}
	return errs, w.value("vaults/dev/secrets/made")
}
