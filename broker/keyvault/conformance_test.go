package keyvault_test

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/keyvault"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
)

const testToken = "token-7c1d90e2"

// tokens is a source that counts, and gives what it is told to.
type tokens struct {
	asked atomic.Int64
	next  func(ctx context.Context, claims string, n int64) (keyvault.Token, error)
}

func (s *tokens) Token(ctx context.Context, _, claims string) (keyvault.Token, error) {
	n := s.asked.Add(1)
	if s.next != nil {
		return s.next(ctx, claims, n)
	}
	return tokenOf(testToken, time.Hour), nil
}

func tokenOf(text string, life time.Duration) keyvault.Token {
	return keyvault.Token{Value: broker.NewValue(text), Expires: time.Now().Add(life)}
}

// verifier accepts one token.
type verifier string

func (v verifier) Verify(_ context.Context, token string) error {
	if token != string(v) {
		return errors.New("another token")
	}
	return nil
}

func vaultName(t testing.TB) broker.Name {
	t.Helper()
	n, err := broker.VaultName("pay")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func secretNamed(t *testing.T, object string) broker.Name {
	t.Helper()
	n, err := vaultName(t).Object(broker.KindSecrets, object)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func serveTLS(t testing.TB, h http.Handler, http2 bool) (url string, roots *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = http2
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, rootsOf(s)
}

func rootsOf(s *httptest.Server) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return roots
}

func newClient(t testing.TB, c keyvault.Config) *keyvault.Client {
	t.Helper()
	if c.Tokens == nil {
		c.Tokens = &tokens{}
	}
	c.Vault = vaultName(t)
	client, err := keyvault.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func TestSecretStoreOverHTTPS(t *testing.T) {
	for label, http2 := range map[string]bool{"HTTP/2": true, "HTTP/1.1": false} {
		t.Run(label, func(t *testing.T) {
			brokertest.RunSecretStore(t, func(t *testing.T) (broker.SecretStore, broker.Name) {
				t.Helper()
				vault := vaultName(t)
				url, roots := serveTLS(t, vaulthttp.New(vaulthttp.Config{
					Vault:   vault,
					Secrets: brokertest.NewSecretStore(vault),
					Tokens:  verifier(testToken),
				}), http2)
				return newClient(t, keyvault.Config{URL: url, RootCAs: roots}), vault
			})
		})
	}
}
