package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// serveDir is a folder with all that keyward serve needs, and an embedded vault
// in its configuration.
func serveDir(t *testing.T, grpcAddress string) (dir, file string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	dev := &devCmd{Data: dir, GRPC: "127.0.0.1:0", HTTP: "127.0.0.1:0", Vault: "127.0.0.1:0"}
	if err := dev.prepare(); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "keyward.yaml")
	text := fmt.Sprintf(`
grpc: {address: %q}
http: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
tls: {certificate: server.pem, key: server-key.pem, clientCa: ca.pem}
identity:
  mtls: {trustDomain: dev.keyward}
policy: {path: policy}
audit: {path: audit.jsonl}
drain: {notice: 0s, timeout: 5s}
vaults:
  edge:
    local: {path: edge.db, keyFile: edge.key}
`, grpcAddress)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

// keyward serve with an embedded vault serves, drains on SIGTERM, and finds
// what it kept.
func TestServeWithAnEmbeddedVault(t *testing.T) {
	address := freePort(t)
	dir, file := serveDir(t, address)
	for _, round := range []string{"first", "second"} {
		p := &process{t: t, dir: dir}
		if err := os.WriteFile(p.file("context.json"), []byte(
			`{"grpc":"`+address+`","ca":"ca.pem","certificate":"admin.pem","key":"admin-key.pem","vault":"edge"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var stdout bytes.Buffer
		stderr := &safeBuffer{}
		done := make(chan int, 1)
		go func() { done <- run(ctx, []string{"serve", "--config", file}, os.Getenv, nil, &stdout, stderr) }()

		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(p.tls())))
		if err != nil {
			t.Fatal(err)
		}
		c := keywardv1.NewSecretServiceClient(conn)
		name := "vaults/edge/secrets/a"
		if round == "first" {
			if _, err := c.SetSecret(ctx, &keywardv1.SetSecretRequest{Name: name, Value: "kept"}, grpc.WaitForReady(true)); err != nil {
				t.Fatal(err, stderr)
			}
		}
		got, err := c.GetSecret(ctx, &keywardv1.GetSecretRequest{Name: name}, grpc.WaitForReady(true))
		if err != nil || got.GetValue() != "kept" {
			t.Errorf("%s round: %q, %v", round, got.GetValue(), err)
		}
		conn.Close()
		cancel()
		if rc := <-done; rc != exitOK {
			t.Fatalf("%s round: exit code %d\n%s", round, rc, stderr)
		}
	}
}

func TestServeCheck(t *testing.T) {
	dir, file := serveDir(t, "127.0.0.1:0")
	check := func(args ...string) (int, string) {
		var out bytes.Buffer
		rc := run(t.Context(), append([]string{"serve", "--config", file}, args...), os.Getenv, nil, &out, &out)
		return rc, out.String()
	}
	// The policies of keyward dev are for a vault that this has not.
	if rc, out := check("--check"); rc != exitOK || !strings.Contains(out, "policies: 2, ok") ||
		!strings.Contains(out, "not configured") || !strings.Contains(out, "vault=dev") || !strings.Contains(out, "dev.cedar:") {
		t.Errorf("--check: %d\n%s", rc, out)
	}
	if rc, out := check("--check", "--online"); rc != exitOK || !strings.Contains(out, "vault edge: embedded") {
		t.Errorf("--check --online: %d\n%s", rc, out)
	}
	bad := filepath.Join(dir, "policy", "bad.cedar")
	if err := os.WriteFile(bad, []byte("permit (principal, action == Action::\"getSecrt\", resource);\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--check"}, {}} {
		if rc, out := check(args...); rc != exitError || !strings.Contains(out, "bad.cedar:1:") || !strings.Contains(out, "getSecrt") {
			t.Errorf("serve %v with a bad policy: %d\n%s", args, rc, out)
		}
	}
}

// A process that may not write its audit log discloses nothing.
func TestNothingIsServedWithoutAnAuditLog(t *testing.T) {
	_, file := serveDir(t, "127.0.0.1:0")
	text := strings.Replace(read(t, file), "audit.jsonl", "gone/audit.jsonl", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if rc := run(t.Context(), []string{"serve", "--config", file}, os.Getenv, nil, &out, &out); rc != exitError || !strings.Contains(out.String(), "audit") {
		t.Errorf("exit code %d\n%s", rc, out.String())
	}
}

// SIGTERM ends a process whose vault, listeners and log are all open.
func TestSignalsDrain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		if err := startDev(t, dir).stop(sig); err != nil {
			t.Errorf("%v: %v", sig, err)
		}
	}
}
