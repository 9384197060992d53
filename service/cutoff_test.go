package service_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
	"github.com/keyward/keyward/service/authn"
)

// bubble is a server whose listeners are in this process, for virtual time.
type bubble struct {
	store      *brokertest.SecretStore
	audit      *brokertest.Auditor
	server     *service.Server
	grpc, http *bufconn.Listener
	ca         authority
	tls        *tls.Config
}

func newBubble(t *testing.T) *bubble {
	t.Helper()
	vault, err := broker.VaultName("dev")
	if err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t)
	client := ca.issue(t, clientLeaf("spiffe://example.org/billing"))
	u := &bubble{
		ca:    ca,
		store: brokertest.NewSecretStore(vault), audit: &brokertest.Auditor{},
		grpc: bufconn.Listen(1 << 16), http: bufconn.Listen(1 << 16),
		tls: &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{client}, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13},
	}
	b, err := broker.New(broker.Config{
		Vaults: map[string]broker.Vault{"dev": {Secrets: u.store}}, Authorizer: brokertest.AllowAll{}, Auditor: u.audit,
	})
	if err != nil {
		t.Fatal(err)
	}
	mtls, err := authn.NewMTLS(authn.MTLSConfig{TrustDomain: trustDomain})
	if err != nil {
		t.Fatal(err)
	}
	u.server, err = service.New(service.Config{
		Broker:        b,
		Authenticator: mtls,
		TLS:           &tls.Config{Certificates: []tls.Certificate{ca.issue(t, serverLeaf())}, ClientCAs: ca.pool()},
		DrainTimeout:  3 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (u *bubble) deleteByGRPC(ctx context.Context) error {
	conn, err := grpc.NewClient("passthrough:keyward", grpc.WithTransportCredentials(credentials.NewTLS(u.tls)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return u.grpc.DialContext(ctx) }))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = keywardv1.NewSecretServiceClient(conn).DeleteSecret(ctx, &keywardv1.DeleteSecretRequest{Name: "vaults/dev/secrets/db"})
	return err
}

func (u *bubble) deleteByREST(ctx context.Context, http2 bool) error {
	var protocols http.Protocols
	protocols.SetHTTP2(http2)
	protocols.SetHTTP1(!http2)
	tr := &http.Transport{
		TLSClientConfig: u.tls, Protocols: &protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return u.http.DialContext(ctx) },
	}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, "https://keyward/v1/vaults/dev/secrets/db", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := tr.RoundTrip(req)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// A change that is cut off, or whose caller has gone, has its outcome recorded
// before Serve returns: the audit log is closed behind that.
func TestCutOffCallsAreRecorded(t *testing.T) {
	calls := map[string]func(context.Context, *bubble) error{
		"gRPC":           func(ctx context.Context, u *bubble) error { return u.deleteByGRPC(ctx) },
		"REST, HTTP/1.1": func(ctx context.Context, u *bubble) error { return u.deleteByREST(ctx, false) },
		"REST, HTTP/2":   func(ctx context.Context, u *bubble) error { return u.deleteByREST(ctx, true) },
	}
	for transport, call := range calls {
		for how, leaves := range map[string]bool{"cut off": false, "its caller has gone": true} {
			t.Run(transport+", "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					u := newBubble(t)
					u.store.SetHook(func(ctx context.Context, _ string, _ broker.Name) error {
						<-ctx.Done()
						time.Sleep(time.Second) // it takes a moment to notice
						return broker.AsError(ctx.Err())
					})
					ctx, stop := context.WithCancel(t.Context())
					defer stop()
					var recorded []broker.Event
					served := make(chan error, 1)
					go func() {
						err := u.server.Serve(ctx, u.grpc, u.http)
						recorded = u.audit.Events()
						served <- err
					}()
					callers, leave := context.WithCancel(t.Context())
					defer leave()
					ended := make(chan error, 1)
					go func() { ended <- call(callers, u) }()
					synctest.Wait() // the call is under way
					if n := len(u.audit.Events()); n != 1 {
						t.Fatalf("%d records of a call under way, want its intent", n)
					}
					if leaves {
						leave()
						synctest.Wait()
					}
					stop()
					if err := <-served; err != nil {
						t.Errorf("Serve: %v", err)
					}
					if err := <-ended; err == nil {
						t.Error("the call did not fail")
					}
					if len(recorded) != 2 || recorded[1].Phase != broker.PhaseOutcome || recorded[1].Outcome != "CANCELED" {
						t.Errorf("recorded when Serve returned: %+v", recorded)
					}
					time.Sleep(time.Minute) // for whoever is left behind
				})
			})
		}
	}
}

// A call that does not heed that it was cut off holds up the end for a moment
// only, and Serve says so.
func TestACallThatDoesNotEndIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newBubble(t)
		release := make(chan struct{})
		u.store.SetHook(func(context.Context, string, broker.Name) error {
			<-release
			return nil
		})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		served := make(chan error, 1)
		go func() { served <- u.server.Serve(ctx, u.grpc, u.http) }()
		ended := make(chan error, 1)
		go func() { ended <- u.deleteByGRPC(t.Context()) }()
		synctest.Wait()
		stop()
		if err := <-served; err == nil || !strings.Contains(err.Error(), "did not end") {
			t.Errorf("Serve: %v", err)
		}
		close(release)
		<-ended
		time.Sleep(time.Minute) // for whoever was left behind
	})
}
