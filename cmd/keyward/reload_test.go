package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// eventually waits for what a running process does by itself.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); time.Since(began) < patience; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// A policy that is edited takes effect while keyward dev runs; one that is broken
// takes none, and the log, the metrics and the audit log tell.
func TestPolicyIsReloaded(t *testing.T) {
	p := startDev(t, filepath.Join(t.TempDir(), "data"))
	if err := set(t.Context(), p.secrets(), "api-key", "x"); err != nil {
		t.Fatal(err)
	}
	token := p.token("reports")
	read := func() int {
		code, _ := p.rest(http.MethodGet, "/v1/vaults/dev/secrets/api-key", token, "")
		return code
	}
	file := p.file(filepath.Join("policy", "reports.cedar"))
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code := read(); code != http.StatusForbidden {
		t.Fatalf("before: %d", code)
	}
	grant := `permit (principal == Workload::"dev/reports", action == Action::"getSecret", resource == Secret::"vaults/dev/secrets/api-key");`
	write(grant)
	eventually(t, "the grant takes effect", func() bool { return read() == http.StatusOK })
	write(grant + "\nforbid (principal, action resource);")
	eventually(t, "the broken change shows in the metrics", func() bool {
		return strings.Contains(p.metrics(), "\nkeyward_policy_refused 1\n")
	})
	if code := read(); code != http.StatusOK {
		t.Errorf("with a broken change: %d", code)
	}
	if code, text := p.admin("/readyz?verbose"); code != http.StatusOK || !strings.Contains(text, "[!] policy: ") || !strings.Contains(text, "reports.cedar:2:") {
		t.Errorf("readiness with a broken change: %d\n%s", code, text)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the grant is gone", func() bool { return read() == http.StatusForbidden })
	if !strings.Contains(p.metrics(), "\nkeyward_policy_refused 0\n") {
		t.Error("the metric says refused, after the folder was mended")
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if log := p.err.String(); !strings.Contains(log, "reports.cedar:2:") {
		t.Errorf("the log does not say where the policy is broken:\n%s", log)
	}
	var loads []string
	for _, r := range p.audit() {
		if r["action"] == "loadPolicies" {
			loads = append(loads, r["outcome"].(string))
		}
	}
	if got := strings.Join(loads, " "); got != "ok ok POLICY_INVALID ok" {
		t.Errorf("recorded: %s", got)
	}
}
