package localvault_test

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"
)

const ownProcessVar = "LOCALVAULT_OWN_PROCESS"

// ownProcess runs the test that calls it in a process of its own, since what it does
// to the process cannot be taken back. It reports whether this is that process; in
// the other one, there is nothing left to do.
func ownProcess(t *testing.T, prepare ...func(*exec.Cmd)) bool {
	t.Helper()
	if os.Getenv(ownProcessVar) == t.Name() {
		return true
	}
	limit := time.Duration(0) // none
	if at, ok := t.Deadline(); ok {
		limit = time.Until(at)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.timeout="+limit.String(), "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), ownProcessVar+"="+t.Name())
	for _, p := range prepare {
		p(cmd)
	}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil && cmd.ProcessState == nil:
		t.Skipf("SKIPPED: no process of the kind that this needs: %v", err)
	case bytes.Contains(out, []byte("--- SKIP: "+t.Name()+" ")):
		t.Skipf("SKIPPED:\n%s", out)
	case err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name()+" ")):
		t.Errorf("%v\n%s", err, out)
	default:
		t.Logf("in a process of its own:\n%s", out)
	}
	return false
}
