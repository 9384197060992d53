package keyvault

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/keyward/keyward/broker"
)

const faultsBundle = `{"value":"v","id":"https://v.vault.azure.net/secrets/s/4387e9f3d6e14c459867679a90fd0f79",` +
	`"attributes":{"enabled":true,"created":1680047550,"updated":1680047550,"recoveryLevel":"Recoverable+Purgeable","recoverableDays":90}}`

// faulty is a client of a vault over real sockets and TLS, and what lies between.
type faulty struct {
	client *Client
	pool   *pool
	vault  *httptest.Server
	reader *metric.ManualReader
	line   *line
	name   broker.Name
}

func newFaulty(t *testing.T, http2 bool, h http.Handler) *faulty {
	t.Helper()
	return newFaultyWith(t, http2, h, patience{ping: 50 * time.Millisecond, pong: 50 * time.Millisecond, hung: 20 * time.Millisecond})
}

// newFaultyWith is newFaulty with a pool of that patience.
func newFaultyWith(t *testing.T, http2 bool, h http.Handler, p patience) *faulty {
	t.Helper()
	f := &faulty{reader: metric.NewManualReader()}
	f.vault = httptest.NewUnstartedServer(h)
	f.vault.EnableHTTP2 = http2
	f.vault.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	f.vault.StartTLS()
	t.Cleanup(f.vault.Close)
	f.line = newLine(t, f.vault.Listener.Addr().String())

	vault, err := broker.VaultName("pay")
	if err != nil {
		t.Fatal(err)
	}
	if f.name, err = vault.Object(broker.KindSecrets, "s"); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(f.vault.Certificate())
	mp := metric.NewMeterProvider(metric.WithReader(f.reader))
	f.client, err = New(Config{Vault: vault, URL: "https://" + f.line.addr(), Tokens: anyToken{}, RootCAs: roots, MeterProvider: mp})
	if err != nil {
		t.Fatal(err)
	}
	// The pool that New made, with other patience.
	made, ok := f.client.http.Transport.(*pool)
	if !ok {
		t.Fatalf("the transport is a %T", f.client.http.Transport)
	}
	f.pool = newPool(roots, p, made.telemetry)
	f.client.http.Transport = f.pool
	t.Cleanup(f.client.Close)
	return f
}

// get is a call, which ends after limit.
func (f *faulty) get(t *testing.T, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err := f.client.GetSecret(ctx, f.name)
	return err
}

// sum returns the total of a counter's points that have all the attributes.
func (f *faulty) sum(t *testing.T, name string, with ...attribute.KeyValue) int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := f.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			data, ok := m.Data.(metricdata.Sum[int64])
			if m.Name != name || !ok {
				continue
			}
		points:
			for _, p := range data.DataPoints {
				for _, a := range with {
					if v, ok := p.Attributes.Value(a.Key); !ok || v != a.Value {
						continue points
					}
				}
				total += p.Value
			}
		}
	}
	return total
}

func protocols(t *testing.T, test func(t *testing.T, http2 bool)) {
	t.Helper()
	for proto, http2 := range map[string]bool{"HTTP/2": true, "HTTP/1.1": false} {
		t.Run(proto, func(t *testing.T) { test(t, http2) })
	}
}

// together returns a handler that answers when n requests are there, so that
// HTTP/1.1 needs n connections, and at once from then on.
func together(n int32) http.HandlerFunc {
	var came atomic.Int32
	all := make(chan struct{})
	return func(w http.ResponseWriter, r *http.Request) {
		if came.Add(1) == n {
			close(all)
		}
		select {
		case <-all:
			_, _ = io.WriteString(w, faultsBundle)
		case <-r.Context().Done():
		}
	}
}

