//go:build unix

package localvault_test

import (
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/keyward/keyward/broker"
)

// After a commit that failed, nobody knows what is on the disk: the vault
// answers nothing until it is opened anew.
func TestFailedWriteStopsTheVault(t *testing.T) {
	c := config(t.TempDir())
	v := open(t, c)
	kept := set(t, v, "a", "kept")

	// The file may not grow. A process is told so by a signal, too.
	signal.Ignore(syscall.SIGXFSZ)
	t.Cleanup(func() { signal.Reset(syscall.SIGXFSZ) })
	info, err := os.Stat(c.Path)
	must(t, err)
	var before syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	limit := before
	limit.Cur = uint64(info.Size())
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	restore := func() { must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before)) }
	t.Cleanup(restore)

	big := broker.NewSecret{Value: broker.NewValue(strings.Repeat("x", broker.MaxValueLen)), Enabled: true}
	for range 10 {
		if _, err = v.Secrets().SetSecret(t.Context(), secretName(t, "b"), big); err != nil {
			break
		}
	}
	wantCode(t, "SetSecret beyond the limit", err, broker.CodeVaultUnavailable)
	restore()

	_, err = v.Secrets().SetSecret(t.Context(), secretName(t, "c"), big)
	wantCode(t, "SetSecret after a failed one", err, broker.CodeVaultUnavailable)
	_, err = v.Secrets().GetSecret(t.Context(), kept.Name)
	wantCode(t, "GetSecret after a failed SetSecret", err, broker.CodeVaultUnavailable)
	must(t, v.Close())

	v = open(t, c)
	wantValue(t, v, kept.Name, "kept")
	wantValue(t, v, set(t, v, "c", "new").Name, "new")
}
