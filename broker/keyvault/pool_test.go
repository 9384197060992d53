package keyvault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
)

// A vault takes 3 seconds to answer anything. What makes a key waits for it, over
// a real connection of either protocol; what reads one does not.
func TestSlowVault(t *testing.T) {
	const slow = 3 * time.Second
	const kid = "https://127.0.0.1/keys/k/4fdaaf1456c7478babf4a28ddef5bdab"
	bundle := `{"key":{"kid":"` + kid + `","kty":"EC","crv":"P-256",` +
		`"x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}}`
	waits := map[string]func(ctx context.Context, c *Client, n broker.Name) error{
		"create": func(ctx context.Context, c *Client, n broker.Name) error {
			_, err := c.CreateKey(ctx, n, broker.NewKey{Type: broker.KeyTypeEC})
			return err
		},
		"import": func(ctx context.Context, c *Client, n broker.Name) error {
			_, err := c.ImportKey(ctx, n, broker.KeyImport{Material: broker.NewValue(`{"kty":"EC"}`)})
			return err
		},
		"rotate": func(ctx context.Context, c *Client, n broker.Name) error { _, err := c.RotateKey(ctx, n); return err },
		"backup": func(ctx context.Context, c *Client, n broker.Name) error { _, err := c.BackupKey(ctx, n); return err },
		"restore": func(ctx context.Context, c *Client, n broker.Name) error {
			_, err := c.RestoreKey(ctx, n.Vault(), broker.NewValue("blob"))
			return err
		},
	}
	ends := map[string]func(ctx context.Context, c *Client, n broker.Name) error{
		"get": func(ctx context.Context, c *Client, n broker.Name) error { _, err := c.GetKey(ctx, n); return err },
		"sign": func(ctx context.Context, c *Client, n broker.Name) error {
			_, err := c.Sign(ctx, n, "ES256", make([]byte, 32))
			return err
		},
		"list": func(ctx context.Context, c *Client, n broker.Name) error {
			_, err := c.ListKeys(ctx, n.Vault(), broker.Page{})
			return err
		},
		"get secret": func(ctx context.Context, c *Client, n broker.Name) error {
			secret, err := n.Vault().Object(broker.KindSecrets, "s")
			if err != nil {
				return err
			}
			_, err = c.GetSecret(ctx, secret)
			return err
		},
	}
	for proto, http2 := range map[string]bool{"HTTP/2": true, "HTTP/1.1": false} {
		t.Run(proto, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := pipedClient(t, http2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					// A pipe has no buffer: who does not read it keeps its peer from closing it.
					_, _ = io.Copy(io.Discard, r.Body)
					select {
					case <-time.After(slow):
					case <-r.Context().Done():
						panic(http.ErrAbortHandler) // to return would be an answer
					}
					body := bundle
					if r.URL.Path == "/keys/k/backup" {
						body = `{"value":"YmFja3Vw"}`
					}
					_, _ = w.Write([]byte(body))
				}))
				vault, err := broker.VaultName("pay")
				if err != nil {
					t.Fatal(err)
				}
				name, err := vault.Object(broker.KindKeys, "k")
				if err != nil {
					t.Fatal(err)
				}
				for label, act := range waits {
					began := time.Now()
					if err := act(t.Context(), c, name); err != nil || time.Since(began) != slow {
						t.Errorf("%s: %v after %v", label, err, time.Since(began))
					}
				}
				for label, act := range ends {
					c.gate = newGate(nil) // which knows nothing of the failures before
					began := time.Now()
					err := act(t.Context(), c, name)
					if took := time.Since(began); broker.CodeOf(err) != broker.CodeVaultUnavailable || took < maxTries*tryTimeout || took > 10*time.Second {
						t.Errorf("%s: %v after %v; want three tries of 2 s", label, err, took)
					}
				}
			})
		})
	}
}

// pipedClient returns a client that reaches a vault by the pool's own transports,
// over TLS in pipes, so that time can be virtual.
func pipedClient(t *testing.T, http2 bool, h http.Handler) *Client {
	t.Helper()
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	vault := httptest.NewUnstartedServer(h)
	_ = vault.Listener.Close()
	vault.Listener, vault.EnableHTTP2 = l, http2
	// A ticket would be written while nobody reads: pipes have no buffer.
	vault.TLS = &tls.Config{SessionTicketsDisabled: true, MinVersion: tls.VersionTLS12}
	vault.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	vault.StartTLS()
	t.Cleanup(vault.Close)
	roots := x509.NewCertPool()
	roots.AddCert(vault.Certificate())
	p := newPool(roots, patient, nil)
	p.multiplexed.DialContext, p.plain.DialContext = l.dial, l.dial
	c, err := New(Config{URL: "https://127.0.0.1", Tokens: anyToken{}, Transport: p})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

type anyToken struct{}

func (anyToken) Token(context.Context, string, string) (Token, error) {
	return Token{Value: broker.NewValue("token")}, nil
}

// pipes is a listener whose connections are net.Pipe's.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, vault := net.Pipe()
	select {
	case p.conns <- vault:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (*pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }
