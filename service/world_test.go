package service_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/localvault"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
	"github.com/keyward/keyward/service/authn"
)

// world is a server on loopback, with the vault "dev" behind it, and all that
// is needed to call it.
type world struct {
	*testing.T

	store *brokertest.SecretStore
	keys  *brokertest.KeyStore // over a local vault's
	// certificates are another local vault's: in this world a key and a secret of
	// the same name are no certificate's.
	certificates *brokertest.CertificateStore
	audit        *brokertest.Auditor
	spans        *tracetest.SpanRecorder
	meters       *sdkmetric.ManualReader
	logs         *logBuffer
	server       *service.Server

	ca        authority
	issuerKey *ecdsa.PrivateKey
	grpcAddr  string
	httpAddr  string
	stop      context.CancelFunc
	served    chan error
}

const trustDomain = "example.org"

// option changes what a world's server is made of.
type option func(*service.Config, *broker.Config)

// The policy of each world: "/billing" and the bearer "dev/billing" may do all
// but touch the secret "forbidden" and the vault "hidden"; nobody else may do
// anything.
func policy(_ context.Context, r broker.Request) (broker.Decision, error) {
	ok := r.Principal.ID == "spiffe://example.org/billing" || r.Principal.ID == "dev/billing" || r.Principal.ID == "spiffe://example.org/second"
	return broker.Decision{Allowed: ok && r.Resource.ObjectName() != "forbidden" && r.Resource.VaultAlias() != "hidden"}, nil
}

// granted is who could be permitted, whatever is asked of a world.
var granted = []broker.Grant{{
	Subject:    broker.Subject{Kind: broker.SubjectWorkload, ID: "spiffe://example.org/billing"},
	Via:        "dev/team",
	Policies:   []broker.PolicyRef{{ID: "reads", Position: "a.cedar:1:1"}},
	Conditions: []string{`context.transport == "grpc"`},
	Except: []broker.Exception{{
		Subject: broker.Subject{Kind: broker.SubjectGroup, ID: "dev/others"}, Condition: "context has reason", Policy: broker.PolicyRef{ID: "not", Position: "a.cedar:2:1"},
	}},
}}

func newWorld(t *testing.T, options ...option) *world {
	t.Helper()
	vault, err := broker.VaultName("dev")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		T:      t,
		store:  brokertest.NewSecretStore(vault),
		keys:   brokertest.NewKeyStore(localVault(t).Keys()),
		audit:  &brokertest.Auditor{},
		spans:  tracetest.NewSpanRecorder(),
		meters: sdkmetric.NewManualReader(),
		logs:   &logBuffer{},
		ca:     newAuthority(t),
		served: make(chan error, 1),
	}
	issuer, err := broker.ParseName(broker.KindCertificateIssuers, "vaults/dev/certificateIssuers/digicert")
	if err != nil {
		t.Fatal(err)
	}
	pairs := localVault(t)
	w.certificates = brokertest.NewCertificateStore(pairs.Certificates(), broker.CertificateIssuer{Name: issuer, Provider: "DigiCert", OrganizationID: "1", Enabled: true})
	if w.issuerKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(w.spans))
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(w.meters))
	bc := broker.Config{
		Vaults:         map[string]broker.Vault{"dev": {Secrets: withPairs{w.store, pairs.Secrets()}, Keys: w.keys, Certificates: w.certificates}},
		Authorizer:     brokertest.Explainer{Authorizer: brokertest.AuthorizerFunc(policy), Granted: granted},
		Auditor:        w.audit,
		Logger:         log,
		TracerProvider: tp,
		MeterProvider:  mp,
	}
	sc := service.Config{
		Authenticator:  w.authenticator(),
		TLS:            &tls.Config{Certificates: []tls.Certificate{w.ca.issue(t, serverLeaf())}, ClientCAs: w.ca.pool()},
		Logger:         log,
		TracerProvider: tp,
		MeterProvider:  mp,
	}
	for _, o := range options {
		o(&sc, &bc)
	}
	if sc.Broker, err = broker.New(bc); err != nil {
		t.Fatal(err)
	}
	if w.server, err = service.New(sc); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, w.stop = context.WithCancel(t.Context())
	g, h := listen(t), listen(t)
	w.grpcAddr, w.httpAddr = g.Addr().String(), h.Addr().String()
	go func() { w.served <- w.server.Serve(ctx, g, h) }()
	t.Cleanup(func() {
		w.stop()
		if err, open := <-w.served; open && err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return w
}

// withPairs has the secrets of certificates too, by their versions.
type withPairs struct {
	broker.SecretStore

	pairs broker.SecretStore
}

func (s withPairs) GetSecret(ctx context.Context, n broker.Name) (broker.SecretValue, error) {
	v, err := s.SecretStore.GetSecret(ctx, n)
	if n.Version() != "" && broker.CodeOf(err) == broker.CodeSecretNotFound {
		return s.pairs.GetSecret(ctx, n)
	}
	return v, err
}

func localVault(t *testing.T) *localvault.Vault {
	t.Helper()
	dir := t.TempDir()
	vault, err := localvault.Open(localvault.Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vault.Close() })
	return vault
}

