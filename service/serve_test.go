package service_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
)

// patience bounds a wait that ends by an event; only a failing test uses it up.
const patience = 20 * time.Second

func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
		panic("unreachable")
	}
}

// TestDrain: the calls in flight end, over both transports, while new ones are
// refused.
func TestDrain(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Run("server", func(t *testing.T) {
		w := newWorld(t)
		w.put("vaults/dev/secrets/db", "x")
		entered, release := make(chan struct{}), make(chan struct{})
		var open sync.Once
		defer open.Do(func() { close(release) })
		w.store.SetHook(func(_ context.Context, method string, n broker.Name) error {
			if method == brokertest.GetSecret && n.ObjectName() == "db" {
				entered <- struct{}{}
				<-release
			}
			return nil
		})
		ended := make(chan error, 2)
		client := w.client(w.billing())
		go func() {
			_, err := client.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"})
			ended <- err
		}()
		hc := w.httpClient(w.billing())
		status := make(chan int, 1)
		go func() {
			resp, err := hc.Get("https://" + w.httpAddr + "/v1/vaults/dev/secrets/db")
			if err != nil {
				t.Error(err)
				status <- 0
				return
			}
			resp.Body.Close()
			status <- resp.StatusCode
		}()
		receive(t, entered, "the first call")
		receive(t, entered, "the second call")
		if err := w.server.Ready(); err != nil {
			t.Errorf("not ready while serving: %v", err)
		}

		w.stop()
		// A new connection is refused as soon as the listener is closed.
		late := w.client(w.cert("/billing"))
		for deadline := time.Now().Add(patience); ; {
			_, err := late.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/none"})
			if grpcVerdict(err).code == "Unavailable" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("a new call is still taken: %v", err)
			}
		}
		if w.server.Ready() == nil {
			t.Error("ready while draining")
		}
		select {
		case err := <-w.served:
			t.Fatalf("Serve returned with calls in flight: %v", err)
		default:
		}
		open.Do(func() { close(release) })
		if err := receive(t, ended, "the end of the gRPC call"); err != nil {
			t.Errorf("the gRPC call in flight: %v", err)
		}
		if code := receive(t, status, "the end of the REST call"); code != http.StatusOK {
			t.Errorf("the REST call in flight: %d", code)
		}
		if err := receive(t, w.served, "the end of Serve"); err != nil {
			t.Errorf("Serve: %v", err)
		}
		close(w.served)
		if err := w.server.Serve(t.Context(), listen(t), listen(t)); err == nil {
			t.Error("a server serves twice")
		}
	})
	goleak.VerifyNone(t, ignore)
}

// TestDrainNotice: for as long as the notice, the server says that it is not
// ready, and serves on; its replies send clients elsewhere.
func TestDrainNotice(t *testing.T) {
	w := newWorld(t, func(c *service.Config, _ *broker.Config) { c.DrainNotice = 2 * time.Second })
	w.put("vaults/dev/secrets/db", "x")
	health := grpc_health_v1.NewHealthClient(w.dial(identity{}))
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: w.tls(w.billing())}} // HTTP/1.1
	defer hc.CloseIdleConnections()
	get := func() (*http.Response, error) {
		resp, err := hc.Get("https://" + w.httpAddr + "/v1/vaults/dev/secrets/db")
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		return resp, err
	}
	if resp, err := get(); err != nil || resp.Close {
		t.Fatalf("before: %v, %v", resp, err)
	}
	w.stop()
	for w.server.Ready() == nil {
		time.Sleep(time.Millisecond)
	}
	if r, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health in the notice: %v, %v", r, err)
	}
	if _, err := w.client(w.cert("/billing")).GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"}); err != nil {
		t.Errorf("a new gRPC call in the notice: %v", err)
	}
	if resp, err := get(); err != nil || resp.StatusCode != http.StatusOK || !resp.Close {
		t.Errorf("a REST call in the notice: %+v, %v", resp, err)
	}
	if err := receive(t, w.served, "the end of Serve"); err != nil {
		t.Errorf("Serve: %v", err)
	}
	close(w.served)
}

// TestCompressedMessagesAreNotTaken, although a package of this process has
// registered gzip.
func TestCompressedMessagesAreNotTaken(t *testing.T) {
	w := newWorld(t)
	_, err := w.client(w.billing()).GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"}, grpc.UseCompressor(gzip.Name))
	if err == nil || !strings.Contains(err.Error(), "compressed messages are not taken") {
		t.Errorf("got %v", err)
	}
	if n := w.store.Calls(brokertest.GetSecret); n != 0 {
		t.Errorf("%d vault calls", n)
	}
}

