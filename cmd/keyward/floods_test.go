package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

const (
	// maxFloodMemory is how much more memory a flood may take, in KiB.
	maxFloodMemory = 64 << 10
	// minFloodShare is how much of its calls another client makes meanwhile.
	minFloodShare = 0.9
)

// TestFloods floods a keyward process in each way of the list, while another
// client goes on calling it. None of its calls may fail; the process may take
// 64 MiB more than before at most; and what the flood held is let go of.
//
// KEYWARD_FLOODS=PROGRAM is the full size, of that keyward: make floods. It also
// times: floodedAndCalm. Otherwise floods are small and nothing is timed.
func TestFloods(t *testing.T) {
	takesLong(t)
	if runtime.GOOS != "linux" {
		t.Skip("memory is read from /proc")
	}
	full := os.Getenv("KEYWARD_FLOODS")
	dir := t.TempDir()
	p := startCommand(t, dir, program(cmp.Or(full, "keyward"), nil, devArgs(dir)...))
	if err := set(t.Context(), p.secrets(), "flood", "calm"); err != nil {
		t.Fatal(err)
	}
	v := newVictim(t, p)
	v.calls(t, 500) // so that what is made once is made
	if full != "" {
		v.during(t, 3*time.Second)
		fmt.Fprintf(os.Stdout, floodRow, "flood", "done", "connections", "others' calls", "failed", "server CPU", "memory")
	}
	before := p.goroutines()
	only := os.Getenv("KEYWARD_FLOODS_ONLY")
	for _, a := range attacks {
		if !strings.Contains(a.name, only) {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			f := target{Attack: a.name, GRPC: p.context().GRPC, HTTP: p.context().HTTP, CA: p.file("ca.pem"), Connections: a.connections}
			f.Token = p.token("billing")
			memory := watchMemory(t, p.cmd.Process.Pid)
			if full != "" {
				row := append(floodedAndCalm(t, v, p, f), fmt.Sprintf("%+d MiB", memory()>>10))
				fmt.Fprintf(os.Stdout, floodRow, row...)
			} else {
				f.Connections = max(2, a.connections/20)
				flood := startFlood(t, f)
				v.calls(t, 100)
				flood.stop(t)
			}
			if more := memory(); more > maxFloodMemory {
				t.Errorf("%d MiB of memory more than before", more>>10)
			}
			// What it held is let go of.
			var held int
			for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
				if held = p.goroutines(); held <= before+20 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d goroutines, and %d before", held, before)
				}
			}
		})
	}
}

const floodRow = "| %-40s | %8s | %11s | %-19s | %6s | %10s | %8s |\n"

// floodedAndCalm measures how many calls the other client makes in a flood, against
// the calm just before and after, and says so. Its callers wait a little between
// calls, and so take about a quarter of a small machine: who takes all of it
// would have less from any program that is started beside it. The flood is a
// process of the lowest priority, for the same reason: what is measured is what it
// costs the server, not what it costs to make.
func floodedAndCalm(t *testing.T, v *victim, p *process, f target) []any {
	t.Helper()
	const pairs, interval, settle = 5, 2 * time.Second, 500 * time.Millisecond
	var shares []float64
	var cpu time.Duration
	failed, did, dialed := 0, 0, 0
	calm, _ := v.during(t, interval)
	for range pairs {
		flood := startFlood(t, f)
		time.Sleep(settle)
		used := processCPU(t, p.cmd.Process.Pid)
		flooded, bad := v.during(t, interval)
		cpu += processCPU(t, p.cmd.Process.Pid) - used
		failed += bad
		done := flood.stop(t)
		did, dialed = did+done.Did, dialed+done.Dialed
		time.Sleep(settle)
		after, bad := v.during(t, interval)
		failed += bad
		shares = append(shares, flooded/((calm+after)/2))
		calm = after
	}
	slices.Sort(shares)
	median := shares[len(shares)/2]
	if median < minFloodShare {
		t.Errorf("another client makes %.2f of its calls, want %v", median, minFloodShare)
	}
	if failed > 0 {
		t.Errorf("%d calls of another client failed", failed)
	}
	return []any{
		f.Attack, fmt.Sprint(did), fmt.Sprint(dialed), fmt.Sprintf("%.2f (%.2f to %.2f)", median, shares[0], shares[len(shares)-1]),
		fmt.Sprint(failed), fmt.Sprintf("%.0f %%", 100*cpu.Seconds()/(pairs*interval).Seconds()),
	}
}

// victim is the other client: over gRPC with a certificate, and over REST with
// HTTP/2 and a token, on a connection each that was made before.
type victim struct {
	grpc keywardv1.SecretServiceClient
	http *http.Client
	url  string
}

func newVictim(t *testing.T, p *process) *victim {
	t.Helper()
	conf := p.tls()
	conn, err := grpc.NewClient(p.context().GRPC, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: conf.RootCAs, Certificates: conf.Certificates}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &victim{
		grpc: keywardv1.NewSecretServiceClient(conn), http: &http.Client{Transport: tr, Timeout: patience},
		url: "https://" + p.context().HTTP + floodREST,
	}
}

