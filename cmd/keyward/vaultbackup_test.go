package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A vault whose process was killed can be copied and checked, and the next process
// takes the socket over that the killed one left.
func TestVaultBackupAfterAKill(t *testing.T) {
	takesLong(t)
	dir := filepath.Join(t.TempDir(), "data")
	ask := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("keyward", args...).CombinedOutput(); err != nil {
			t.Errorf("keyward %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	for range 2 {
		p, _ := startVault(t, dir)
		ask("vault", "backup", "--data", dir, "--out", filepath.Join(t.TempDir(), "saved.db"))
		ask("vault", "fsck", "--data", dir)
		_ = p.stop(syscall.SIGKILL)
		if !exists(filepath.Join(dir, "vault.db.control", "socket")) {
			t.Error("the killed process left no socket: the test shows nothing")
		}
		ask("vault", "backup", "--data", dir, "--out", filepath.Join(t.TempDir(), "saved.db"))
		ask("vault", "fsck", "--data", dir)
	}
}
