package main

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

func TestErrorsSayWhatToDo(t *testing.T) {
	tests := []struct {
		name    string
		code    codes.Code
		message string
		reason  broker.Code
		detail  protoadapt.MessageV1
		want    []string
	}{
		{name: "no credentials", code: codes.Unauthenticated, message: "no credentials", reason: broker.CodeNoCredentials, want: []string{"no credentials (NO_CREDENTIALS)", "tokenFile", "context.json"}},
		{name: "denied", code: codes.PermissionDenied, message: "the policy does not allow this", reason: broker.CodePolicyDenied, want: []string{"keyward: the policy does not allow this (POLICY_DENIED)\n  the broker's audit log has this request as "}},
		{name: "not found", code: codes.NotFound, message: "no such secret", reason: broker.CodeSecretNotFound, want: []string{"keyward list"}},
		{
			name: "a bad field", code: codes.InvalidArgument, message: "bad request", reason: broker.CodeBadField,
			detail: &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "tags", Description: "at most 15 tags"}}},
			want:   []string{"(BAD_FIELD)\n  tags: at most 15 tags"},
		},
		{
			name: "throttled", code: codes.Unavailable, message: "the vault is busy", reason: broker.CodeVaultThrottled,
			detail: &errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)},
			want:   []string{"the vault is busy (VAULT_THROTTLED)\n  try again in 3s"},
		},
		{
			name: "too many calls", code: codes.ResourceExhausted, message: "too many calls", reason: broker.CodeCallerRateLimited,
			detail: &errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)},
			want:   []string{"too many calls (CALLER_RATE_LIMITED)\n  try again in 1.5s\n", "limits in its configuration"},
		},
		{name: "changed", code: codes.Aborted, message: "the secret has changed", reason: broker.CodeETagMismatch, want: []string{"keyward get NAME -o json"}},
		{name: "there already", code: codes.AlreadyExists, message: "a secret has this name", reason: broker.CodeSecretExists, want: []string{"keyward purge NAME"}},
		{name: "deleted", code: codes.FailedPrecondition, message: "a deleted secret holds this name", reason: broker.CodeSecretSoftDeleted, want: []string{"keyward undelete NAME", "--recover-deleted"}},
		{
			name: "settling", code: codes.Aborted, message: "the secret is being deleted", reason: broker.CodeSecretInTransition,
			detail: &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)},
			want:   []string{"(SECRET_IN_TRANSITION)\n  try again in 1s"},
		},
		{name: "not offered", code: codes.Unimplemented, message: "this vault does not offer that", reason: broker.CodeNotSupported, want: []string{"whoever runs the broker"}},
		{name: "no reason", code: codes.Unimplemented, message: "unknown service", want: []string{"keyward: unknown service (Unimplemented)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := &fakeBroker{get: func(context.Context, *keywardv1.GetSecretRequest) (*keywardv1.GetSecretResponse, error) {
				s := status.New(tt.code, tt.message)
				var details []protoadapt.MessageV1
				if tt.reason != "" {
					details = append(details, &errdetails.ErrorInfo{Domain: "keyward", Reason: string(tt.reason)})
				}
				if tt.detail != nil {
					details = append(details, tt.detail)
				}
				s, err := s.WithDetails(details...)
				if err != nil {
					return nil, err
				}
				return nil, s.Err()
			}}
			stdout, stderr, code := keyward(t, b.serve(t), "", "get", "a")
			if code != exitError || stdout != "" {
				t.Errorf("exit %d, stdout %q", code, stdout)
			}
			for _, want := range tt.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q lacks %q", stderr, want)
				}
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	b := &fakeBroker{get: func(ctx context.Context, _ *keywardv1.GetSecretRequest) (*keywardv1.GetSecretResponse, error) {
		if end, ok := ctx.Deadline(); !ok || time.Until(end) > 50*time.Millisecond {
			return nil, status.Errorf(codes.Internal, "the deadline is %v", end)
		}
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}}
	_, stderr, code := keyward(t, b.serve(t), "", "get", "a", "--timeout", "50ms")
	if code != exitError || !strings.Contains(stderr, "no answer") || !strings.Contains(stderr, "--timeout") {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

func TestBrokerThatCannotBeReached(t *testing.T) {
	tests := []struct {
		name  string
		serve func(t *testing.T) (dir string)
		want  []string
	}{
		{
			name: "nobody listens",
			serve: func(t *testing.T) string {
				t.Helper()
				dir := t.TempDir()
				newCA(t, dir)
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				l.Close()
				writeContext(t, dir, clientContext{GRPC: l.Addr().String(), CA: "ca.pem", Vault: "dev"})
				return dir
			},
			want: []string{"cannot be reached", "connection refused", "keyward dev"},
		},
		{
			name: "a broker of another CA",
			serve: func(t *testing.T) string {
				t.Helper()
				theirs, dir := (&fakeBroker{}).serve(t), t.TempDir()
				newCA(t, dir)
				c, err := readContext(filepath.Join(theirs, "context.json"))
				if err != nil {
					t.Fatal(err)
				}
				c.CA = "ca.pem"
				writeContext(t, dir, c)
				return dir
			},
			want: []string{"cannot be trusted", "unknown authority", `"ca" in `},
		},
		{
			name: "a certificate of another CA",
			serve: func(t *testing.T) string {
				t.Helper()
				theirs, dir := (&fakeBroker{}).serve(t), t.TempDir()
				newCA(t, dir)
				c, err := readContext(filepath.Join(theirs, "context.json"))
				if err != nil {
					t.Fatal(err)
				}
				c.Certificate, c.Key = "admin.pem", "admin-key.pem"
				writeContext(t, dir, c)
				return dir
			},
			want: []string{"ended the connection", `"certificate" in `},
		},
		{
			name: "old TLS",
			serve: func(t *testing.T) string {
				t.Helper()
				dir := t.TempDir()
				newCA(t, dir)
				pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem"))
				if err != nil {
					t.Fatal(err)
				}
				l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
				go func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						c.(*tls.Conn).HandshakeContext(t.Context())
						c.Close()
					}
				}()
				writeContext(t, dir, clientContext{GRPC: l.Addr().String(), CA: "ca.pem", Vault: "dev"})
				return dir
			},
			want: []string{"cannot be trusted", "protocol version"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, stderr, code := keyward(t, tt.serve(t), "", "get", "a")
			if code != exitError {
				t.Errorf("exit %d", code)
			}
			for _, want := range tt.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q lacks %q", stderr, want)
				}
			}
		})
	}
}