func TestDrainTimeoutCutsOff(t *testing.T) {
	w := newWorld(t, func(c *service.Config, _ *broker.Config) { c.DrainTimeout = 10 * time.Millisecond })
	entered := make(chan struct{})
	w.store.SetHook(func(ctx context.Context, _ string, _ broker.Name) error {
		close(entered)
		<-ctx.Done()
		return broker.AsError(ctx.Err())
	})
	ended := make(chan error, 1)
	client := w.client(w.billing())
	go func() {
		_, err := client.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"})
		ended <- err
	}()
	receive(t, entered, "the call")
	w.stop()
	if err := receive(t, ended, "the end of the call"); err == nil {
		t.Error("the call did not fail")
	}
	if err := receive(t, w.served, "the end of Serve"); err != nil {
		t.Errorf("Serve: %v", err)
	}
	close(w.served)
}

// TestHealth: health is open to all, follows the server's state, and a watch of
// it does not hold up the drain.
func TestHealth(t *testing.T) {
	w := newWorld(t, func(c *service.Config, _ *broker.Config) { c.DrainTimeout = time.Hour })
	h := grpc_health_v1.NewHealthClient(w.dial(identity{}))
	for _, name := range []string{"", "keyward.v1.SecretService", "keyward.v1.AccessService"} {
		r, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: name})
		if err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", name, r, err)
		}
	}
	if _, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "nothing"}); grpcVerdict(err).code != "NotFound" {
		t.Errorf("an unknown service: %v", err)
	}
	watch, err := h.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("watch: %v, %v", r, err)
	}
	w.stop()
	for {
		if r, err := watch.Recv(); err != nil {
			break
		} else if r.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
			t.Errorf("watch while draining: %v", r)
		}
	}
	if err := receive(t, w.served, "the end of Serve"); err != nil {
		t.Errorf("Serve: %v", err)
	}
	close(w.served)
	r, err := service.Health(w.server).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || r.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("after Serve: %v, %v", r, err)
	}
	if n := len(w.audit.Events()); n != 0 {
		t.Errorf("%d events of health", n)
	}
}

func TestReflectionOnlyIfAsked(t *testing.T) {
	for _, on := range []bool{true, false} {
		w := newWorld(t, func(c *service.Config, _ *broker.Config) { c.Reflection = on })
		s, err := reflectionv1.NewServerReflectionClient(w.dial(identity{})).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
		r, err := s.Recv()
		if on && (err != nil || !strings.Contains(r.String(), "keyward.v1.SecretService")) {
			t.Errorf("on: %v, %v", r, err)
		}
		if !on && grpcVerdict(err).code != "Unimplemented" {
			t.Errorf("off: %v, %v", r, err)
		}
	}
}

// TestUnknownMethodsReachNothing: many spellings of a method that exists.
func TestUnknownMethodsReachNothing(t *testing.T) {
	w := newWorld(t)
	w.put("vaults/dev/secrets/db", "x")
	conn := w.dial(w.billing())
	for _, m := range []string{
		"/keyward.v1.SecretService/getSecret", "/keyward.v1.SecretService/GetSecret/", "/keyward.v1.secretservice/GetSecret",
		"//keyward.v1.SecretService/GetSecret", "/keyward.v1.SecretService//GetSecret", "/keyward.v1.SecretService/%47etSecret",
		"/keyward.v1.SecretService/../SecretService/GetSecret", "/keyward.v1.SecretService/DestroySecret", "/keyward.v2.SecretService/GetSecret",
		"/x/keyward.v1.SecretService/GetSecret", "/grpc.reflection.v1.X/GetSecret", "/grpc.health.v1.Health/../../keyward.v1.SecretService/GetSecret",
	} {
		err := conn.Invoke(t.Context(), m, &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"}, &keywardv1.GetSecretResponse{})
		if got := grpcVerdict(err); got != (verdict{code: "Unimplemented"}) {
			t.Errorf("%s: %v", m, err)
		}
	}
	if n := w.store.Calls(brokertest.GetSecret) + len(w.audit.Events()); n != 0 {
		t.Errorf("%d calls reached the broker or the store", n)
	}
}

func TestAPanicIsInternalAndTellsNothing(t *testing.T) {
	w := newWorld(t)
	w.store.SetHook(func(context.Context, string, broker.Name) error { panic("hunter2") })
	want := verdict{"Internal", "INTERNAL"}
	_, err := w.client(w.billing()).GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"})
	if grpcVerdict(err) != want || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("gRPC: %v", err)
	}
	r := w.rest(w.billing(), "GET /v1/vaults/dev/secrets/db", "")
	if r.verdict(t) != want || strings.Contains(string(r.body), "hunter2") {
		t.Errorf("REST: %d %s", r.status, r.body)
	}
	if log := w.logs.String(); strings.Contains(log, "hunter2") || strings.Count(log, "panic in a call") != 2 {
		t.Errorf("the log: %s", log)
	}
}

