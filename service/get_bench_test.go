package service

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/audit"
	"github.com/keyward/keyward/broker/brokertest"
	policies "github.com/keyward/keyward/broker/policy"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service/authn"
)

// BenchmarkGetSecret is what a warm Get costs between grpc-go's decoding of the
// request and the bytes of the reply: telemetry, authentication, decision, cache,
// record and conversion, under 1,000 policies, with the audit log on disk. What it
// is of a call over the wire, `make bench` tells.
func BenchmarkGetSecret(b *testing.B) {
	dir := b.TempDir()
	var text strings.Builder
	text.WriteString("permit (principal == Workload::\"spiffe://example.org/pay\", action == Action::\"getSecret\", resource == Secret::\"vaults/pay/secrets/db\");\n")
	for i := range 999 {
		fmt.Fprintf(&text, "permit (principal == Workload::\"spiffe://example.org/w%d\", action in Action::\"readSecrets\", resource in Vault::\"pay\");\n", i)
	}
	if err := os.WriteFile(filepath.Join(dir, "all.cedar"), []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	engine, err := policies.Load(dir)
	if err != nil {
		b.Fatal(err)
	}
	log, err := audit.Open(audit.Config{Path: filepath.Join(dir, "audit.jsonl")})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	vault, err := broker.VaultName("pay")
	if err != nil {
		b.Fatal(err)
	}
	store := brokertest.NewSecretStore(vault)
	name, err := vault.Object(broker.KindSecrets, "db")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := store.SetSecret(b.Context(), name, broker.NewSecret{Value: broker.NewValue(strings.Repeat("v", 256)), Enabled: true}); err != nil {
		b.Fatal(err)
	}
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01))))
	core, err := broker.New(broker.Config{
		Vaults: map[string]broker.Vault{"pay": {Secrets: broker.NewSecretCache(store, broker.SecretCacheConfig{
			TTL: time.Hour, Vault: "pay", MeterProvider: meters,
		})}},
		Authorizer: engine, Auditor: log, MeterProvider: meters, TracerProvider: tracer,
	})
	if err != nil {
		b.Fatal(err)
	}
	who, err := authn.NewMTLS(authn.MTLSConfig{TrustDomain: "example.org"})
	if err != nil {
		b.Fatal(err)
	}
	chain := clientChain(b, "spiffe://example.org/pay")
	server, err := New(Config{
		Broker: core, Authenticator: who, MeterProvider: meters, TracerProvider: tracer,
		TLS:    &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{chain[0].Raw}}}},
		Limits: Limits{Principal: Limit{Rate: MaxRate}},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx := metadata.NewIncomingContext(b.Context(), metadata.Pairs(
		":authority", "localhost:1", "content-type", "application/grpc", "user-agent", "grpc-go/1"))
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: connAddr{conn: &conn{
		peer: netip.MustParseAddr("127.0.0.1"),
		tls:  &tls.ConnectionState{PeerCertificates: chain[:1], VerifiedChains: [][]*x509.Certificate{chain}},
	}}})
	get := grpcSecrets{&secretService{broker: core}}
	info := &grpc.UnaryServerInfo{FullMethod: keywardv1.SecretService_GetSecret_FullMethodName}
	method := func(ctx context.Context, req any) (any, error) {
		return get.GetSecret(ctx, req.(*keywardv1.GetSecretRequest))
	}
	handler := func(ctx context.Context, req any) (any, error) { return server.unary(ctx, req, info, method) }
	if _, err := handler(ctx, &keywardv1.GetSecretRequest{Name: name.String()}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := handler(ctx, &keywardv1.GetSecretRequest{Name: name.String()})
			if err == nil {
				_, err = proto.Marshal(resp.(proto.Message))
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// clientChain returns a workload's certificate and its CA's.
func clientChain(b *testing.B, id string) []*x509.Certificate {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	uri, err := url.Parse(id)
	if err != nil {
		b.Fatal(err)
	}
	var chain []*x509.Certificate
	for _, tmpl := range []*x509.Certificate{{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{uri}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, {
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}} {
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
		if err != nil {
			b.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			b.Fatal(err)
		}
		chain = append(chain, c)
	}
	return chain
}
