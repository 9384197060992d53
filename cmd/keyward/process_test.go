package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// TestMain makes the test binary stand in for keyward, and for a program that
// tells what it is sent, on the PATH of the processes and scripts of these tests.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"keyward": main, "signalee": signalee})
}

// process is a keyward of its own: a real one, with real signals.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	dir  string
	out  *safeBuffer
	err  *safeBuffer
	done chan struct{} // closed after wait
	rc   error
}

// patience bounds what a test waits for. Nothing is measured by it.
const patience = 60 * time.Second

// start starts keyward and waits for its "ready".
func start(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, dir: dir, out: &safeBuffer{}, err: &safeBuffer{}, done: make(chan struct{})}
	p.cmd = exec.Command("keyward", args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = p.err
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(syscall.SIGKILL) })
	ready := make(chan struct{})
	go func() {
		seen := false
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			p.out.Write(append(lines.Bytes(), '\n'))
			if lines.Text() == "ready" && !seen {
				seen = true
				close(ready)
			}
		}
		p.rc = p.cmd.Wait()
		close(p.done)
	}()
	select {
	case <-ready:
	case <-p.done:
		t.Fatalf("keyward %s ended before it was ready: %v\n%s", strings.Join(args, " "), p.rc, p.err)
	case <-time.After(patience):
		t.Fatalf("keyward %s is not ready\n%s", strings.Join(args, " "), p.err)
	}
	return p
}

// startDev starts keyward dev in dir, on ports of its own choice.
func startDev(t *testing.T, dir string, env ...string) *process {
	t.Helper()
	const free = "127.0.0.1:0"
	return start(t, dir, env, "dev", "--data", dir, "--grpc", free, "--http", free, "--vault", free, "--admin", free, "--log-level", "debug")
}

// stop sends a signal and waits for the end.
func (p *process) stop(sig syscall.Signal) error {
	p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Errorf("keyward did not end after %v", sig)
	}
	return p.rc
}

func (p *process) file(name string) string { return filepath.Join(p.dir, name) }

func (p *process) context() clientContext {
	p.t.Helper()
	c, err := readContext(p.file("context.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// tls is how to reach the process as the admin.
func (p *process) tls() *tls.Config {
	p.t.Helper()
	conf, err := p.context().tls()
	if err != nil {
		p.t.Fatal(err)
	}
	return conf
}

// secrets is a gRPC client that calls as the admin.
func (p *process) secrets() keywardv1.SecretServiceClient {
	p.t.Helper()
	conn, err := grpc.NewClient(p.context().GRPC, grpc.WithTransportCredentials(credentials.NewTLS(p.tls())))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	return keywardv1.NewSecretServiceClient(conn)
}

// token is a bearer token of the dev issuer.
func (p *process) token(as string, groups ...string) string {
	p.t.Helper()
	var out bytes.Buffer
	if err := (&tokenCmd{As: as, Group: groups, Data: p.dir, Life: time.Hour}).Run(&app{out: &out}); err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

// rest calls the REST API with a bearer token and returns status and body.
func (p *process) rest(method, path, token, body string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, "https://"+p.context().HTTP+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(p.file("ca.pem"))
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		p.t.Fatal(err)
	}
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: patience}
	defer hc.CloseIdleConnections()
	resp, err := hc.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

var adminAddress = regexp.MustCompile(`msg=serving .*admin=(\S+)`)

// metrics is the text of /metrics.
func (p *process) metrics() string {
	p.t.Helper()
	code, text := p.admin("/metrics")
	if code != http.StatusOK {
		p.t.Fatal(code, text)
	}
	return text
}

// admin asks for a page of the admin port.
func (p *process) admin(path string) (code int, text string) {
	p.t.Helper()
	m := adminAddress.FindStringSubmatch(p.err.String())
	if m == nil {
		p.t.Fatalf("no admin address in the log:\n%s", p.err)
	}
	resp, err := http.Get("http://" + m[1] + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// audit is the audit log so far.
func (p *process) audit() []map[string]any {
	p.t.Helper()
	text, err := os.ReadFile(p.file("audit.jsonl"))
	if err != nil {
		p.t.Fatal(err)
	}
	var records []map[string]any
	for line := range strings.Lines(string(text)) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			p.t.Fatalf("%v in %q", err, line)
		}
		records = append(records, r)
	}
	return records
}

// set sets a secret of the dev vault over gRPC.
func set(ctx context.Context, c keywardv1.SecretServiceClient, name, value string) error {
	_, err := c.SetSecret(ctx, &keywardv1.SetSecretRequest{Name: "vaults/dev/secrets/" + name, Value: value})
	return err
}

// safeBuffer is a buffer that a process writes while a test reads.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// freePort is an address that was free a moment ago, for what must be known
// before it listens.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
