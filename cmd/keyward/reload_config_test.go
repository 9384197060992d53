package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// The configuration is changed, broken and mended under load: issuers and limits
// take effect, what needs a restart is told of, and no call fails.
func TestConfigurationIsReloaded(t *testing.T) {
	address, adminAddress := freePort(t), freePort(t)
	dir, file := serveDir(t, address)
	base := strings.Replace(read(t, file), `admin: {address: "127.0.0.1:0"}`, `admin: {address: "`+adminAddress+`"}`, 1)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(base)
	p := &process{t: t, dir: dir, out: &safeBuffer{}, err: &safeBuffer{}, done: make(chan struct{})}
	if err := os.WriteFile(p.file("context.json"), []byte(
		`{"grpc":"`+address+`","ca":"ca.pem","certificate":"admin.pem","key":"admin-key.pem","vault":"edge"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command("keyward", "serve", "--config", file)
	p.cmd.Stderr = p.err
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.rc = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() { _ = p.stop(syscall.SIGKILL) })
	page := func(path, want string) func() bool {
		return func() bool {
			resp, err := http.Get("http://" + adminAddress + path)
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			return strings.Contains(string(body), want)
		}
	}

	secrets := p.secrets()
	get := func(ctx context.Context) codes.Code {
		_, err := secrets.GetSecret(ctx, &keywardv1.GetSecretRequest{Name: "vaults/edge/secrets/a"})
		return status.Code(err)
	}
	if _, err := secrets.SetSecret(t.Context(), &keywardv1.SetSecretRequest{Name: "vaults/edge/secrets/a", Value: "x"}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err, p.err)
	}
	conf, err := p.context().tls()
	if err != nil {
		t.Fatal(err)
	}
	conf.Certificates = nil // a token is all that the caller has
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	token := p.token("reports")
	byToken := func() codes.Code {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
		_, err := keywardv1.NewSecretServiceClient(conn).GetSecret(ctx, &keywardv1.GetSecretRequest{Name: "vaults/edge/secrets/a"})
		return status.Code(err)
	}
	if code := byToken(); code != codes.Unauthenticated {
		t.Errorf("before its issuer is known: %v", code)
	}

	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 2 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if code := get(t.Context()); code != codes.OK {
					t.Errorf("a call fails: %v", code)
					return
				}
			}
		})
	}
	issuer := strings.Replace(base, "identity:\n", "identity:\n  jwt: [{name: "+devIssuerName+", issuer: "+devIssuer+", audience: "+devAudience+", jwksFile: "+jwksFile(dir)+"}]\n", 1)
	write(issuer + "limits: {principal: {rate: 100000}}\n")
	eventually(t, "the issuer is believed", func() bool { return byToken() == codes.PermissionDenied })
	write(issuer + "limits: {principal: {rate: -1}}\n")
	eventually(t, "readiness tells of a broken file", page("/readyz?verbose", "[!] configuration: "))
	if code := byToken(); code != codes.PermissionDenied {
		t.Errorf("with a broken file: %v", code)
	}
	write(strings.Replace(issuer, "timeout: 5s", "timeout: 6s", 1))
	eventually(t, "readiness tells what waits", page("/readyz?verbose", "waits for the next start: drain"))
	write(base)
	eventually(t, "the issuer is not believed", func() bool { return byToken() == codes.Unauthenticated })
	eventually(t, "readiness tells that the file is in effect", page("/readyz?verbose", "(in effect)"))
	close(stop)
	load.Wait()

	write(base + "limits: {principal: {rate: 0.001, burst: 1}}\n")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the limit holds", func() bool { return get(t.Context()) == codes.ResourceExhausted })
	write(base)
	eventually(t, "the limit is gone", func() bool { return get(t.Context()) == codes.OK })
	for _, want := range []string{`result="ok"`, `result="refused"`, `result="restart"`} {
		if !page("/metrics", "keyward_config_reloads_total{"+want)() && !page("/metrics", want+"} ")() {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if log := p.err.String(); !strings.Contains(log, "keyward.yaml:") || !strings.Contains(log, "limits.principal.rate") && !strings.Contains(log, "want calls per second") {
		t.Errorf("the log does not say where and why:\n%s", log)
	}
}
