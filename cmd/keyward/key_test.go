package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/localvault"
	"github.com/keyward/keyward/broker/policy"
	"github.com/keyward/keyward/service"
	"github.com/keyward/keyward/service/authn"
)

// The commands for keys, as a user types them, against a broker over a local
// vault.
func TestKeyScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/keys",
		Setup: func(env *testscript.Env) error {
			dir, _ := serveKeys(t)
			env.Setenv("KEYWARD_CONTEXT", filepath.Join(dir, "context.json"))
			return nil
		},
	})
}

// serveKeys runs a broker over a local vault's keys, with the policy of keyward
// dev, and returns the folder that has its context, and its audit log.
func serveKeys(t *testing.T) (dir string, audit *brokertest.Auditor) {
	t.Helper()
	dir = t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ca := newCA(t, dir)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem"))
	must(err)
	vault, err := localvault.Open(localvault.Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")})
	must(err)
	t.Cleanup(func() { _ = vault.Close() })
	text, err := os.ReadFile("dev.cedar")
	must(err)
	policies := filepath.Join(dir, "policy")
	must(os.Mkdir(policies, 0o700))
	must(os.WriteFile(filepath.Join(policies, "dev.cedar"), text, 0o600))
	authorizer, err := policy.Load(policies)
	must(err)
	audit = &brokertest.Auditor{}
	core, err := broker.New(broker.Config{
		Vaults:     map[string]broker.Vault{"dev": {Secrets: vault.Secrets(), Keys: vault.Keys()}},
		Authorizer: authorizer, Auditor: audit,
	})
	must(err)
	callers, err := authn.NewMTLS(authn.MTLSConfig{TrustDomain: "dev.keyward"})
	must(err)
	s, err := service.New(service.Config{
		Broker: core, Authenticator: callers,
		TLS: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientCAs: poolOf(ca.cert)},
	})
	must(err)
	var listeners [2]net.Listener
	for i := range listeners {
		listeners[i], err = net.Listen("tcp", "127.0.0.1:0")
		must(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, listeners[0], listeners[1]) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	writeContext(t, dir, clientContext{
		GRPC: listeners[0].Addr().String(), CA: "ca.pem", Certificate: "admin.pem", Key: "admin-key.pem", Vault: "dev",
	})
	return dir, audit
}

func poolOf(c *x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c)
	return p
}