// call makes the n-th call.
func (v *victim) call(ctx context.Context, n int) error {
	if n%2 == 0 {
		got, err := v.grpc.GetSecret(ctx, &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/flood"})
		if err == nil && got.GetValue() != "calm" {
			err = errors.New("another value")
		}
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := v.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"calm"`)) {
		err = fmt.Errorf("%d %s", resp.StatusCode, body)
	}
	return err
}

// calls makes so many calls, and fails the test if one fails. It tries each again
// as clients do: a machine that is busy with other tests may keep the audit log
// from its disk for longer than a call waits.
func (v *victim) calls(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		err := v.call(t.Context(), i)
		for try := 0; err != nil && try < 5; try++ {
			t.Logf("call %d of another client is tried again: %v", i, err)
			time.Sleep(100 * time.Millisecond)
			err = v.call(t.Context(), i)
		}
		if err != nil {
			t.Fatalf("call %d of another client: %v", i, err)
		}
	}
}

// during calls for a time, and returns how many calls a second succeeded, and how
// many failed.
func (v *victim) during(t *testing.T, d time.Duration) (perSecond float64, failed int) {
	t.Helper()
	const callers, think = 8, 10 * time.Millisecond
	var ok, bad atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for i := range callers {
		wg.Go(func() {
			for time.Since(began) < d {
				if err := v.call(t.Context(), i); err != nil {
					bad.Add(1)
					t.Log(err)
				} else {
					ok.Add(1)
				}
				time.Sleep(think)
			}
		})
	}
	wg.Wait()
	return float64(ok.Load()) / time.Since(began).Seconds(), int(bad.Load())
}

// floodProcess is a flood, in a process of its own.
type floodProcess struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	done chan floodDone
}

// floodDone is what a flood did.
type floodDone struct{ Did, Dialed, Failed int }

// startFlood starts a flood, and returns once all its connections had their turn.
func startFlood(t *testing.T, f target) *floodProcess {
	t.Helper()
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	p := &floodProcess{cmd: exec.Command("flooder"), done: make(chan floodDone, 1)}
	p.cmd.Env = append(os.Environ(), "FLOOD="+string(text))
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the flood does not begin")
	}
	go func() {
		var d floodDone
		if lines.Scan() {
			_ = json.Unmarshal(lines.Bytes(), &d)
		}
		p.done <- d
	}()
	return p
}

// stop ends a flood, and demands that it has been one.
func (p *floodProcess) stop(t *testing.T) floodDone {
	t.Helper()
	p.in.Close()
	d := <-p.done
	_ = p.cmd.Wait()
	if d.Did == 0 {
		t.Error("the flood did nothing")
	}
	return d
}

// flood is the program of a flood. It begins, says so, and ends with its standard
// input.
func flood() {
	var f flooder
	if err := json.Unmarshal([]byte(os.Getenv("FLOOD")), &f.target); err != nil {
		panic(err)
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		panic(err)
	}
	f.roots = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	f.roots.RootCAs.AppendCertsFromPEM(pem)
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19)
	at := slices.IndexFunc(attacks, func(a attack) bool { return a.name == f.Attack })
	a := attacks[at]
	ctx, end := context.WithCancel(context.Background())
	var first, all sync.WaitGroup
	first.Add(f.Connections)
	for i := range f.Connections {
		all.Go(func() {
			began := sync.OnceFunc(first.Done)
			defer began()
			for ctx.Err() == nil {
				// Who stays is counted as begun when it has been let be for a while.
				timer := time.AfterFunc(200*time.Millisecond, began)
				if err := a.run(ctx, &f, i); err != nil {
					f.failed.Add(1)
				}
				timer.Stop()
				began()
				// What is not let in tries again, but not for all that it is worth.
				pause(ctx, max(a.again, 20*time.Millisecond))
			}
		})
	}
	first.Wait()
	fmt.Fprintln(os.Stdout, "up")
	_, _ = io.Copy(io.Discard, os.Stdin)
	end()
	_ = json.NewEncoder(os.Stdout).Encode(floodDone{int(f.did.Load()), int(f.dialed.Load()), int(f.failed.Load())})
}

// goroutines is how many the process has.
func (p *process) goroutines() int {
	p.t.Helper()
	m := regexp.MustCompile(`(?m)^go_goroutines (\d+)$`).FindStringSubmatch(p.metrics())
	if m == nil {
		p.t.Fatal("no go_goroutines")
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// watchMemory watches how much memory a process has. What it returns ends that, and
// tells how much more there was than at first, at most, in KiB.
func watchMemory(t *testing.T, pid int) (more func() int) {
	t.Helper()
	first := resident(t, pid)
	most := first
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			most = max(most, resident(t, pid))
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	end := sync.OnceFunc(func() { close(stop); <-stopped })
	t.Cleanup(end)
	return func() int { end(); return most - first }
}

// resident is the memory of a process, in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Error(err)
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	n, _ := strconv.Atoi(strings.Fields(rest)[0])
	return n
}

// processCPU is the CPU time that a process has used.
func processCPU(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	const utime, stime, hertz = 11, 12, 100
	fields := strings.Fields(rest)
	user, _ := strconv.Atoi(fields[utime])
	system, _ := strconv.Atoi(fields[stime])
	return time.Duration(user+system) * time.Second / hertz
}
