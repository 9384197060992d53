//go:build unix

package localvault_test

import (
	"bytes"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/keyward/keyward/broker"
)

const limitDir = "LOCALVAULT_LIMIT_DIR"

// After a commit that failed, nobody knows what is on the disk: the vault
// answers nothing until it is opened anew.
func TestFailedWriteStopsTheVault(t *testing.T) {
	// The limit is on all files of a process, so the vault has one of its own.
	limited := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^TestLimitedWriter$")
	limited.Env = append(os.Environ(), limitDir+"="+t.TempDir())
	out, err := limited.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestLimitedWriter")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestLimitedWriter is the process that TestFailedWriteStopsTheVault runs.
func TestLimitedWriter(t *testing.T) {
	dir := os.Getenv(limitDir)
	if dir == "" {
		t.Skip("run by TestFailedWriteStopsTheVault")
	}
	c := config(dir)
	v := open(t, c)
	kept := set(t, v, "a", "kept")

	// The file may not grow. A process is told so by a signal, too.
	signal.Ignore(syscall.SIGXFSZ)
	info, err := os.Stat(c.Path)
	must(t, err)
	var before syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	limit := before
	limit.Cur = uint64(info.Size())
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	big := broker.NewSecret{Value: broker.NewValue(strings.Repeat("x", broker.MaxValueLen)), Enabled: true}
	for range 10 {
		if _, err = v.Secrets().SetSecret(t.Context(), secretName(t, "b"), big); err != nil {
			break
		}
	}
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before))
	wantCode(t, "SetSecret beyond the limit", err, broker.CodeVaultUnavailable)

	_, err = v.Secrets().SetSecret(t.Context(), secretName(t, "c"), big)
	wantCode(t, "SetSecret after a failed one", err, broker.CodeVaultUnavailable)
	_, err = v.Secrets().GetSecret(t.Context(), kept.Name)
	wantCode(t, "GetSecret after a failed SetSecret", err, broker.CodeVaultUnavailable)
	must(t, v.Close())

	v = open(t, c)
	wantValue(t, v, kept.Name, "kept")
	wantValue(t, v, set(t, v, "c", "new").Name, "new")
}
