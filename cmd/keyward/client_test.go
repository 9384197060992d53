package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// fakeBroker answers with what a test gives it, and keeps what it was asked.
type fakeBroker struct {
	keywardv1.UnimplementedSecretServiceServer

	get      func(context.Context, *keywardv1.GetSecretRequest) (*keywardv1.GetSecretResponse, error)
	set      func(context.Context, *keywardv1.SetSecretRequest) (*keywardv1.Secret, error)
	deleted  func(context.Context, *keywardv1.DeleteSecretRequest) (*keywardv1.DeletedSecret, error)
	list     func(context.Context, *keywardv1.ListSecretsRequest) (*keywardv1.ListSecretsResponse, error)
	versions func(context.Context, *keywardv1.ListSecretVersionsRequest) (*keywardv1.ListSecretVersionsResponse, error)
	batch    func(*keywardv1.BatchGetSecretsRequest) (*keywardv1.BatchGetSecretsResponse, error)
	watch    func(*keywardv1.WatchSecretsRequest, grpc.ServerStreamingServer[keywardv1.SecretEvent]) error

	keeping  sync.Mutex
	requests []proto.Message
	reasons  [][]string // the metadata x-keyward-reason of each
}

func (b *fakeBroker) keep(r proto.Message) {
	b.keeping.Lock()
	defer b.keeping.Unlock()
	b.requests = append(b.requests, r)
}

func (b *fakeBroker) GetSecret(ctx context.Context, r *keywardv1.GetSecretRequest) (*keywardv1.GetSecretResponse, error) {
	b.keep(r)
	return b.get(ctx, r)
}

func (b *fakeBroker) SetSecret(ctx context.Context, r *keywardv1.SetSecretRequest) (*keywardv1.Secret, error) {
	b.keep(r)
	return b.set(ctx, r)
}

func (b *fakeBroker) DeleteSecret(ctx context.Context, r *keywardv1.DeleteSecretRequest) (*keywardv1.DeletedSecret, error) {
	b.keep(r)
	return b.deleted(ctx, r)
}

func (b *fakeBroker) ListSecrets(ctx context.Context, r *keywardv1.ListSecretsRequest) (*keywardv1.ListSecretsResponse, error) {
	b.keep(r)
	return b.list(ctx, r)
}

func (b *fakeBroker) ListSecretVersions(ctx context.Context, r *keywardv1.ListSecretVersionsRequest) (*keywardv1.ListSecretVersionsResponse, error) {
	b.keep(r)
	return b.versions(ctx, r)
}

func (b *fakeBroker) BatchGetSecrets(_ context.Context, r *keywardv1.BatchGetSecretsRequest) (*keywardv1.BatchGetSecretsResponse, error) {
	b.keep(r)
	return b.batch(r)
}

func (b *fakeBroker) WatchSecrets(r *keywardv1.WatchSecretsRequest, stream grpc.ServerStreamingServer[keywardv1.SecretEvent]) error {
	b.keep(r)
	return b.watch(r, stream)
}

// The rest answers alike each time.

func (b *fakeBroker) UpdateSecret(_ context.Context, r *keywardv1.UpdateSecretRequest) (*keywardv1.Secret, error) {
	b.keep(r)
	return fakeSecret(), nil
}

func (b *fakeBroker) GenerateSecret(_ context.Context, r *keywardv1.GenerateSecretRequest) (*keywardv1.Secret, error) {
	b.keep(r)
	return fakeSecret(), nil
}

func (b *fakeBroker) GetDeletedSecret(_ context.Context, r *keywardv1.GetDeletedSecretRequest) (*keywardv1.DeletedSecret, error) {
	b.keep(r)
	return fakeDeleted(), nil
}

func (b *fakeBroker) ListDeletedSecrets(_ context.Context, r *keywardv1.ListDeletedSecretsRequest) (*keywardv1.ListDeletedSecretsResponse, error) {
	b.keep(r)
	if r.GetPageToken() == "" {
		return &keywardv1.ListDeletedSecretsResponse{NextPageToken: "2"}, nil
	}
	return &keywardv1.ListDeletedSecretsResponse{DeletedSecrets: []*keywardv1.DeletedSecret{fakeDeleted()}}, nil
}

func (b *fakeBroker) UndeleteSecret(_ context.Context, r *keywardv1.UndeleteSecretRequest) (*keywardv1.Secret, error) {
	b.keep(r)
	return fakeSecret(), nil
}

func (b *fakeBroker) PurgeSecret(_ context.Context, r *keywardv1.PurgeSecretRequest) (*emptypb.Empty, error) {
	b.keep(r)
	return &emptypb.Empty{}, nil
}

func (b *fakeBroker) BackupSecret(_ context.Context, r *keywardv1.BackupSecretRequest) (*keywardv1.BackupSecretResponse, error) {
	b.keep(r)
	return &keywardv1.BackupSecretResponse{Blob: []byte(fakeBlob)}, nil
}

func (b *fakeBroker) RestoreSecret(_ context.Context, r *keywardv1.RestoreSecretRequest) (*keywardv1.Secret, error) {
	b.keep(r)
	return fakeSecret(), nil
}