// in returns the world for a subtest.
func (w *world) in(t *testing.T) *world {
	t.Helper()
	sub := *w
	sub.T = t
	return &sub
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (w *world) authenticator() authn.Authenticator {
	w.Helper()
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &w.issuerKey.PublicKey}}})
	if err != nil {
		w.Fatal(err)
	}
	file := filepath.Join(w.TempDir(), "keys.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		w.Fatal(err)
	}
	j, err := authn.NewJWT(authn.JWTConfig{Issuers: []authn.Issuer{{Name: "dev", Issuer: "https://issuer", Audiences: []string{"keyward"}, JWKSFile: file}}})
	if err != nil {
		w.Fatal(err)
	}
	m, err := authn.NewMTLS(authn.MTLSConfig{TrustDomain: trustDomain})
	if err != nil {
		w.Fatal(err)
	}
	return authn.Chain{j, m}
}

// token returns a bearer token for subject.
func (w *world) token(subject string) string {
	w.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: w.issuerKey}, nil)
	if err != nil {
		w.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: "https://issuer", Subject: subject, Audience: jwt.Audience{"keyward"}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour)),
	}).Serialize()
	if err != nil {
		w.Fatal(err)
	}
	return token
}

// identity is what a client shows of itself.
type identity struct {
	cert   *tls.Certificate
	bearer string
}

func (w *world) cert(path string) identity {
	w.Helper()
	c := w.ca.issue(w.T, clientLeaf("spiffe://"+trustDomain+path))
	return identity{cert: &c}
}

func (w *world) billing() identity { return w.cert("/billing") }

func (w *world) tls(id identity) *tls.Config {
	c := &tls.Config{RootCAs: w.ca.pool(), MinVersion: tls.VersionTLS13}
	if id.cert != nil {
		c.Certificates = []tls.Certificate{*id.cert}
	}
	return c
}

type bearerToken string

func (b bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}
func (bearerToken) RequireTransportSecurity() bool { return true }

func (w *world) dial(id identity) *grpc.ClientConn {
	w.Helper()
	opts := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(w.tls(id)))}
	if id.bearer != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(bearerToken(id.bearer)))
	}
	conn, err := grpc.NewClient(w.grpcAddr, opts...)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (w *world) client(id identity) keywardv1.SecretServiceClient {
	return keywardv1.NewSecretServiceClient(w.dial(id))
}

