package main

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/keyvault"
	"github.com/keyward/keyward/broker/localvault"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// The broker's own client passes the conformance suite against the local vault,
// over HTTPS on loopback and with tokens of its token service; and against an
// embedded one, which differs by its transport alone.
func TestClientConformance(t *testing.T) {
	alias, err := broker.VaultName(devVault)
	if err != nil {
		t.Fatal(err)
	}
	client := func(t *testing.T, c keyvault.Config, s keyvault.ClientSecretConfig) *keyvault.Client {
		t.Helper()
		source, err := keyvault.ClientSecret(s)
		if err != nil {
			t.Fatal(err)
		}
		tokens := keyvault.NewTokenCache(source, keyvault.TokenCacheConfig{})
		t.Cleanup(tokens.Close)
		c.Vault, c.Tokens = alias, tokens
		kv, err := keyvault.New(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(kv.Close)
		return kv
	}
	t.Run("https", func(t *testing.T) {
		dir := t.TempDir()
		ca, err := openCA(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := ca.ensureServer(); err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		vault, err := openVaultServer(dir, ln, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- vault.serve() }()
		t.Cleanup(func() {
			if err := vault.close(); err != nil {
				t.Error(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		roots := x509.NewCertPool()
		roots.AddCert(ca.cert)
		kv := client(t,
			keyvault.Config{URL: vault.authority, RootCAs: roots},
			keyvault.ClientSecretConfig{
				TenantID: localTenant, ClientID: localClientID, Secret: vault.secret, Authority: vault.authority, RootCAs: roots,
			})
		brokertest.RunSecretStore(t, func(*testing.T) (broker.SecretStore, broker.Name) { return kv, alias })
	})
	t.Run("embedded", func(t *testing.T) {
		dir := t.TempDir()
		local, err := openEmbedded(alias, localvault.Config{
			Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key"),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = local.store.Close() })
		kv := client(t,
			keyvault.Config{URL: local.authority, Transport: inProcess{local}},
			keyvault.ClientSecretConfig{
				TenantID: localTenant, ClientID: localClientID, Secret: local.secret, Authority: local.authority, Transport: inProcess{local},
			})
		brokertest.RunSecretStore(t, func(*testing.T) (broker.SecretStore, broker.Name) { return kv, alias })
	})
}

// metricSum adds up the samples of a counter whose labels match.
func metricSum(t *testing.T, text, name string, labels ...string) int {
	t.Helper()
	sum := 0
	for _, m := range regexp.MustCompile(`(?m)^`+name+`\{(.*)\} (\d+)$`).FindAllStringSubmatch(text, -1) {
		ok := true
		for _, l := range labels {
			ok = ok && strings.Contains(m[1], l)
		}
		if ok {
			n := 0
			for _, d := range m[2] {
				n = n*10 + int(d-'0')
			}
			sum += n
		}
	}
	return sum
}

// A cold start's herd costs one vault call and one token; who may not read is
// denied although the value is warm, and asks the vault nothing.
func TestColdHerd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := startDev(t, dir)
	if err := set(t.Context(), p.secrets(), "db-password", "herd"); err != nil {
		t.Fatal(err)
	}
	p.stop(syscall.SIGTERM)

	p = startDev(t, dir)
	c := p.secrets()
	var callers sync.WaitGroup
	for range 3000 {
		callers.Go(func() {
			got, err := c.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db-password"})
			if err != nil || got.GetValue() != "herd" {
				t.Errorf("got %q, %v", got.GetValue(), err)
			}
		})
	}
	callers.Wait()
	m := p.metrics()
	if n := metricSum(t, m, "keyward_vault_calls_total"); n != 1 {
		t.Errorf("%d vault calls, want 1", n)
	}
	if n := metricSum(t, m, "keyward_token_refreshes_total"); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}

	outsider := metadata.AppendToOutgoingContext(context.WithoutCancel(t.Context()), "authorization", "Bearer "+p.token("outsider"))
	_, err := c.GetSecret(outsider, &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db-password"})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("the outsider got %v", err)
	}
	if n := metricSum(t, p.metrics(), "keyward_vault_calls_total"); n != 1 {
		t.Errorf("%d vault calls after the denial, want 1", n)
	}
}
