package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

const (
	// A day of the test's month. The certificates of a day outlive it by a day,
	// and its CA by two: whoever misses two rotations is refused.
	rotationDay   = 20 * time.Minute
	rotationDays  = 30
	rotationLeaf  = 2 * rotationDay
	rotationCA    = 3 * rotationDay
	rotationAdmin = "spiffe://dev.keyward/admin"
)

// rotated is a folder of keyward serve in which everything changes.
type rotated struct {
	t   *testing.T
	dir string
	ca  *localCA

	// Of the clients: whom they trust, and who they are.
	trust atomic.Pointer[x509.CertPool]
	self  atomic.Pointer[tls.Certificate]
}

func newRotated(t *testing.T, dir string) *rotated {
	t.Helper()
	r := &rotated{t: t, dir: dir}
	r.ca = r.newCA()
	r.file("clients.pem", r.bundle(r.ca))
	r.trusts(r.ca)
	r.issue()
	if err := os.Mkdir(filepath.Join(dir, "policy"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.policy(0)
	r.configuration(0)
	// In the way of the embedded vaults' sockets, without which they do: a goroutine
	// that waits for the kernel would stop the test's clock.
	r.file("edge.db.control", "")
	r.file("extra.db.control", "")
	return r
}

func (r *rotated) file(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// newCA makes a CA whose certificates are written to the folder.
func (r *rotated) newCA() *localCA {
	r.t.Helper()
	ca := &localCA{dir: r.dir}
	if err := ca.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "CA of " + time.Now().Format(time.RFC3339)},
		IsCA:    true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, "ca", rotationCA); err != nil {
		r.t.Fatal(err)
	}
	ca, err := openCA(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	return ca
}

func (r *rotated) bundle(all ...*localCA) string {
	var text strings.Builder
	for _, ca := range all {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}))
	}
	return text.String()
}

func (r *rotated) trusts(all ...*localCA) {
	pool := x509.NewCertPool()
	for _, ca := range all {
		pool.AddCert(ca.cert)
	}
	r.trust.Store(pool)
}

// issue makes the server and the client certificates of the CA.
func (r *rotated) issue() {
	r.t.Helper()
	err := r.ca.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"keyward"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, "server", rotationLeaf)
	id, _ := url.Parse(rotationAdmin)
	err = errors.Join(err, r.ca.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "client"}, URIs: []*url.URL{id},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, "client", rotationLeaf))
	if err != nil {
		r.t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(r.dir, "client.pem"), filepath.Join(r.dir, "client-key.pem"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.self.Store(&pair)
}

// configuration keeps a vault, its cache for another time each day, and has a
// second one every other day.
func (r *rotated) configuration(day int) {
	text := fmt.Sprintf(`
grpc: {address: "127.0.0.1:1"}
tls: {certificate: server.pem, key: server-key.pem, clientCa: clients.pem}
identity: {mtls: {trustDomain: dev.keyward}}
limits: {principal: {rate: %d}}
policy: {path: policy}
audit: {path: audit.jsonl}
drain: {notice: 0s, timeout: 5s}
cache: {ttl: %ds}
vaults:
  edge: {local: {path: edge.db, keyFile: edge.key}}
`, 1000+day, 30+day)
	if r.extra(day) {
		text += "  extra: {local: {path: extra.db, keyFile: extra.key}}\n"
	}
	r.file("keyward.yaml", text)
}

func (r *rotated) extra(day int) bool { return day%2 == 1 }

// policy allows the client what it does, by a policy of another name each day.
func (r *rotated) policy(day int) {
	r.file("policy/grant.cedar", fmt.Sprintf(`@id("day-%d") permit (principal == Workload::%q, action, resource);`, day, rotationAdmin))
}

// rotate is a day: a CA comes, certificates of it replace those before, and the
// old CA goes; the policy changes, and so does the configuration.
func (r *rotated) rotate(day int) {
	const seen = 10 * time.Second
	old := r.ca
	r.ca = r.newCA()
	r.file("clients.pem", r.bundle(old, r.ca))
	r.trusts(old, r.ca)
	time.Sleep(seen)
	r.issue()
	r.policy(day)
	r.configuration(day)
	time.Sleep(rotationDay - 2*seen) // and the connections of before are of age
	r.file("clients.pem", r.bundle(r.ca))
	r.trusts(r.ca)
	time.Sleep(seen)
}

// client is a client that makes its own connections, as old certificates end.
func (r *rotated) client(ln *bufconn.Listener) (keywardv1.SecretServiceClient, func() error) {
	r.t.Helper()
	conf := &tls.Config{
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return r.self.Load(), nil },
		InsecureSkipVerify:   true, // VerifyConnection does it, with the roots of today
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: r.trust.Load(), DNSName: "keyward"})
			return err
		},
	}
	conn, err := grpc.NewClient("passthrough:///keyward", grpc.WithTransportCredentials(credentials.NewTLS(conf)), quickly,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		r.t.Fatal(err)
	}
	return keywardv1.NewSecretServiceClient(conn), conn.Close
}

