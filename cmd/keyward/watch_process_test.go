package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// A watch tells of every change, also of those that were made while it was away
// and the broker was another.
func TestWatch(t *testing.T) {
	p := startDev(t, filepath.Join(t.TempDir(), "data"))
	version := func(p *process, name, value string) string {
		t.Helper()
		s, err := p.secrets().SetSecret(t.Context(), &keywardv1.SetSecretRequest{Name: "vaults/dev/secrets/" + name, Value: value})
		if err != nil {
			t.Fatal(err)
		}
		return s.GetVersion()
	}
	remove := func(p *process, name string) {
		t.Helper()
		if _, err := p.secrets().DeleteSecret(t.Context(), &keywardv1.DeleteSecretRequest{Name: "vaults/dev/secrets/" + name}); err != nil {
			t.Fatal(err)
		}
	}
	const a, b, c = "vaults/dev/secrets/a", "vaults/dev/secrets/b", "vaults/dev/secrets/c"
	want := []string{a + " changed " + version(p, "a", "one")}
	w := launch(t, p.dir, program("keyward", []string{"KEYWARD_CONTEXT=" + p.file("context.json")}, "watch", "a", "b", c))
	w.prints(want[0])
	told := func(line string) {
		t.Helper()
		w.prints(line)
		want = append(want, line)
	}
	told(b + " changed " + version(p, "b", "one"))
	told(c + " changed " + version(p, "c", "one"))
	told(a + " changed " + version(p, "a", "two"))
	if _, err := p.secrets().UpdateSecret(t.Context(), &keywardv1.UpdateSecretRequest{
		Secret: &keywardv1.Secret{Name: c}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"enabled"}},
	}); err != nil {
		t.Fatal(err)
	}
	told(c + " disabled")

	if err := w.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p = startDev(t, p.dir)
	missed := version(p, "a", "three")
	remove(p, "b")
	remove(p, "c")
	if err := w.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	told(a + " changed " + missed)
	told(b + " deleted")
	told(c + " deleted")

	// And through a crash, with nobody there for a while.
	p.stop(syscall.SIGKILL)
	w.says("nothing is missed; trying again")
	p = startDev(t, p.dir)
	told(a + " changed " + version(p, "a", "four"))
	w.says("it works again")

	if err := w.stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v", err)
	}
	got := strings.Split(strings.TrimSpace(w.out.String()), "\n")
	if len(got) != len(want) {
		t.Errorf("it printed %q, want in some order %q", got, want)
	}
	if text := w.out.String() + w.err.String(); strings.Contains(text, "three") {
		t.Errorf("it printed a value:\n%s", text)
	}
}

// A watch that policy does not allow does not begin, and one that it allows no
// longer ends.
func TestWatchDenied(t *testing.T) {
	p := startDev(t, filepath.Join(t.TempDir(), "data"))
	if err := set(t.Context(), p.secrets(), "a", "one"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.file("token"), []byte(p.token("reports")), 0o600); err != nil {
		t.Fatal(err)
	}
	watch := func() *process {
		return launch(t, p.dir, program("keyward", []string{"KEYWARD_CONTEXT=" + p.file("context.json")}, "watch", "a", "--token-file", p.file("token")))
	}
	denied := func(w *process) {
		t.Helper()
		select {
		case <-w.done:
		case <-time.After(patience):
			t.Fatalf("it goes on:\n%s", w.err)
		}
		if code := w.cmd.ProcessState.ExitCode(); code != exitError || !strings.Contains(w.err.String(), "(POLICY_DENIED)\n  the broker's audit log has this request as ") {
			t.Errorf("exit %d: %s", code, w.err)
		}
	}
	first := watch()
	denied(first)
	if first.out.String() != "" {
		t.Errorf("it printed %s", first.out)
	}

	grant := p.file(filepath.Join("policy", "reports.cedar"))
	if err := os.WriteFile(grant, []byte(`permit (principal == Workload::"dev/reports", action == Action::"watchSecret", resource == Secret::"vaults/dev/secrets/a");`), 0o600); err != nil {
		t.Fatal(err)
	}
	var w *process
	eventually(t, "the grant takes effect", func() bool {
		w = watch()
		eventually(t, "it begins or ends", func() bool { return w.out.String() != "" || w.ended() })
		return !w.ended()
	})
	if err := os.Remove(grant); err != nil {
		t.Fatal(err)
	}
	denied(w)
}
