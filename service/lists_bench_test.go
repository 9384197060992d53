package service_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/audit"
	"github.com/keyward/keyward/broker/brokertest"
	policies "github.com/keyward/keyward/broker/policy"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
)

// rawReplies is a client's codec that leaves replies as they came: what it costs
// a client to read them is not the server's cost.
type rawReplies struct{}

func (rawReplies) Name() string { return "proto" }

func (rawReplies) Marshal(v any) (mem.BufferSlice, error) {
	b, err := proto.Marshal(v.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}

func (rawReplies) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// countReply counts a reply's secrets, and returns its page token.
func countReply(b *testing.B, reply []byte) (secrets int, next string) {
	b.Helper()
	for len(reply) > 0 {
		field, _, n := protowire.ConsumeTag(reply)
		if n < 0 {
			b.Fatal(protowire.ParseError(n))
		}
		text, m := protowire.ConsumeBytes(reply[n:])
		if m < 0 {
			b.Fatal(protowire.ParseError(m))
		}
		reply = reply[n+m:]
		switch field {
		case 1:
			secrets++
		case 2:
			next = string(text)
		}
	}
	return secrets, next
}

// BenchmarkListSecrets takes the whole list of 10,000 secrets over gRPC and TLS,
// in pages of 1,000, warm, through 1,000 policies and into an audit log on disk.
// cpu-ms is what the process used on all cores, the collector's work, the system
// time and the client's end of the connection included.
func BenchmarkListSecrets(b *testing.B) {
	dir := b.TempDir()
	var text strings.Builder
	text.WriteString("permit (principal == Workload::\"fuzz\", action == Action::\"listSecrets\", resource is Secret in Vault::\"pay\");\n")
	for i := range 999 {
		fmt.Fprintf(&text, "permit (principal in Group::\"k8s/team-%d\", action in Action::\"readSecrets\", resource is Secret in Vault::\"pay\") when { resource.name like \"team-%d-*\" };\n", i, i)
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
	for i := range 10_000 {
		n, err := vault.Object(broker.KindSecrets, fmt.Sprintf("team-%d-%d", i%1_000, i/1_000))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := store.SetSecret(b.Context(), n, broker.NewSecret{
			Value: broker.NewValue("v"), Enabled: true, ContentType: "text/plain", Tags: map[string]string{"team": "pay"},
		}); err != nil {
			b.Fatal(err)
		}
	}
	core, err := broker.New(broker.Config{
		Vaults:     map[string]broker.Vault{"pay": {Secrets: broker.NewSecretCache(store, broker.SecretCacheConfig{TTL: time.Hour})}},
		Authorizer: engine,
		Auditor:    log,
	})
	if err != nil {
		b.Fatal(err)
	}
	server, err := service.New(service.Config{Broker: core, Authenticator: everybody{}, TLS: &tls.Config{Certificates: []tls.Certificate{selfSigned(b)}}})
	if err != nil {
		b.Fatal(err)
	}
	g, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	h, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, g, h) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			b.Error(err)
		}
	}()
	conn, err := grpc.NewClient(g.Addr().String(), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawReplies{})),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()

	whole := func() {
		got, token := 0, ""
		for {
			var reply []byte
			if err := conn.Invoke(b.Context(), keywardv1.SecretService_ListSecrets_FullMethodName,
				&keywardv1.ListSecretsRequest{Parent: "vaults/pay", PageSize: 1_000, PageToken: token}, &reply); err != nil {
				b.Fatal(err)
			}
			n, next := countReply(b, reply)
			got += n
			if token = next; token == "" {
				break
			}
		}
		if got != 10_000 {
			b.Fatalf("%d secrets, want 10,000", got)
		}
	}
	whole() // the walk
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		whole()
	}
	b.ReportMetric((cpu(b)-before).Seconds()*1_000/float64(b.N), "cpu-ms/op")
	if got := store.Calls(brokertest.ListSecrets); got != 400 {
		b.Errorf("%d vault calls, want 400 for the first list and none for the rest", got)
	}
}

func selfSigned(b *testing.B) tls.Certificate {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		b.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
