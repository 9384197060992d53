package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// eventually waits for what a running process does by itself.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); time.Since(began) < patience; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// A policy that is edited takes effect while keyward dev runs; one that is broken
// takes none, and the log, the metrics and the audit log tell.
func TestPolicyIsReloaded(t *testing.T) {
	p := startDev(t, filepath.Join(t.TempDir(), "data"))
	if err := set(t.Context(), p.secrets(), "api-key", "x"); err != nil {
		t.Fatal(err)
	}
	token := p.token("reports")
	read := func() int {
		code, _ := p.rest(http.MethodGet, "/v1/vaults/dev/secrets/api-key", token, "")
		return code
	}
	file := p.file(filepath.Join("policy", "reports.cedar"))
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code := read(); code != http.StatusForbidden {
		t.Fatalf("before: %d", code)
	}
	grant := `permit (principal == Workload::"dev/reports", action == Action::"getSecret", resource == Secret::"vaults/dev/secrets/api-key");`
	write(grant)
	eventually(t, "the grant takes effect", func() bool { return read() == http.StatusOK })
	write(grant + "\nforbid (principal, action resource);")
	eventually(t, "the broken change shows in the metrics", func() bool {
		return strings.Contains(p.metrics(), "\nkeyward_policy_refused 1\n")
	})
	if code := read(); code != http.StatusOK {
		t.Errorf("with a broken change: %d", code)
	}
	if code, text := p.admin("/readyz?verbose"); code != http.StatusOK || !strings.Contains(text, "[!] policy: ") || !strings.Contains(text, "reports.cedar:2:") {
		t.Errorf("readiness with a broken change: %d\n%s", code, text)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the grant is gone", func() bool { return read() == http.StatusForbidden })
	if !strings.Contains(p.metrics(), "\nkeyward_policy_refused 0\n") {
		t.Error("the metric says refused, after the folder was mended")
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if log := p.err.String(); !strings.Contains(log, "reports.cedar:2:") {
		t.Errorf("the log does not say where the policy is broken:\n%s", log)
	}
	var loads []string
	for _, r := range p.audit() {
		if r["action"] == "loadPolicies" {
			loads = append(loads, r["outcome"].(string))
		}
	}
	if got := strings.Join(loads, " "); got != "ok ok POLICY_INVALID ok" {
		t.Errorf("recorded: %s", got)
	}
}

// A server's certificate and the clients' CA that are renewed on the disk are
// used for new connections, and what is broken there is not.
func TestTLSFilesAreReloaded(t *testing.T) {
	dir, file := serveDir(t, freePort(t))
	logs := &safeBuffer{}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"serve", "--config", file}, os.Getenv, nil, io.Discard, logs) }()
	var address string
	eventually(t, "it serves", func() bool {
		m := regexp.MustCompile(`msg=serving .*http=(\S+)`).FindStringSubmatch(logs.String())
		if m != nil {
			address = m[1]
		}
		return m != nil
	})
	p := &process{t: t, dir: dir, err: logs}
	// served is the serial number of the certificate that is served, and the
	// error for a client with the folder's admin certificate.
	served := func(client tls.Certificate) (serial string, err error) {
		tr := &http.Transport{TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, // which certificate it is, is the question
			Certificates:       []tls.Certificate{client},
		}}
		defer tr.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/v1/vaults/edge/secrets", http.NoBody)
		if err != nil {
			return "", err
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			err = errors.New(resp.Status)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.String(), err
	}
	pair := func(dir, name string) tls.Certificate {
		c, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := pair(dir, "admin")
	first, err := served(old)
	if err != nil {
		t.Fatal(err)
	}

	// A half-written key: nothing changes.
	key := read(t, filepath.Join(dir, "server-key.pem"))
	if err := os.WriteFile(filepath.Join(dir, "server-key.pem"), []byte(key[:len(key)/2]), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the broken key shows in the metrics", func() bool {
		return metricSum(t, p.metrics(), "keyward_tls_reloads_total", `result="refused"`) == 1
	})
	if serial, err := served(old); serial != first || err != nil {
		t.Errorf("with a broken key: %s, %v; want %s", serial, err, first)
	}

	// Another CA, with all that it signs.
	renewed := &devCmd{Data: filepath.Join(t.TempDir(), "data"), GRPC: "127.0.0.1:0", HTTP: "127.0.0.1:0", Vault: "127.0.0.1:0"}
	if err := renewed.prepare(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"server.pem", "server-key.pem", "ca.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(read(t, filepath.Join(renewed.Data, name))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := pair(renewed.Data, "server").Leaf
	eventually(t, "the new certificate is served, and the new CA's client taken", func() bool {
		serial, err := served(pair(renewed.Data, "admin"))
		return err == nil && serial == want.SerialNumber.String()
	})
	if _, err := served(old); err == nil {
		t.Error("a client of the old CA is taken")
	}
	if !strings.Contains(p.metrics(), fmt.Sprintf("\nkeyward_tls_certificate_expiry_seconds %g\n", float64(want.NotAfter.Unix()))) {
		t.Errorf("no expiry %d in the metrics", want.NotAfter.Unix())
	}
	stop()
	if rc := <-done; rc != exitOK {
		t.Errorf("exit code %d\n%s", rc, logs)
	}
}
