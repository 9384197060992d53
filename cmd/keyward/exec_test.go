package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// signalee is a program that prints each signal it gets, and ends with its
// standard input.
func signalee() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	end := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(end)
	}()
	fmt.Fprintln(os.Stdout, "up")
	for {
		select {
		case s := <-signals:
			if s != syscall.SIGURG { // Go's own
				fmt.Fprintln(os.Stdout, "got", s)
			}
		case <-end:
			return
		}
	}
}

// newExec prepares a real keyward exec with a secret a, whose value is s3cret.
func newExec(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	b := newBatching(map[string]string{"vaults/dev/secrets/a": "s3cret"})
	cmd := exec.Command("keyward", append([]string{"exec", "--secret", "a"}, args...)...)
	cmd.Env = append(os.Environ(), "KEYWARD_CONTEXT="+filepath.Join(b.serve(t), "context.json"), "A=from before", "KEPT=kept")
	return cmd
}

func TestExecEnvironment(t *testing.T) {
	b := newBatching(map[string]string{
		"vaults/dev/secrets/db-password": "p=1\n2", "vaults/pay/secrets/stripe-key": "sk", "vaults/dev/secrets/nul": "a\x00b",
	})
	dir := b.serve(t)
	folder := t.TempDir()
	mapping := filepath.Join(folder, "app.secrets")
	if err := os.WriteFile(mapping, []byte("# app\nSTRIPE = vaults/pay/secrets/stripe-key\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		name, flags string
		command     []string
		want        string
		wantErr     string
		code, calls int
	}{
		{
			name: "each way to name one", flags: "--secret db-password --env X=db-password --from " + mapping,
			command: []string{"--", "sh", "-c", `echo "$DB_PASSWORD|$STRIPE|$X"`}, want: "p=1\n2|sk|p=1\n2\n", calls: 1,
		},
		{
			name: "without --, the command's flags are its own", flags: "--secret db-password",
			command: []string{"sh", "-c", `echo "$0 $*"`, "--secret", "-o", "--"}, want: "--secret -o --\n", calls: 1,
		},
		{name: "its exit code", flags: "--secret db-password", command: []string{"--", "sh", "-c", "exit 42"}, code: 42, calls: 1},
		{name: "ended by a signal", flags: "--secret db-password", command: []string{"--", "sh", "-c", "kill -9 $$"}, code: 128 + 9, calls: 1},
		{
			name: "denied", flags: "--secret db-password --secret other", command: []string{"--", "touch", folder + "/started"},
			wantErr: "vaults/dev/secrets/other: the policy does not allow this (POLICY_DENIED)", code: exitNotStarted, calls: 1,
		},
		{
			name: "what no environment can carry", flags: "--secret nul", command: []string{"--", "touch", folder + "/started"},
			wantErr: "NUL", code: exitNotStarted, calls: 1,
		},
		{name: "no secret named", command: []string{"--", "touch", folder + "/started"}, wantErr: "--secret", code: exitNotStarted},
		{name: "two for one variable", flags: "--secret db-password --env DB_PASSWORD=x", command: []string{"--", "true"}, wantErr: "DB_PASSWORD is given two", code: exitNotStarted},
		{name: "no mapping file", flags: "--from nowhere", command: []string{"--", "true"}, wantErr: "nowhere", code: exitNotStarted},
		{name: "no variable", flags: "--env a-b=c", command: []string{"--", "true"}, wantErr: "a variable's name", code: exitUsage},
		{name: "no command", flags: "--secret db-password", wantErr: "command", code: exitUsage},
		{name: "no command after --", flags: "--secret db-password", command: []string{"--"}, wantErr: "command", code: exitUsage},
		{name: "no such command", flags: "--secret db-password", command: []string{"--", "no-such-command"}, wantErr: "no-such-command", code: exitNotFound},
		{name: "no such file", flags: "--secret db-password", command: []string{"--", "./no-such-command"}, wantErr: "no-such-command", code: exitNotFound},
		{name: "not executable", flags: "--secret db-password", command: []string{"--", mapping}, wantErr: "permission denied", code: exitNotExecutable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.requests = nil
			args := slices.Concat([]string{"exec"}, strings.Fields(tt.flags), tt.command)
			stdout, stderr, code := keyward(t, dir, "", args...)
			if code != tt.code || stdout != tt.want || !strings.Contains(stderr, tt.wantErr) || tt.wantErr == "" && stderr != "" {
				t.Errorf("exit %d, %q, %q; want %d, %q, %q", code, stdout, stderr, tt.code, tt.want, tt.wantErr)
			}
			if len(b.requests) != tt.calls {
				t.Errorf("%d calls, want %d", len(b.requests), tt.calls)
			}
			if exists(folder + "/started") {
				t.Error("the command was started")
			}
		})
	}
}

// The command has the secret in place of what was there, and all else as it was.
// Nobody has it on a command line.
func TestExecHandsOn(t *testing.T) {
	cmd := newExec(t, "--", "sh", "-c", `cat; echo "$A $KEPT ${KEYWARD_CONTEXT##*/}"; cat /proc/$$/cmdline /proc/$PPID/cmdline | grep -c "s3cre[t]" >&2`)
	cmd.Stdin = strings.NewReader("typed\n")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, _ := cmd.Output() // grep's exit code: it found none
	if got := string(out); got != "typed\ns3cret kept context.json\n" {
		t.Errorf("got %q", got)
	}
	if exists("/proc/self/cmdline") && errOut.String() != "0\n" {
		t.Errorf("command lines with the value: %s", errOut.String())
	}
}

func TestExecPassesSignalsOn(t *testing.T) {
	cmd := newExec(t, "--", "signalee")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal of ours
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	next := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, %v; want %q", lines.Text(), lines.Err(), want)
		}
	}
	next("up")
	for _, s := range []syscall.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
	} {
		if signal.Ignored(s) { // as under nohup, which the command inherits
			continue
		}
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		next("got " + s.String())
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// What nohup and a script's background jobs ignore, the command ignores too.
func TestExecLeavesSignalsIgnored(t *testing.T) {
	cmd := newExec(t, "--", "sh", "-c", "kill -HUP $$; kill -INT $$; echo alive")
	var out bytes.Buffer
	cmd.Stdout = &out
	cmd.Args = append([]string{"sh", "-c", `trap "" HUP INT; exec "$@"`, "sh"}, cmd.Args...)
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path = sh
	if err := cmd.Run(); err != nil || out.String() != "alive\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
