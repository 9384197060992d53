package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain makes the test binary stand in for bench where it is started as one of
// its servers.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && yardsticks[os.Args[1]] != nil {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestRows takes a row with each kind of yardstick, so short that the figures mean
// nothing.
func TestRows(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("processor time is read from /proc")
	}
	keyward := filepath.Join(t.TempDir(), "keyward")
	if text, err := exec.Command("go", "build", "-o", keyward, "../keyward").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"-keyward", keyward, "-dir", t.TempDir(), "-rows", "bearer,rest,cold", "-rounds", "1", "-interval", "50ms"}, strings.NewReader(""), &out, &errs)
	if code != 0 {
		t.Fatal(errs.String())
	}
	for _, want := range []string{"bearer token: throughput", "HTTP/1.1: server's CPU", "HTTP/2: throughput", "added to the median"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no line with %q in\n%s", want, out.String())
		}
	}
}
