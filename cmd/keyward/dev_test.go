package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// The commands, as a user types them, against a keyward dev of the script's.
func TestScripts(t *testing.T) {
	takesLong(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			p := startDev(t, filepath.Join(t.TempDir(), "data"))
			env.Setenv("DATA", p.dir)
			env.Setenv("KEYWARD_CONTEXT", p.file("context.json"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// eventually runs a command until it succeeds: what a process does by
			// itself takes a moment.
			"eventually": func(ts *testscript.TestScript, _ bool, args []string) {
				for began := time.Now(); ts.Exec(args[0], args[1:]...) != nil; time.Sleep(20 * time.Millisecond) {
					if time.Since(began) > patience {
						ts.Fatalf("never: %v", args)
					}
				}
			},
			// mode checks a file's permissions.
			"mode": func(ts *testscript.TestScript, _ bool, args []string) {
				info, err := os.Stat(ts.MkAbs(args[1]))
				ts.Check(err)
				if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
					ts.Fatalf("%s has mode %s, not %s", args[1], got, args[0])
				}
			},
		},
	})
}

// Every line of the tour that keyward dev prints, but that of the foreign gRPC
// client, does what it says when it is pasted into a shell.
func TestTour(t *testing.T) {
	takesLong(t)
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("the tour needs curl")
	}
	p := startDev(t, filepath.Join(t.TempDir(), "data"))
	var lines []string
	for line := range strings.Lines(p.out.String()) {
		line, ok := strings.CutPrefix(line, "  ")
		if ok && !strings.HasPrefix(line, "#") && !strings.Contains(line, "grpcurl") {
			lines = append(lines, line)
		}
	}
	script := "set -eu\n" + strings.Join(lines, "")
	cmd := exec.Command("sh", "-c", script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	for _, want := range []string{
		"correct-horse",                         // get
		"api-key ",                              // list
		`"value":"correct-horse"`,               // curl as billing
		`POLICY_DENIED`,                         // curl, denied
		`"principal":"dev/billing"`,             // tail of the audit log
		`"billing-reads-its-database-password"`, // ... which policy allowed
		`"decision":"deny"`,                     // ... and the denial
		"deleted vaults/dev/secrets/api-key",    // delete
	} {
		if !strings.Contains(strings.ReplaceAll(string(out), `": "`, `":"`), want) {
			t.Errorf("the tour does not show %s:\n%s", want, out)
		}
	}
}

func TestARestartFindsEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := startDev(t, dir)
	if err := set(t.Context(), p.secrets(), "kept", "value"); err != nil {
		t.Fatal(err)
	}
	policy := p.file("policy/dev.cedar")
	text, err := os.ReadFile(policy)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(policy, append(text, "// mine\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	token := p.token("billing")
	before := map[string]string{}
	for _, name := range []string{"ca.pem", "server.pem", "admin.pem", "jwks.json", "policy/dev.cedar", "vault.key"} {
		before[name] = read(t, p.file(name))
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Fatalf("SIGTERM: %v\n%s", err, p.err)
	}

	p = startDev(t, dir)
	for name, was := range before {
		if read(t, p.file(name)) != was {
			t.Errorf("%s changed", name)
		}
	}
	got, err := p.secrets().GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/kept"})
	if err != nil || got.GetValue() != "value" {
		t.Errorf("got %q, %v", got.GetValue(), err)
	}
	if status, body := p.rest("GET", "/v1/vaults/dev/secrets/kept", token, ""); status != 403 {
		t.Errorf("a token from before: %d %s, want 403: known and denied", status, body)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Values that were acknowledged before a kill -9 are there after it.
func TestKilledWhileSetting(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := startDev(t, dir)
	c := p.secrets()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	acknowledged := map[string]string{}
	enough := make(chan struct{})
	var once sync.Once
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name, value := fmt.Sprintf("s-%d-%d", w, i%20), fmt.Sprintf("value %d of %d", i, w)
				if set(ctx, c, name, value) != nil {
					return
				}
				mu.Lock()
				acknowledged[name] = value
				if len(acknowledged) >= 60 {
					once.Do(func() { close(enough) })
				}
				mu.Unlock()
			}
		})
	}
	select {
	case <-enough:
	case <-p.done:
		t.Fatalf("it ended by itself\n%s", p.err)
	}
	p.stop(syscall.SIGKILL)
	cancel()
	writers.Wait()

	c = startDev(t, dir).secrets()
	for name, want := range acknowledged {
		got, err := c.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/" + name})
		if err != nil {
			t.Errorf("%s was acknowledged and is gone: %v", name, err)
			continue
		}
		// A write that was under way may have happened without its answer.
		var i, w, wantI int
		if _, err := fmt.Sscanf(got.GetValue(), "value %d of %d", &i, &w); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(want, "value %d of %d", &wantI, &w); err != nil {
			t.Fatal(err)
		}
		if i != wantI && i != wantI+20 {
			t.Errorf("%s is %q, and %q was acknowledged", name, got.GetValue(), want)
		}
	}
}
