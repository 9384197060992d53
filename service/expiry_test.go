package service_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// A certificate that expires while its connection lives names nobody from the
// next call on.
func TestACertificateExpiresOnALiveConnection(t *testing.T) {
	const life = 5 * time.Minute
	for _, transport := range []string{"gRPC", "REST"} {
		t.Run(transport, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newBubble(t)
				leaf := clientLeaf("spiffe://" + trustDomain + "/billing")
				leaf.NotAfter = time.Now().Add(life)
				u.tls.Certificates = []tls.Certificate{u.ca.issue(t, leaf)}
				db, err := broker.ParseName(broker.KindSecrets, "vaults/dev/secrets/db")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := u.store.SetSecret(t.Context(), db, broker.NewSecret{Value: broker.NewValue("x"), Enabled: true}); err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() { served <- u.server.Serve(ctx, u.grpc, u.http) }()
				dials := 0
				call, hangUp := u.caller(t, transport, &dials)
				for at := time.Duration(0); at < life; at += 30 * time.Second {
					if got := call(); got != (verdict{}) {
						t.Fatalf("after %v: %v", at, got)
					}
					time.Sleep(30 * time.Second)
				}
				time.Sleep(time.Second) // a certificate is good through its last second
				if got := call(); got.reason != "BAD_CREDENTIALS" {
					t.Errorf("after its end: %v", got)
				}
				if dials != 1 {
					t.Errorf("%d connections: the certificate did not expire on a live one", dials)
				}
				hangUp()
				stop()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// caller returns a call by one connection, and what ends it.
func (u *bubble) caller(t *testing.T, transport string, dials *int) (call func() verdict, hangUp func()) {
	t.Helper()
	const name = "vaults/dev/secrets/db"
	if transport == "gRPC" {
		conn, err := grpc.NewClient("passthrough:keyward", grpc.WithTransportCredentials(credentials.NewTLS(u.tls)),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { *dials++; return u.grpc.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		return func() verdict {
			_, err := keywardv1.NewSecretServiceClient(conn).GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: name})
			return grpcVerdict(err)
		}, func() { _ = conn.Close() }
	}
	tr := &http.Transport{
		TLSClientConfig: u.tls, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { *dials++; return u.http.DialContext(ctx) },
	}
	return func() verdict {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://keyward/v1/"+name, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return reply{resp.StatusCode, resp.Header, body}.verdict(t)
	}, tr.CloseIdleConnections
}