// A connection that swallows everything is replaced: over HTTP/2 by what the
// pings find, over HTTP/1.1 with the first call that it costs, and all its idle
// siblings with it.
func TestBlackHole(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		const conns = 8
		f := newFaulty(t, http2, together(conns))
		f.pool.http1.Store(!http2) // as if a reply had told
		var all sync.WaitGroup
		for range conns {
			all.Go(func() {
				if err := f.get(t, 30*time.Second); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		f.line.swallow()

		if http2 {
			var err error
			for range 100 {
				if err = f.get(t, 100*time.Millisecond); err == nil {
					break
				}
			}
			if err != nil {
				t.Fatalf("the dead connection was not replaced: %v", err)
			}
			return
		}
		if err := f.get(t, 100*time.Millisecond); broker.CodeOf(err) != broker.CodeDeadlineExceeded {
			t.Fatalf("%v, want the caller's deadline", err)
		}
		if err := f.get(t, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		if got := f.sum(t, "keyward.vault.calls", attribute.String("status", "error")); got != 1 {
			t.Errorf("the dead connections cost %d requests, want 1", got)
		}
	})
}

// A vault that says GOAWAY while calls are under way, as when it is updated.
func TestGoAway(t *testing.T) {
	var served atomic.Int32
	f := newFaultyWith(t, true, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if served.Add(1)%10 == 0 {
			w.Header().Set("Connection", "close") // net/http's server then says GOAWAY
		}
		_, _ = io.WriteString(w, faultsBundle)
	}), patience{ping: time.Minute, pong: time.Minute, hung: time.Minute}) // a slow machine is no dead connection
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 25 {
				if err := f.get(t, 30*time.Second); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := f.sum(t, "keyward.pool.dials", attribute.String("result", "ok")); got < 2 {
		t.Errorf("%d connections: none was replaced", got)
	}
}

// A vault that closes all connections, busy ones too.
func TestAllConnectionsClosed(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		var served atomic.Int32
		var f *faulty
		ready := make(chan struct{}) // f is set
		f = newFaulty(t, http2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-ready
			if served.Add(1) == 20 {
				go f.line.close() // under this very request
				<-r.Context().Done()
				return
			}
			_, _ = io.WriteString(w, faultsBundle)
		}))
		close(ready)
		for i := range 40 {
			if err := f.get(t, 30*time.Second); err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
			if i == 9 { // while idle
				f.line.close()
			}
		}
	})
}

// After Warm, a call finds a connection.
func TestWarm(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		f := newFaulty(t, http2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/healthstatus" && r.Header.Get("Authorization") != "" {
				t.Error("the request for the vault's health has a token")
			}
			_, _ = io.WriteString(w, faultsBundle)
		}))
		if err := f.client.Warm(t.Context()); err != nil {
			t.Fatal(err)
		}
		dials := f.sum(t, "keyward.pool.dials")
		if dials == 0 {
			t.Fatal("no connection")
		}
		reused := f.sum(t, "keyward.pool.requests", attribute.Bool("reused", true))
		if err := f.get(t, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		if got := f.sum(t, "keyward.pool.dials"); got != dials {
			t.Errorf("the call dialled: %d after %d", got, dials)
		}
		if got := f.sum(t, "keyward.pool.requests", attribute.Bool("reused", true)); got != reused+1 {
			t.Errorf("%d requests over a used connection, want %d", got, reused+1)
		}
		proto := map[bool]string{true: "h2", false: "http/1.1"}[http2]
		if got := f.sum(t, "keyward.pool.handshakes", attribute.String("result", "ok"), attribute.String("protocol", proto)); got != dials {
			t.Errorf("%d handshakes of %s for %d connections", got, proto, dials)
		}
	})
}

// What cannot be reached is an error of Warm's, and counted.
func TestWarmFails(t *testing.T) {
	f := newFaulty(t, true, http.NotFoundHandler())
	f.pool.multiplexed.TLSClientConfig.RootCAs = x509.NewCertPool()
	if err := f.client.Warm(t.Context()); broker.CodeOf(err) != broker.CodeVaultUnavailable {
		t.Errorf("a stranger's certificate: %v", err)
	}
	if got := f.sum(t, "keyward.pool.handshakes", attribute.String("result", "error")); got != 1 {
		t.Errorf("%d failed handshakes, want 1", got)
	}
	_ = f.line.listener.Close()
	if err := f.client.Warm(t.Context()); broker.CodeOf(err) != broker.CodeVaultUnavailable {
		t.Errorf("nobody listens: %v", err)
	}
	if got := f.sum(t, "keyward.pool.dials", attribute.String("result", "error")); got != 1 {
		t.Errorf("%d failed dials, want 1", got)
	}
}

// line is a TCP proxy whose connections can die silently.
type line struct {
	listener net.Listener
	to       string
	all      sync.WaitGroup

	mu    sync.Mutex
	conns []*wired
}

type wired struct {
	client, vault net.Conn
	dead          atomic.Bool
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{listener: ln, to: to}
	l.all.Go(l.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		l.close()
		l.all.Wait()
	})
	return l
}

func (l *line) addr() string { return l.listener.Addr().String() }

func (l *line) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		vault, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", l.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		w := &wired{client: client, vault: vault}
		l.mu.Lock()
		l.conns = append(l.conns, w)
		l.mu.Unlock()
		l.all.Go(func() { w.carry(vault, client) })
		l.all.Go(func() { w.carry(client, vault) })
	}
}

// carry copies until either end closes. Once dead, what comes goes nowhere.
func (w *wired) carry(to, from net.Conn) {
	defer w.close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if w.dead.Load() {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (w *wired) close() {
	_ = w.client.Close()
	_ = w.vault.Close()
}

// swallow lets the connections there are die silently. New ones live.
func (l *line) swallow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.conns {
		w.dead.Store(true)
	}
}

// close closes the connections there are.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.conns {
		w.close()
	}
	l.conns = nil
}
