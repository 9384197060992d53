package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// logCollector is an OTLP receiver of logs on loopback. It refuses all if told.
type logCollector struct {
	collectlogs.UnimplementedLogsServiceServer
	refuse bool

	mu      sync.Mutex
	records []*logspb.LogRecord
	refused int
}

func (c *logCollector) Export(_ context.Context, r *collectlogs.ExportLogsServiceRequest) (*collectlogs.ExportLogsServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rl := range r.GetResourceLogs() {
		for _, sl := range rl.GetScopeLogs() {
			if c.refuse {
				c.refused += len(sl.GetLogRecords())
				return nil, status.Error(codes.PermissionDenied, "no")
			}
			c.records = append(c.records, sl.GetLogRecords()...)
		}
	}
	return &collectlogs.ExportLogsServiceResponse{}, nil
}

// What a collector is sent is the log, line by line, checkpoints too; and a
// collector that refuses, or is not there, fails no call.
func TestAuditToCollector(t *testing.T) {
	const canary = "c4nary-of-the-logs"
	for _, kind := range []string{"takes", "refuses", "is not there"} {
		t.Run(kind, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			c := &logCollector{refuse: kind == "refuses"}
			server := grpc.NewServer()
			collectlogs.RegisterLogsServiceServer(server, c)
			if kind == "is not there" {
				ln.Close()
			} else {
				go server.Serve(ln)
				t.Cleanup(server.Stop)
			}
			t.Setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://"+ln.Addr().String())
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
			t.Setenv("OTEL_BLRP_SCHEDULE_DELAY", "20")

			address := freePort(t)
			dir, file := serveDir(t, address)
			if err := makeSigner(filepath.Join(dir, "audit.key"), "k"); err != nil {
				t.Fatal(err)
			}
			text := strings.Replace(read(t, file), "{path: audit.jsonl}", "{path: audit.jsonl, otlp: true, checkpoint: {keyFile: audit.key, every: 2}}", 1)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			p := &process{t: t, dir: dir}
			if err := os.WriteFile(p.file("context.json"), []byte(
				`{"grpc":"`+address+`","ca":"ca.pem","certificate":"admin.pem","key":"admin-key.pem","vault":"edge"}`), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stderr := &safeBuffer{}
			done := make(chan int, 1)
			go func() {
				done <- run(ctx, []string{"serve", "--config", file}, os.Getenv, nil, stderr, stderr)
			}()
			conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(p.tls())))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			secrets := keywardv1.NewSecretServiceClient(conn)
			name := "vaults/edge/secrets/a"
			if _, err := secrets.SetSecret(ctx, &keywardv1.SetSecretRequest{Name: name, Value: canary}, grpc.WaitForReady(true)); err != nil {
				t.Fatal(err, stderr)
			}
			if got, err := secrets.GetSecret(ctx, &keywardv1.GetSecretRequest{Name: name}); err != nil || got.GetValue() != canary {
				t.Fatal(err, stderr)
			}
			if kind == "refuses" {
				p.err = stderr
				for began := time.Now(); !strings.Contains(p.metrics(), `keyward_audit_otlp_total{result="failed"}`); time.Sleep(20 * time.Millisecond) {
					if time.Since(began) > patience {
						t.Fatalf("what was refused is not counted:\n%s", p.metrics())
					}
				}
			}
			cancel()
			if rc := <-done; rc != exitOK {
				t.Fatalf("exit code %d\n%s", rc, stderr)
			}
			log := strings.Split(strings.TrimSuffix(read(t, p.file("audit.jsonl")), "\n"), "\n")
			if kind != "takes" {
				return
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			var bodies []string
			for _, r := range c.records {
				bodies = append(bodies, r.GetBody().GetStringValue())
				if strings.Contains(r.String(), canary) || r.GetEventName() != "keyward.audit" || r.GetTimeUnixNano() == 0 || len(r.GetAttributes()) != 5 {
					t.Errorf("got %v", r)
				}
			}
			if !slices.Equal(bodies, log) {
				t.Errorf("the collector has\n%s\nand the log\n%s", strings.Join(bodies, "\n"), strings.Join(log, "\n"))
			}
			if len(log) < 6 || !strings.Contains(log[len(log)-1], `"checkpoint"`) {
				t.Errorf("the log has\n%s", strings.Join(log, "\n"))
			}
		})
	}
	t.Run("no collector is named", func(t *testing.T) {
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
		_, file := serveDir(t, "127.0.0.1:0")
		text := strings.Replace(read(t, file), "{path: audit.jsonl}", "{path: audit.jsonl, otlp: true}", 1)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, errOut := runHere(t, "serve", "--config", file); code != exitError || !strings.Contains(errOut, "OTEL_EXPORTER_OTLP_ENDPOINT") {
			t.Errorf("exit code %d, %s", code, errOut)
		}
	})
}
