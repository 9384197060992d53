package service_test

import (
	"net/http"
	"testing"

	"google.golang.org/grpc/health/grpc_health_v1"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
)

// A connection is a stranger's until a call on it has good credentials, over
// either transport; and over gRPC, whose clients connect ahead, also until it has
// a client certificate.
func TestWhoCallsIsNoStranger(t *testing.T) {
	w := newWorld(t)
	w.put(db, "x")
	want := func(n int, when string) {
		t.Helper()
		if got := service.Strangers(w.server); got != n {
			t.Errorf("%s: %d strangers, want %d", when, got, n)
		}
	}
	get := func(c keywardv1.SecretServiceClient) {
		_, _ = c.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: db})
	}

	get(w.client(identity{bearer: w.token("billing")}))
	want(0, "a token over gRPC")
	stranger := w.dial(identity{})
	get(keywardv1.NewSecretServiceClient(stranger))
	want(1, "no credentials over gRPC")
	_, err := grpc_health_v1.NewHealthClient(stranger).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	w.must(err)
	want(1, "health over gRPC")
	_, err = grpc_health_v1.NewHealthClient(w.dial(w.billing())).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	w.must(err)
	want(1, "a certificate over gRPC")

	hc := w.httpClient(identity{})
	defer hc.CloseIdleConnections()
	rest := func(bearer string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+w.httpAddr+"/v1/"+db, http.NoBody)
		w.must(err)
		r.Header.Set("Authorization", "Bearer "+bearer)
		resp, err := hc.Do(r)
		w.must(err)
		w.must(resp.Body.Close())
	}
	rest("forged")
	want(2, "a forged token over REST")
	rest(w.token("billing"))
	want(1, "a token over REST")
}
