package authn_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
	"github.com/keyward/keyward/service/authn"
)

// wire is a server whose callers the corpus' issuers name, and who may all do
// all. It asks for the secret dev/a as the bearer of a token.
type wire struct {
	rpc      keywardv1.SecretServiceClient
	rest     *http.Client
	restAddr string
}

func newWire(t *testing.T, issuers []authn.Issuer) wire {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	vault, err := broker.VaultName("dev")
	must(err)
	store := brokertest.NewSecretStore(vault)
	name, err := vault.Object(broker.KindSecrets, "a")
	must(err)
	_, err = store.SetSecret(t.Context(), name, broker.NewSecret{Value: broker.NewValue("v"), Enabled: true})
	must(err)
	core, err := broker.New(broker.Config{
		Vaults: map[string]broker.Vault{"dev": {Secrets: store}},
		Authorizer: brokertest.AuthorizerFunc(func(context.Context, broker.Request) (broker.Decision, error) {
			return broker.Decision{Allowed: true}, nil
		}),
		Auditor: &brokertest.Auditor{},
	})
	must(err)
	a, err := authn.NewJWT(authn.JWTConfig{Issuers: issuers})
	must(err)
	own := newProvider(t, newSigner(t)) // for its certificate
	server, err := service.New(service.Config{
		Broker: core, Authenticator: authn.Chain{a}, TLS: &tls.Config{Certificates: own.TLS.Certificates},
	})
	must(err)
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		return ln
	}
	g, h := listen(), listen()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, g, h) }()
	t.Cleanup(func() { stop(); <-served })
	trust := &tls.Config{RootCAs: own.roots(), ServerName: "example.com"}
	conn, err := grpc.NewClient(g.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(trust)))
	must(err)
	t.Cleanup(func() { _ = conn.Close() })
	return wire{
		rpc:      keywardv1.NewSecretServiceClient(conn),
		rest:     &http.Client{Transport: &http.Transport{TLSClientConfig: trust}},
		restAddr: h.Addr().String(),
	}
}

func (w wire) overGRPC(ctx context.Context, token string) codes.Code {
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	_, err := w.rpc.GetSecret(ctx, &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/a"})
	return status.Code(err)
}

// overREST returns the status, 0 where the request did not get through.
func (w wire) overREST(t *testing.T, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+w.restAddr+"/v1/vaults/dev/secrets/a", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := w.rest.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// The corpus opens nothing over the wire either, where its issuers' own tokens
// do.
func TestHostileTokensOverTheWire(t *testing.T) {
	c := newCorpus(t)
	w := newWire(t, c.issuers)
	for name, token := range c.good {
		if code, status := w.overGRPC(t.Context(), token), w.overREST(t, token); code != codes.OK || status != http.StatusOK {
			t.Fatalf("the good token of %s: %v over gRPC, %d over REST", name, code, status)
		}
	}
	accepted, unsent := 0, 0
	for name, token := range c.hostile {
		code, status := w.overGRPC(t.Context(), token), w.overREST(t, token)
		if code == codes.OK || status == http.StatusOK {
			accepted++
			t.Errorf("%s: %v over gRPC, %d over REST", name, code, status)
		}
		// What cannot be sent in a header is not refused as a token, but earlier.
		if code != codes.Unauthenticated || status != http.StatusUnauthorized {
			unsent++
			if len(token) <= 16<<10 && !strings.ContainsFunc(token, func(r rune) bool { return r > '~' }) {
				t.Errorf("%s: %v over gRPC, %d over REST; want UNAUTHENTICATED", name, code, status)
			}
		}
	}
	if n, m := c.home.requests.Load(), c.trap.Load(); n != 2 || m != 0 {
		t.Errorf("%d requests to the issuer, want 2; %d connections to where tokens point, want 0", n, m)
	}
	t.Logf("%d hostile tokens over gRPC and REST, %d accepted, %d stopped before they were judged", len(c.hostile), accepted, unsent)
}
