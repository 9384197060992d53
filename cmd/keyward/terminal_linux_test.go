package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// openTerminal returns a pseudoterminal: what is written to user comes in at
// tty, as if typed.
func openTerminal(t *testing.T) (user, tty *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudoterminals here:", err)
	}
	t.Cleanup(func() { user.Close() })
	fd := int(user.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return user, tty
}

func TestSetAsksAtATerminal(t *testing.T) {
	tests := []struct {
		name, typed, want, wantErr string
	}{
		{name: "the same twice", typed: "s3cret \ns3cret \n", want: "s3cret "},
		{name: "a slip", typed: "s3cret\ns3cert\n", wantErr: "the two differ"},
		{name: "nothing", typed: "\n\n", wantErr: "is empty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			user, tty := openTerminal(t)
			if _, err := user.WriteString(tt.typed); err != nil {
				t.Fatal(err)
			}
			var asked bytes.Buffer
			got, err := readValue(&app{in: tty, err: &asked}, "", false)
			if !strings.Contains(asked.String(), "not shown") {
				t.Errorf("asked %q", asked.String())
			}
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("got %v; want an error with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || got.Reveal() != tt.want {
				t.Errorf("got %q, %v; want %q", got.Reveal(), err, tt.want)
			}
		})
	}
}

func TestGetEndsALineAtATerminal(t *testing.T) {
	b := &fakeBroker{get: func(context.Context, *keywardv1.GetSecretRequest) (*keywardv1.GetSecretResponse, error) {
		return &keywardv1.GetSecretResponse{Value: "s3cret"}, nil
	}}
	dir := b.serve(t)
	user, tty := openTerminal(t)
	code := run(t.Context(), []string{"get", "a", "--context", dir + "/context.json"}, func(string) string { return "" }, nil, tty, os.Stderr)
	if code != exitOK {
		t.Fatal(code)
	}
	shown := make([]byte, 64)
	n, err := user.Read(shown)
	if err != nil || string(shown[:n]) != "s3cret\r\n" {
		t.Errorf("the terminal shows %q, %v", shown[:n], err)
	}
}

func TestPurgeAsksAtATerminal(t *testing.T) {
	tests := []struct {
		name, typed string
		want        int
	}{
		{name: "yes", typed: "yes\n", want: exitOK},
		{name: "y", typed: "Y\n", want: exitOK},
		{name: "no", typed: "no\n", want: exitError},
		{name: "nothing", typed: "\n", want: exitError},
		{name: "the end", typed: "\x04", want: exitError},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := &fakeBroker{}
			dir := b.serve(t)
			user, tty := openTerminal(t)
			if _, err := user.WriteString(tt.typed); err != nil {
				t.Fatal(err)
			}
			var out, asked bytes.Buffer
			code := run(t.Context(), []string{"purge", "a", "--context", dir + "/context.json"}, func(string) string { return "" }, tty, &out, &asked)
			if code != tt.want || !strings.Contains(asked.String(), "vaults/dev/deletedSecrets/a for good") {
				t.Errorf("exit %d, asked %q", code, asked.String())
			}
			if purged := len(b.requests) == 1; purged != (tt.want == exitOK) {
				t.Errorf("asked the broker %v", b.requests)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		_, tty := openTerminal(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := confirm(&app{ctx: ctx, in: tty, err: &bytes.Buffer{}}, "Sure?"); err == nil || !strings.Contains(err.Error(), "interrupted") {
			t.Errorf("got %v", err)
		}
	})
}

func TestBackupIsNotForATerminal(t *testing.T) {
	_, tty := openTerminal(t)
	err := (&backupCmd{}).Run(&app{out: tty})
	if err == nil || !strings.Contains(err.Error(), "--out") {
		t.Errorf("got %v", err)
	}
	err = (&restoreCmd{}).Run(&app{in: tty})
	if err == nil || !strings.Contains(err.Error(), "name the file") {
		t.Errorf("got %v", err)
	}
}

// A terminal sends Ctrl-C to all of its foreground group. The command gets it
// once: a second one would mean "at once".
func TestExecAtATerminal(t *testing.T) {
	user, tty := openTerminal(t)
	cmd := newExec(t, "--", "signalee")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	shown := bufio.NewScanner(user)
	next := func(want string) {
		t.Helper()
		if !shown.Scan() || strings.TrimPrefix(shown.Text(), "^C") != want {
			t.Fatalf("got %q, %v; want %q", shown.Text(), shown.Err(), want)
		}
	}
	next("up")
	for range 3 {
		if _, err := user.WriteString("\x03"); err != nil {
			t.Fatal(err)
		}
		next("got interrupt")
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	next("got terminated")
	if _, err := user.WriteString("\x04"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
