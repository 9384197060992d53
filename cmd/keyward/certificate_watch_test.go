package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A server's files follow the certificate, the command runs after each change
// and again if it failed, and a signal ends it.
func TestCertificateWatch(t *testing.T) {
	p := startDev(t, filepath.Join(t.TempDir(), "data"))
	env := append(os.Environ(), "KEYWARD_CONTEXT="+p.file("context.json"))
	create := func() {
		t.Helper()
		cmd := exec.Command("keyward", "certificate", "create", "web", "--dns", "example.org")
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	create()
	out, ran := filepath.Join(p.dir, "tls"), filepath.Join(p.dir, "ran")
	versions := func(wanted int) []string {
		t.Helper()
		var lines []string
		eventually(t, "the command has run", func() bool {
			text, err := os.ReadFile(ran)
			lines = strings.Fields(string(text))
			return err == nil && len(lines) >= wanted
		})
		return lines
	}
	// It fails the first time that it is run.
	hook := `echo "$KEYWARD_CERTIFICATE" >> ` + ran + ` && [ "$(wc -l < ` + ran + `)" -gt 1 ]`
	watch := exec.Command("keyward", "certificate", "watch", "web", "--out", out, "--interval", "1s", "--exec", hook)
	watch.Env = env
	var stderr safeBuffer
	watch.Stderr = &stderr
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	defer watch.Process.Kill() // it may have ended

	if ran := versions(2); ran[0] != ran[1] || !strings.HasPrefix(ran[0], "vaults/dev/certificates/web/versions/") {
		t.Errorf("the command ran for %q; want it twice for the first version", ran)
	}
	before := read(t, filepath.Join(out, fullchainFile)) + read(t, filepath.Join(out, privkeyFile))
	create()
	if ran := versions(3); ran[2] == ran[1] {
		t.Error("the command ran again for the same version")
	}
	if read(t, filepath.Join(out, fullchainFile))+read(t, filepath.Join(out, privkeyFile)) == before {
		t.Error("the files are those of the old version")
	}
	if err := watch.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	for _, want := range []string{"--exec: exit status 1", "it works again"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("standard error does not say %q:\n%s", want, stderr.String())
		}
	}
}

// What is missing at the start ends it: a mistake in a unit file is seen at once.
func TestCertificateWatchNeedsACertificate(t *testing.T) {
	p := startDev(t, filepath.Join(t.TempDir(), "data"))
	cmd := exec.Command("keyward", "certificate", "watch", "web", "--out", p.file("tls"))
	cmd.Env = append(os.Environ(), "KEYWARD_CONTEXT="+p.file("context.json"))
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "CERTIFICATE_NOT_FOUND") {
		t.Errorf("%v\n%s", err, out)
	}
}

// The tasks of an application that used Key Vault itself.
func TestTasks(t *testing.T) {
	takesLong(t)
	keyward, err := exec.LookPath("keyward")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "../../docs/tasks.sh")
	cmd.Env = append(os.Environ(), "KEYWARD="+keyward)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "== all done\n") {
		t.Errorf("%v\n%s", err, out)
	}
}