// serve runs b over TLS on loopback, asking for client certificates of the
// folder's CA, and returns the folder: it holds the context.
func (b *fakeBroker) serve(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	ca := newCA(t, dir)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(ca.cert)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reason := func(ctx context.Context) {
		b.keeping.Lock()
		defer b.keeping.Unlock()
		b.reasons = append(b.reasons, metadata.ValueFromIncomingContext(ctx, "x-keyward-reason"))
	}
	why := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		reason(ctx)
		return next(ctx, req)
	}
	whyStream := func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		reason(stream.Context())
		return next(srv, stream)
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(why), grpc.StreamInterceptor(whyStream), grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.VerifyClientCertIfGiven,
		ClientCAs:    clients,
	})))
	keywardv1.RegisterSecretServiceServer(s, b)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	writeContext(t, dir, clientContext{
		GRPC: l.Addr().String(), CA: "ca.pem", Certificate: "admin.pem", Key: "admin-key.pem", Vault: "dev",
	})
	return dir
}

// newCA fills dir with a CA, a server's and a client's certificate.
func newCA(t *testing.T, dir string) *localCA {
	t.Helper()
	ca, err := openCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.ensureServer(); err != nil {
		t.Fatal(err)
	}
	if err := ca.ensureClient("admin", "spiffe://dev.keyward/admin"); err != nil {
		t.Fatal(err)
	}
	return ca
}

func writeContext(t *testing.T, dir string, c clientContext) {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "context.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// keyward runs a command with the context in dir, and returns all it leaves.
func keyward(t *testing.T, dir, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	env := func(name string) string {
		if name == "KEYWARD_CONTEXT" {
			return filepath.Join(dir, "context.json")
		}
		return ""
	}
	var out, errOut bytes.Buffer
	code = run(t.Context(), args, env, strings.NewReader(stdin), &out, &errOut)
	return out.String(), errOut.String(), code
}

func TestCallerIsWhoTheContextSays(t *testing.T) {
	var got struct {
		token     []string
		requestID []string
		uris      []string
	}
	b := &fakeBroker{get: func(ctx context.Context, _ *keywardv1.GetSecretRequest) (*keywardv1.GetSecretResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		got.token, got.requestID = md.Get("authorization"), md.Get("x-request-id")
		p, _ := peer.FromContext(ctx)
		got.uris = nil
		for _, c := range p.AuthInfo.(credentials.TLSInfo).State.PeerCertificates {
			for _, u := range c.URIs {
				got.uris = append(got.uris, u.String())
			}
		}
		return &keywardv1.GetSecretResponse{Value: "v"}, nil
	}}
	dir := b.serve(t)

	if _, stderr, code := keyward(t, dir, "", "get", "a"); code != exitOK {
		t.Fatal(stderr)
	}
	if len(got.uris) != 1 || got.uris[0] != "spiffe://dev.keyward/admin" || got.token != nil {
		t.Errorf("certificate %v, token %v; want the certificate alone", got.uris, got.token)
	}
	if len(got.requestID) != 1 || got.requestID[0] == "" {
		t.Errorf("request id %q", got.requestID)
	}

	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("ey.J.x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := keyward(t, dir, "", "get", "a", "--token-file", token); code != exitOK {
		t.Fatal(stderr)
	}
	if len(got.token) != 1 || got.token[0] != "Bearer ey.J.x" {
		t.Errorf("token %q", got.token)
	}
}

func TestSecretName(t *testing.T) {
	const version = "0123456789abcdef0123456789abcdef"
	tests := []struct {
		name    string
		client  client
		arg     string
		version string
		want    string
		wantErr string
	}{
		{name: "short", client: client{vault: "dev"}, arg: "db-password", want: "vaults/dev/secrets/db-password"},
		{name: "short, folded", client: client{vault: "dev"}, arg: "DB-Password", want: "vaults/dev/secrets/db-password"},
		{name: "short, with a version", client: client{vault: "dev"}, arg: "a", version: version, want: "vaults/dev/secrets/a/versions/" + version},
		{name: "full", client: client{vault: "dev"}, arg: "vaults/pay/secrets/a", want: "vaults/pay/secrets/a"},
		{name: "full, without a default vault", arg: "vaults/pay/secrets/a", want: "vaults/pay/secrets/a"},
		{name: "full, with its version", arg: "vaults/pay/secrets/a/versions/" + version, want: "vaults/pay/secrets/a/versions/" + version},
		{name: "the same version twice", arg: "vaults/pay/secrets/a/versions/" + version, version: version, want: "vaults/pay/secrets/a/versions/" + version},
		{name: "full, in the vault that was chosen", client: client{vault: "pay", chosen: true}, arg: "vaults/pay/secrets/a", want: "vaults/pay/secrets/a"},
		{name: "full, in another", client: client{vault: "dev", chosen: true}, arg: "vaults/pay/secrets/a", wantErr: "another vault"},
		{name: "two versions", arg: "vaults/pay/secrets/a/versions/" + version, version: strings.Repeat("0", 32), wantErr: "another version"},
		{name: "short, without a default vault", arg: "a", wantErr: "--vault"},
		{name: "a bad default vault", client: client{vault: "No"}, arg: "a", wantErr: "BAD_NAME"},
		{name: "a bad name", client: client{vault: "dev"}, arg: "a_b", wantErr: "BAD_NAME"},
		{name: "a path", client: client{vault: "dev"}, arg: "../a", wantErr: "BAD_NAME"},
		{name: "a key", arg: "vaults/pay/keys/a", wantErr: "BAD_NAME"},
		{name: "a bad version", client: client{vault: "dev"}, arg: "a", version: "1", wantErr: "BAD_NAME"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.client.secretName(tt.arg, tt.version)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("got %q, %v; want an error with %q", got, err, tt.wantErr)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}
