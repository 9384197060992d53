package openapi_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/localvault"
	"github.com/keyward/keyward/broker/policy"
	"github.com/keyward/keyward/service"
	"github.com/keyward/keyward/service/authn"
)

// server is a broker on loopback over a local vault called "dev".
type server struct {
	*testing.T

	url    string
	client *http.Client
}

// bearer names the caller "test/NAME": see policyText.
type bearer struct{}

func (bearer) Authenticate(_ context.Context, c authn.Credentials) (broker.Principal, error) {
	if len(c.Authorization) == 0 {
		return broker.Principal{}, authn.ErrNoCredentials
	}
	return broker.Principal{ID: "test/" + strings.TrimPrefix(c.Authorization[0], "Bearer ")}, nil
}

// policyText lets "test/admin" do everything, and what the examples say.
const policyText = `
permit (principal == Workload::"test/admin", action, resource);

@id("team-pay-reads-payments")
permit (
  principal in Group::"kubernetes/team-pay",
  action in Action::"readSecrets",
  resource is Secret in Vault::"dev"
) when { resource.name like "payments-*" && context.time < datetime("2100-01-01") };

@id("batch-reads-nothing")
forbid (principal == Workload::"kubernetes/system:serviceaccount:pay:batch", action, resource);
`

func startServer(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	vault, err := localvault.Open(localvault.Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vault.Close() })
	if err := os.WriteFile(filepath.Join(dir, "pay.cedar"), []byte(policyText), 0o600); err != nil {
		t.Fatal(err)
	}
	policies, err := policy.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	core, err := broker.New(broker.Config{
		Vaults:     map[string]broker.Vault{"dev": {Secrets: broker.NewSecretCache(vault.Secrets(), broker.SecretCacheConfig{}), Keys: vault.Keys(), Certificates: vault.Certificates()}},
		Authorizer: policies,
		Auditor:    &brokertest.Auditor{},
	})
	if err != nil {
		t.Fatal(err)
	}
	// For its certificate, and a client that trusts it.
	local := httptest.NewTLSServer(nil)
	local.Close()
	s, err := service.New(service.Config{
		Broker: core, Authenticator: bearer{}, TLS: &tls.Config{Certificates: local.TLS.Certificates, MinVersion: tls.VersionTLS13},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	grpcListener, httpListener := listen(t), listen(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, grpcListener, httpListener) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return &server{T: t, url: "https://" + httpListener.Addr().String(), client: local.Client()}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// in returns the server for a subtest.
func (s *server) in(t *testing.T) *server {
	sub := *s
	sub.T = t
	return &sub
}

// do sends req as principal, unless that is empty.
func (s *server) do(req *http.Request, principal string) reply {
	s.Helper()
	if principal != "" {
		req.Header.Set("Authorization", "Bearer "+principal)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	read := io.ReadAll
	if resp.Header.Get("Content-Type") == "application/x-ndjson" { // which does not end soon
		read = func(r io.Reader) ([]byte, error) { return bufio.NewReader(r).ReadBytes('\n') }
	}
	body, err := read(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, body}
}

// reply is an answer over REST.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// The server serves the description to whoever asks, and takes nothing there.
func TestServed(t *testing.T) {
	s := startServer(t)
	for _, tc := range []struct {
		method, path string
		status       int
		contentType  string
	}{
		{http.MethodGet, "/openapi.json", http.StatusOK, "application/json"},
		{http.MethodHead, "/openapi.json", http.StatusOK, "application/json"},
		{http.MethodGet, "/docs", http.StatusOK, "text/html; charset=utf-8"},
		{http.MethodGet, "/docs/page.js", http.StatusOK, "text/javascript; charset=utf-8"},
		{http.MethodPost, "/docs", http.StatusMethodNotAllowed, "application/json"},
		{http.MethodDelete, "/openapi.json", http.StatusMethodNotAllowed, "application/json"},
		{http.MethodGet, "/docs/", http.StatusNotFound, "application/json"},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, s.url+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := s.in(t).do(req, "")
			if got.status != tc.status || got.header.Get("Content-Type") != tc.contentType {
				t.Errorf("%d %s, want %d %s", got.status, got.header.Get("Content-Type"), tc.status, tc.contentType)
			}
			if got.status == http.StatusMethodNotAllowed && (got.header.Get("Allow") != "GET, HEAD" || !strings.Contains(string(got.body), "UNKNOWN_ROUTE")) {
				t.Errorf("Allow %q, %s", got.header.Get("Allow"), got.body)
			}
		})
	}
}
