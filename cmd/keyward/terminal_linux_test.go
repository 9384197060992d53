package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
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
