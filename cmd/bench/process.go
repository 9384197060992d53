package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTime = 60 * time.Second // 10,000 policies take a while on a busy machine
	stopTime  = 10 * time.Second
	// userHZ is what /proc counts processor time in, on every Linux.
	userHZ = 100
)

// process is a server that is measured, or that another needs.
type process struct {
	name  string
	cmd   *exec.Cmd
	in    io.Closer // a yardstick ends with it
	out   *output
	ready []string // what the pattern of its readiness matched
	done  chan struct{}
}

// start starts a program and waits until what it prints matches ready.
func start(ctx context.Context, name string, env []string, ready *regexp.Regexp, program string, args ...string) (*process, error) {
	p := &process{name: name, out: &output{pattern: ready, found: make(chan []string, 1)}, done: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, program, args...) //nolint:gosec // keyward, as the flag names it, or this program
	p.cmd.Env = append(plainEnv(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopTime
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.in = in
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is seen by who calls it
		close(p.done)
	}()
	select {
	case p.ready = <-p.out.found:
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("%s ended before it served:\n%s", name, p.out)
	case <-time.After(startTime):
		return nil, errors.Join(fmt.Errorf("%s does not serve after %s:\n%s", name, startTime, p.out), p.stop())
	}
}

// plainEnv is this process's environment without what would tune a Go program
// or send its telemetry elsewhere.
func plainEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if name != "GOGC" && name != "GOMEMLIMIT" && name != "GODEBUG" && !strings.HasPrefix(name, "OTEL_") {
			env = append(env, kv)
		}
	}
	return env
}

// stop ends the process and waits for it.
func (p *process) stop() error {
	_ = p.in.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTime):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end by itself", p.name)
	}
}

// cpu is the processor time that the process has used, in user and kernel mode.
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name before it may hold anything, so count from its end.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const user, kernel = 11, 12
	if len(fields) <= kernel {
		return 0, fmt.Errorf("%s: /proc has no processor time", p.name)
	}
	var ticks int64
	for _, f := range []string{fields[user], fields[kernel]} {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: /proc: %w", p.name, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / userHZ), nil
}

// memory returns what is resident now, and the most that ever was, in MiB.
func (p *process) memory() (now, most float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	found := 0
	for line := range strings.Lines(string(text)) {
		var kib float64
		switch {
		case scan(line, "VmRSS: %f kB", &kib):
			now = kib / 1024
			found++
		case scan(line, "VmHWM: %f kB", &kib):
			most = kib / 1024
			found++
		}
	}
	if found != 2 {
		return 0, 0, fmt.Errorf("%s: /proc has no resident size", p.name)
	}
	return now, most, nil
}

func scan(line, format string, to *float64) bool {
	n, err := fmt.Sscanf(line, format, to)
	return err == nil && n == 1
}

// output keeps the beginning of what a process prints, and finds a pattern in it.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	pattern *regexp.Regexp
	found   chan []string
}

const keptOutput = 64 << 10

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buf.Len() < keptOutput {
		o.buf.Write(p)
	}
	if o.pattern != nil {
		if m := o.pattern.FindStringSubmatch(o.buf.String()); m != nil {
			o.pattern = nil
			o.found <- m
		}
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