func (w *world) httpClient(id identity) *http.Client {
	tr := &http.Transport{TLSClientConfig: w.tls(id), ForceAttemptHTTP2: true}
	w.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// reply is an answer over REST.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// rest calls target, "GET /v1/…", whose path is sent as it stands.
func (w *world) rest(id identity, target, body string, header ...string) reply {
	w.Helper()
	method, path, _ := strings.Cut(target, " ")
	req, err := http.NewRequestWithContext(w.Context(), method, "https://"+w.httpAddr, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	path, query, _ := strings.Cut(path, "?")
	plain, err := url.PathUnescape(path)
	if err != nil {
		w.Fatal(err)
	}
	req.URL = &url.URL{Scheme: "https", Host: w.httpAddr, Path: plain, RawPath: path, RawQuery: query}
	if id.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+id.bearer)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := w.httpClient(id).Do(req)
	if err != nil {
		w.Fatalf("%s: %v", target, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, raw}
}

// verdict is the code and the reason of an error; both empty for none.
type verdict struct{ code, reason string }

func grpcVerdict(err error) verdict {
	if err == nil {
		return verdict{}
	}
	v := verdict{code: status.Code(err).String()}
	for _, d := range status.Convert(err).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok && i.GetDomain() == "keyward" {
			v.reason = i.GetReason()
		}
	}
	return v
}

func (r reply) verdict(t *testing.T) verdict {
	t.Helper()
	if r.status == http.StatusOK {
		return verdict{}
	}
	var body struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Details []struct {
			Type   string `json:"@type"`
			Reason string `json:"reason"`
			Domain string `json:"domain"`
		} `json:"details"`
	}
	if err := json.Unmarshal(r.body, &body); err != nil || body.Message == "" {
		t.Fatalf("the error is no google.rpc.Status: %d %s", r.status, r.body)
	}
	v := verdict{code: codeText(body.Code)}
	for _, d := range body.Details {
		if d.Type == "type.googleapis.com/google.rpc.ErrorInfo" && d.Domain == "keyward" {
			v.reason = d.Reason
		}
	}
	return v
}

// err is the error that r is over gRPC; nil for none.
func (r reply) err(t *testing.T) error {
	t.Helper()
	if r.status == http.StatusOK {
		return nil
	}
	st := new(statuspb.Status)
	if err := protojson.Unmarshal(r.body, st); err != nil {
		t.Fatalf("the error is no google.rpc.Status: %d %s", r.status, r.body)
	}
	return status.ErrorProto(st)
}

// fieldAtFault is the field of a BadRequest; "" for none.
func fieldAtFault(err error) string {
	for _, d := range status.Convert(err).Details() {
		if b, ok := d.(*errdetails.BadRequest); ok {
			return b.GetFieldViolations()[0].GetField()
		}
	}
	return ""
}

// put stores a secret behind the server's back.
func (w *world) put(name, value string) broker.Name {
	w.Helper()
	n, err := broker.ParseName(broker.KindSecrets, name)
	if err != nil {
		w.Fatal(err)
	}
	s, err := w.store.SetSecret(w.Context(), n, broker.NewSecret{Value: broker.NewValue(value), Enabled: true})
	if err != nil {
		w.Fatal(err)
	}
	return s.Name
}

// remove soft-deletes a secret behind the server's back.
func (w *world) remove(name string) {
	w.Helper()
	n, err := broker.ParseName(broker.KindSecrets, name)
	w.must(err)
	_, err = w.store.DeleteSecret(w.Context(), n)
	w.must(err)
}

// get reads a secret over gRPC.
func (w *world) get(name string) *keywardv1.GetSecretResponse {
	w.Helper()
	reply, err := w.client(w.billing()).GetSecret(w.Context(), &keywardv1.GetSecretRequest{Name: name})
	w.must(err)
	return reply
}

func (w *world) value(name string) string { w.Helper(); return w.get(name).GetValue() }

func (w *world) etag(name string) string { w.Helper(); return w.get(name).GetSecret().GetEtag() }

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// logBuffer is where a world's log goes.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IsCA:         true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func (a authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a authority) issue(t *testing.T, tmpl *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.SerialNumber = big.NewInt(2)
	if tmpl.NotBefore.IsZero() {
		tmpl.NotBefore = time.Now().Add(-time.Hour)
	}
	tmpl.NotAfter = cmp.Or(tmpl.NotAfter, time.Now().Add(time.Hour))
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func serverLeaf() *x509.Certificate {
	return &x509.Certificate{
		IPAddresses: []net.IP{netip.MustParseAddr("127.0.0.1").AsSlice()},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

func clientLeaf(uris ...string) *x509.Certificate {
	c := &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, u := range uris {
		parsed, err := url.Parse(u)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, parsed)
	}
	return c
}

// takesLong leaves a test out of a short run, as under the race detector: it makes
// one call after another, of which others make the same at once.
func takesLong(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes long: go test runs it, and go test -short does not")
	}
}
