package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/audit"
)

// The key that the scripts' log is signed with, so that it is the same each time.
const (
	scriptsKey   = "PRIVATE+KEY+audit.example.org/keyward+e7b1ed12+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
	scriptsOther = "PRIVATE+KEY+audit.example.org/keyward+c9aca6e2+AR8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA"
)

// The commands on audit logs, as a user types them, on a log that is made by the
// broker's own, in a time of its own.
func TestAuditScripts(t *testing.T) {
	made := filepath.Join(t.TempDir(), "made")
	if err := os.Mkdir(made, 0o700); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) { makeAuditLog(t, made) })
	spoilAuditLogs(t, made)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/audit", UpdateScripts: *updateScripts,
		Setup: func(env *testscript.Env) error { return os.CopyFS(env.WorkDir, os.DirFS(made)) },
	})
}

// makeAuditLog makes a log of two files, with its keys and a checkpoint that was
// kept: 2000-01-01 is when synctest's time begins.
func makeAuditLog(t *testing.T, dir string) {
	t.Helper()
	signer, err := audit.NewSigner(scriptsKey, "")
	if err != nil {
		t.Fatal(err)
	}
	other, err := audit.NewSigner(scriptsOther, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"audit.key": scriptsKey, "audit.pub": signer.PublicKey(), "other.pub": other.PublicKey(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := audit.Open(audit.Config{Path: filepath.Join(dir, "audit.jsonl"), Signer: signer, CheckpointEvery: 5, CheckpointInterval: 24 * time.Hour, RotateAge: 30 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second / 2) // off the log's own beat
	name := func(text string) broker.Name {
		n, err := broker.ParseName(broker.KindSecrets, text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	billing := broker.Caller{Principal: broker.Principal{ID: "spiffe://example.org/billing"}, Transport: broker.TransportGRPC, RequestID: "r-1"}
	web := broker.Caller{Principal: broker.Principal{ID: "kubernetes/web", Groups: []string{"kubernetes/team-web"}}, Transport: broker.TransportREST}
	oncall := broker.Caller{Principal: broker.Principal{ID: "entra/oncall"}, Reason: "the night of\nthe <fire>"}
	allow := broker.Decision{Allowed: true, Policies: []string{"billing-reads"}, PolicySet: "5e7"}
	deny := broker.Decision{PolicySet: "5e7"}
	glass := broker.Decision{Allowed: true, Policies: []string{"emergency"}, PolicySet: "5e7", BreakGlass: true}
	db, api := name("vaults/pay/secrets/db-password"), name("vaults/pay/secrets/api-key")
	version := name("vaults/pay/secrets/db-password/versions/0123456789abcdef0123456789abcdef")
	get := broker.ActionGetSecret
	for _, e := range []broker.Event{
		{Action: broker.ActionLoadPolicies, Decision: broker.Decision{Allowed: true, PolicySet: "5e7"}, Outcome: broker.OutcomeOK},
		{Caller: billing, Action: get, Resource: db, Decision: allow, Outcome: broker.OutcomeOK},
		{Caller: billing, Action: get, Resource: version, Decision: allow, Outcome: broker.OutcomeOK, Cached: true},
		{Caller: web, Action: get, Resource: db, Decision: deny, Outcome: string(broker.CodePolicyDenied)},
		{Action: broker.ActionAuthenticate, Outcome: string(broker.CodeBadCredentials)},
		{Caller: oncall, Action: get, Resource: api, Decision: glass, Outcome: broker.OutcomeOK},
		{Caller: billing, Action: broker.ActionSetSecret, Resource: api, Decision: allow, Phase: broker.PhaseIntent},
		{Caller: billing, Action: broker.ActionSetSecret, Resource: api, Decision: allow, Phase: broker.PhaseOutcome, Outcome: broker.OutcomeOK},
		{Caller: web, Action: get, Decision: allow, Outcome: broker.OutcomeOK, Resource: db.Vault().Collection(broker.KindSecrets), Items: []broker.Item{
			{Resource: api, Decision: allow, Outcome: broker.OutcomeOK}, {Resource: db, Decision: deny, Outcome: string(broker.CodePolicyDenied)},
		}},
		{Caller: web, Action: broker.ActionListSecrets, Decision: allow, Outcome: broker.OutcomeOK, Resource: db.Vault().Collection(broker.KindSecrets), Cached: true, Items: []broker.Item{
			{Resource: api, Decision: allow, Outcome: broker.OutcomeOK},
		}},
		{Caller: billing, Action: broker.ActionExplainAccess, Resource: db.Vault(), Decision: allow, Outcome: broker.OutcomeOK, Question: &broker.Question{
			Action: get, Resource: db, Principal: web.Principal, Answer: &deny,
		}},
		{Caller: billing, Action: get, Resource: db, Decision: allow, Outcome: string(broker.CodeVaultUnavailable)},
		{Caller: billing, Action: get, Resource: db, Decision: allow, Outcome: broker.OutcomeOK},
	} {
		e.Time = time.Now()
		if err := l.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Hour)
		synctest.Wait()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// spoilAuditLogs makes all.jsonl of the log's files, and from that others with
// something wrong.
func spoilAuditLogs(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "audit*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range files {
		for line := range strings.Lines(read(t, f)) {
			lines = append(lines, line)
		}
	}
	for name, change := range map[string]func([]string) []string{
		"all": func(l []string) []string { return l },
		"changed": func(l []string) []string {
			l[4] = strings.Replace(l[4], "kubernetes/web", "kubernetes/xyz", 1)
			return l
		},
		"dropped":    func(l []string) []string { return slices.Delete(l, 4, 6) },
		"swapped":    func(l []string) []string { l[4], l[5] = l[5], l[4]; return l },
		"duplicated": func(l []string) []string { return slices.Insert(l, 8, l[4]) },
		"moved":      func(l []string) []string { return slices.Delete(slices.Insert(l, 9, l[4]), 4, 5) },
		"added":      func(l []string) []string { return slices.Insert(l, 4, "hello\n") },
		"cut":        func(l []string) []string { return l[:9] },
		"torn":       func(l []string) []string { l[len(l)-1] = l[len(l)-1][:100]; return l },
	} {
		text := strings.Join(change(slices.Clone(lines)), "")
		if err := os.WriteFile(filepath.Join(dir, name+".jsonl"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// What was torn is survived: the log goes on behind it.
	path := filepath.Join(dir, "survived.jsonl")
	if err := os.WriteFile(path, []byte(read(t, filepath.Join(dir, "torn.jsonl"))), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := audit.Open(audit.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Record(t.Context(), broker.Event{Action: broker.ActionLoadPolicies}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAuditUsage(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no file":                {[]string{"verify"}, exitUsage, "file"},
		"no such file":           {[]string{"verify", "nowhere.jsonl"}, exitError, "there is no file nowhere.jsonl"},
		"a folder":               {[]string{"show", dir}, exitUsage, "name the log's files"},
		"a time":                 {[]string{"show", "--since", "yesterday", "x"}, exitUsage, "how long ago"},
		"a pattern":              {[]string{"show", "--resource", "[", "x"}, exitUsage, "begins a set"},
		"no decision":            {[]string{"show", "--decision", "maybe", "x"}, exitUsage, "allow"},
		"to follow two":          {[]string{"show", "-f", "a", "b"}, exitUsage, "one file"},
		"no key":                 {[]string{"verify", "--key", "nowhere.pub", "x"}, exitError, "nowhere.pub"},
		"a key that is there":    {[]string{"key", "--new", "k", os.Args[0]}, exitError, "there already"},
		"a key's name":           {[]string{"key", "--new", "k+k", filepath.Join(dir, "k")}, exitError, "want a name"},
		"what is no private key": {[]string{"key", os.Args[0]}, exitError, "no private key"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := runHere(t, append([]string{"audit"}, c.args...)...)
			if code != c.code || out != "" || !strings.Contains(errOut, c.want) {
				t.Errorf("exit code %d, %q, %q", code, out, errOut)
			}
		})
	}
}

// Following goes on over a rotation, until it is told to stop.
func TestAuditFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := audit.Open(audit.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	record := func(who string) {
		t.Helper()
		e := broker.Event{Caller: broker.Caller{Principal: broker.Principal{ID: who}}, Action: broker.ActionGetSecret, Decision: broker.Decision{Allowed: who != "dev/c"}}
		if err := l.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	record("dev/a")
	record("dev/c")
	out := &safeBuffer{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"audit", "show", "--follow", "--decision", "allow", path}, os.Getenv, nil, out, out)
	}()
	shows := func(who string) {
		t.Helper()
		for began := time.Now(); !strings.Contains(out.String(), who); time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > patience {
				t.Fatalf("it never shows %s:\n%s", who, out)
			}
		}
	}
	shows("dev/a")
	record("dev/b")
	shows("dev/b")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	record("dev/d")
	shows("dev/d")
	cancel()
	if code := <-done; code != exitOK || strings.Contains(out.String(), "dev/c") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