// Certificates, CA, policy and the vault's tokens change all the time, while
// clients read and write. No call fails, and at the end nothing is left.
func TestAMonthOfRotations(t *testing.T) {
	days := rotationDays
	if testing.Short() {
		days = 10
	}
	dir := t.TempDir()
	var calls, failed atomic.Int64
	log := &safeBuffer{}
	synctest.Test(t, func(t *testing.T) {
		r := newRotated(t, dir)
		conf, _, err := loadConfig(filepath.Join(dir, "keyward.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		ln := listeners{grpc: bufconn.Listen(1 << 16), http: bufconn.Listen(1 << 16), admin: bufconn.Listen(1 << 16)}
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		w := wiring{config: conf, file: filepath.Join(dir, "keyward.yaml"), env: func(string) string { return "" }, log: slog.New(slog.NewTextHandler(log, nil))}
		go func() { served <- w.serve(ctx, ln) }()

		load, done := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		for worker := range 4 {
			c, end := r.client(ln.grpc.(*bufconn.Listener))
			workers.Go(func() {
				defer end()
				name := fmt.Sprintf("vaults/edge/secrets/s-%d", worker)
				for i := 0; load.Err() == nil; i++ {
					// Not load: its end would fail the call under way.
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					err := turn(ctx, c, name, i)
					cancel()
					calls.Add(1)
					if err != nil && failed.Add(1) <= 5 {
						t.Errorf("%s: %v", time.Now().Format(time.RFC3339), err)
					}
					time.Sleep(7 * time.Second)
				}
			})
		}
		c, end := r.client(ln.grpc.(*bufconn.Listener))
		for day := range days {
			r.rotate(day + 1)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			_, err := c.SetSecret(ctx, &keywardv1.SetSecretRequest{Name: "vaults/extra/secrets/s", Value: "x"}, grpc.WaitForReady(true))
			cancel()
			if got := reasonOf(status.Convert(err)); (got == "") != r.extra(day+1) || err != nil && got != broker.CodeVaultNotFound {
				t.Errorf("day %d: the vault that is there every other day: %v", day+1, err)
			}
		}
		_ = end()
		done()
		workers.Wait()
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Logf("%d calls, %d failed", calls.Load(), failed.Load())
	if n := strings.Count(log.String(), "TLS files were reloaded"); n < 2*days {
		t.Errorf("the TLS files were reloaded %d times in %d days\n%s", n, days, log)
	}
	if n := strings.Count(log.String(), "the configuration was reloaded"); n != days {
		t.Errorf("the configuration was reloaded %d times in %d days\n%s", n, days, log)
	}
	text := read(t, filepath.Join(dir, "audit.jsonl"))
	if last := fmt.Sprintf(`"policies":["day-%d"]`, days); !strings.Contains(text, last) {
		t.Errorf("no call was decided by the last day's policy, %s", last)
	}
}

// turn writes, every tenth time, and reads.
func turn(ctx context.Context, c keywardv1.SecretServiceClient, name string, i int) error {
	if i%10 == 0 {
		if _, err := c.SetSecret(ctx, &keywardv1.SetSecretRequest{Name: name, Value: fmt.Sprint(i)}, grpc.WaitForReady(true)); err != nil {
			return fmt.Errorf("set: %w", err)
		}
	}
	got, err := c.GetSecret(ctx, &keywardv1.GetSecretRequest{Name: name})
	if err == nil && got.GetValue() != fmt.Sprint(i-i%10) {
		err = fmt.Errorf("got %q, want %d", got.GetValue(), i-i%10)
	}
	return err
}
