package main

import (
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
	"slices"
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

// TestMain makes the test binary stand in for keyward, for a program that tells
// what it is sent, and for one that floods, on the PATH of the processes and
// scripts of these tests.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"keyward": measured, "signalee": signalee, "flooder": flood})
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

// launch starts a command that is keyward, or becomes it.
func launch(t *testing.T, dir string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, dir: dir, out: &safeBuffer{}, err: &safeBuffer{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.err
	cmd.WaitDelay = patience / 2 // a process of its own may have its output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(syscall.SIGKILL) })
	go func() {
		p.rc = cmd.Wait()
		close(p.done)
	}()
	return p
}

// program runs a program of these tests with env beside its own environment.
func program(name string, env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// start starts keyward and waits for its "ready".
func start(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	return startCommand(t, dir, program("keyward", env, args...))
}

// startCommand is start by a command that becomes keyward.
func startCommand(t *testing.T, dir string, cmd *exec.Cmd) *process {
	t.Helper()
	p := launch(t, dir, cmd)
	p.prints("ready")
	return p
}

// startServe starts a command that is keyward serve, and waits until it serves.
func startServe(t *testing.T, dir string, cmd *exec.Cmd) *process {
	t.Helper()
	p := launch(t, dir, cmd)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("its log:\n%s", p.err)
		}
	})
	eventually(t, "keyward serve serves", func() bool {
		if p.ended() {
			t.Fatalf("keyward serve ended: %v\n%s", p.rc, p.err)
		}
		return adminAddress.MatchString(p.err.String())
	})
	return p
}

// prints waits for a line on standard output.
func (p *process) prints(line string) {
	p.t.Helper()
	eventually(p.t, "it prints "+line, func() bool {
		ended := p.ended()
		printed := slices.Contains(strings.Split(p.out.String(), "\n"), line)
		if ended && !printed {
			p.t.Fatalf("%s ended before it printed %q: %v\n%s", p.cmd, line, p.rc, p.err)
		}
		return printed
	})
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// says waits for words on standard error.
func (p *process) says(words string) {
	p.t.Helper()
	eventually(p.t, "it says "+words, func() bool { return strings.Contains(p.err.String(), words) })
}

// startDev starts keyward dev in dir, on ports of its own choice.
func startDev(t *testing.T, dir string, env ...string) *process {
	t.Helper()
	return start(t, dir, env, append(devArgs(dir), "--log-level", "debug")...)
}

// devArgs are those of keyward dev, on ports of its own choice.
func devArgs(dir string) []string {
	const free = "127.0.0.1:0"
	return []string{"dev", "--data", dir, "--grpc", free, "--http", free, "--vault", free, "--admin", free}
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
	return keywardv1.NewSecretServiceClient(p.dial())
}

func (p *process) dial() *grpc.ClientConn {
	p.t.Helper()
	conn, err := grpc.NewClient(p.context().GRPC, grpc.WithTransportCredentials(credentials.NewTLS(p.tls())))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	return conn
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
	var m []string
	eventually(p.t, "the log has the admin address", func() bool {
		m = adminAddress.FindStringSubmatch(p.err.String())
		return m != nil
	})
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

// takesLong leaves a test out of a short run, as under the race detector: what it
// looks at is another process, or one goroutine's work.
func takesLong(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes long: go test runs it, and go test -short does not")
	}
}