func TestCallsGetADeadline(t *testing.T) {
	w := newWorld(t)
	left := make(chan time.Duration, 1)
	w.store.SetHook(func(ctx context.Context, _ string, _ broker.Name) error {
		d, ok := ctx.Deadline()
		if !ok {
			d = time.Time{}
		}
		left <- time.Until(d)
		return nil
	})
	check := func(what string, most time.Duration) {
		t.Helper()
		if d := receive(t, left, "the call"); d <= 0 || d > most {
			t.Errorf("%s: %v left, want up to %v", what, d, most)
		}
	}
	c := w.client(w.billing())
	_, _ = c.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"})
	check("gRPC", 10*time.Second)
	for own, want := range map[time.Duration]time.Duration{45 * time.Second: 45 * time.Second, time.Hour: time.Minute} {
		ctx, cancel := context.WithTimeout(t.Context(), own)
		_, _ = c.GetSecret(ctx, &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"})
		if d := receive(t, left, "the call"); d < 15*time.Second || d > want {
			t.Errorf("a deadline of %v: %v left, want up to %v", own, d, want)
		}
		cancel()
	}
	w.rest(w.billing(), "GET /v1/vaults/dev/secrets/db", "")
	check("REST", 10*time.Second)
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t)
	var good service.Config
	newWorld(t, func(c *service.Config, bc *broker.Config) {
		b, err := broker.New(*bc)
		if err != nil {
			t.Fatal(err)
		}
		good = *c
		good.Broker = b
	})
	for name, change := range map[string]func(*service.Config){
		"no broker":        func(c *service.Config) { c.Broker = nil },
		"no authenticator": func(c *service.Config) { c.Authenticator = nil },
		"no TLS":           func(c *service.Config) { c.TLS = nil },
		"no certificate":   func(c *service.Config) { c.TLS = &tls.Config{ClientCAs: w.ca.pool()} },
		"a short key":      func(c *service.Config) { c.PageTokenKey = make([]byte, 31) },
	} {
		c := good
		change(&c)
		if _, err := service.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if s, err := service.New(good); err != nil {
		t.Errorf("the good one: %v", err)
	} else if s.Ready() == nil {
		t.Error("ready before Serve")
	}
}

// TestTLSIsStrictWhateverIsConfigured: also through GetConfigForClient, by
// which certificates are reloaded.
func TestTLSIsStrictWhateverIsConfigured(t *testing.T) {
	other := newAuthority(t)
	for name, reload := range map[string]bool{"plain": false, "reloaded": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *service.Config, _ *broker.Config) {
				c.TLS.MinVersion = tls.VersionTLS12
				c.TLS.ClientAuth = tls.RequestClientCert
				if reload {
					inner := c.TLS
					c.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return inner, nil }}
				}
			})
			w.put("vaults/dev/secrets/db", "x")
			for _, addr := range []string{w.grpcAddr, w.httpAddr} {
				c := w.tls(identity{})
				c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
				if conn, err := tls.Dial("tcp", addr, c); err == nil {
					conn.Close()
					t.Errorf("%s: TLS 1.2 is accepted", addr)
				}
			}
			// A resumed session would not show its certificate again.
			c := w.tls(w.billing())
			c.ClientSessionCache = tls.NewLRUClientSessionCache(8)
			for range 2 {
				conn, err := tls.Dial("tcp", w.httpAddr, c)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: keyward\r\nConnection: close\r\n\r\n")
				_, _ = io.Copy(io.Discard, conn)
				if conn.ConnectionState().DidResume {
					t.Error("a session was resumed")
				}
				conn.Close()
			}
			if r := w.rest(w.billing(), "GET /v1/vaults/dev/secrets/db", ""); r.status != http.StatusOK {
				t.Errorf("REST: %d %s", r.status, r.body)
			}
			if _, err := w.client(w.billing()).GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"}); err != nil {
				t.Errorf("gRPC: %v", err)
			}
			unknown := other.issue(t, clientLeaf("spiffe://example.org/billing"))
			if _, err := w.client(identity{cert: &unknown}).GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"}); grpcVerdict(err).code != "Unavailable" {
				t.Errorf("a certificate of another CA: %v", err)
			}
		})
	}
}

// TestWithoutClientCAs: the system's CAs must not vouch for callers.
func TestWithoutClientCAs(t *testing.T) {
	w := newWorld(t, func(c *service.Config, _ *broker.Config) { c.TLS.ClientCAs = nil })
	_, err := w.client(w.billing()).GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"})
	if got := grpcVerdict(err); got != (verdict{"Unauthenticated", "NO_CREDENTIALS"}) {
		t.Errorf("got %v", err)
	}
}
