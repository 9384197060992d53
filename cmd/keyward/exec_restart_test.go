package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// A command has the new value of a secret that changes, and is let alone while
// that cannot be had.
func TestExecRestartsOnChange(t *testing.T) {
	p := startDev(t, filepath.Join(t.TempDir(), "data"))
	put := func(value string) {
		t.Helper()
		if err := set(t.Context(), p.secrets(), "a", value); err != nil {
			t.Fatal(err)
		}
	}
	put("value-one")
	token := p.token("server")
	if err := os.WriteFile(p.file("token"), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	allowed := func(action string) bool {
		_, reply := p.rest("POST", "/v1/access:check", token, `{"action": "`+action+`", "resource": "vaults/dev/secrets/a"}`)
		return strings.Contains(reply, `"allowed":true`)
	}
	grant := func(get, watch bool) {
		t.Helper()
		text := ""
		for action, granted := range map[string]bool{"getSecret": get, "watchSecret": watch} {
			if granted {
				text += `permit (principal == Workload::"dev/server", action == Action::"` + action + `", resource == Secret::"vaults/dev/secrets/a");`
			}
		}
		if err := os.WriteFile(p.file(filepath.Join("policy", "server.cedar")), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the policy takes effect", func() bool { return allowed("getSecret") == get && allowed("watchSecret") == watch })
	}
	run := func() *process {
		return launch(t, p.dir, program("keyward", []string{"KEYWARD_CONTEXT=" + p.file("context.json")},
			"exec", "--restart-on-change", "--token-file", p.file("token"), "--secret", "a", "--", "sh", "-c", `echo "has $A"; exec sleep 600`))
	}

	grant(true, false)
	blind := run()
	<-blind.done
	if code := blind.cmd.ProcessState.ExitCode(); code != exitNotStarted || !strings.Contains(blind.err.String(), "POLICY_DENIED") || blind.out.String() != "" {
		t.Errorf("who may not watch: exit %d, %q, %s", code, blind.out, blind.err)
	}

	grant(true, true)
	e := run()
	e.prints("has value-one")
	put("value-two")
	e.prints("has value-two")

	grant(false, true)
	put("value-three")
	e.says("POLICY_DENIED)\n  the command keeps running as it is; trying again")
	grant(true, true)
	e.prints("has value-three")
	e.says("it works again")

	if _, err := p.secrets().UpdateSecret(t.Context(), &keywardv1.UpdateSecretRequest{
		Secret: &keywardv1.Secret{Name: "vaults/dev/secrets/a"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"enabled"}},
	}); err != nil {
		t.Fatal(err)
	}
	e.says("vaults/dev/secrets/a disabled; the command keeps running as it is")

	// A change while the broker is another.
	p.stop(syscall.SIGKILL)
	p = startDev(t, p.dir)
	put("value-four")
	e.prints("has value-four")

	if err := e.stop(syscall.SIGTERM); err == nil || e.cmd.ProcessState.ExitCode() != exitSignaled+int(syscall.SIGTERM) {
		t.Errorf("it ended with %v", err)
	}
	if got := e.out.String(); got != "has value-one\nhas value-two\nhas value-three\nhas value-four\n" {
		t.Errorf("the commands printed %q", got)
	}
	if strings.Contains(e.err.String(), "value-") {
		t.Errorf("standard error has a value:\n%s", e.err)
	}
}

// rotating is a broker whose secrets change.
type rotating struct {
	fakeBroker

	events chan *keywardv1.SecretEvent // to whoever watches

	mu sync.Mutex
	// answers are those of the next fetches of each secret. The last one stays.
	answers map[string][]fetched
	fetches int
	watched []string
}

func newRotating(answers map[string][]fetched) *rotating {
	b := &rotating{answers: answers, events: make(chan *keywardv1.SecretEvent)}
	b.batch = func(r *keywardv1.BatchGetSecretsRequest) (*keywardv1.BatchGetSecretsResponse, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.fetches++
		reply := &keywardv1.BatchGetSecretsResponse{}
		for _, name := range r.GetNames() {
			answer := b.answers[name][0]
			if len(b.answers[name]) > 1 {
				b.answers[name] = b.answers[name][1:]
			}
			reply.Results = append(reply.Results, &keywardv1.BatchGetSecretsResult{Name: name, Result: &keywardv1.BatchGetSecretsResult_Response{
				Response: &keywardv1.GetSecretResponse{Secret: &keywardv1.Secret{Name: name, Version: answer.version}, Value: answer.value.Reveal()},
			}})
		}
		return reply, nil
	}
	b.watch = func(r *keywardv1.WatchSecretsRequest, stream grpc.ServerStreamingServer[keywardv1.SecretEvent]) error {
		b.mu.Lock()
		for _, target := range r.GetTargets() {
			b.watched = append(b.watched, target.GetName()+"="+target.GetKnownVersion())
		}
		b.mu.Unlock()
		if err := stream.SendHeader(metadata.MD{}); err != nil {
			return err
		}
		for {
			select {
			case e := <-b.events:
				if err := stream.Send(e); err != nil {
					return err
				}
			case <-stream.Context().Done():
				return stream.Context().Err()
			}
		}
	}
	return b
}

func valueOf(value, version string) fetched { return fetched{broker.NewValue(value), version} }

// run runs keyward exec --restart-on-change with secret a.
func (b *rotating) run(t *testing.T, flags string, command string) *process {
	t.Helper()
	dir := b.serve(t)
	args := slices.Concat([]string{"exec", "--restart-on-change", "--secret", "a"}, strings.Fields(flags), []string{"--", "sh", "-c", command})
	return launch(t, dir, program("keyward", []string{"KEYWARD_CONTEXT=" + filepath.Join(dir, "context.json")}, args...))
}

// tell tells whoever watches.
func (b *rotating) tell(t *testing.T, event *keywardv1.SecretEvent) {
	t.Helper()
	select {
	case b.events <- event:
	case <-time.After(patience):
		t.Fatal("nobody watches")
	}
}

// digits is a version made of one digit.
func digits(d string) string { return strings.Repeat(d, 32) }

const secretA = "vaults/dev/secrets/a"

// stubborn prints its process id and value, and does not end at SIGTERM.
const stubborn = `trap "" TERM; echo "has $A"; echo "pid $$"; for i in $(seq 1000); do sleep 0.05; done`

func TestExecKillsAfterTheGrace(t *testing.T) {
	b := newRotating(map[string][]fetched{secretA: {valueOf("one", digits("1")), valueOf("two", digits("2"))}})
	e := b.run(t, "--grace 100ms", stubborn)
	e.prints("has one")
	b.tell(t, changed("a", digits("2")))
	e.prints("has two")
	e.says("vaults/dev/secrets/a changed; the command is ended and started anew\nkeyward: the command did not end within 100ms and is killed")
	e.killCommand(t)
	<-e.done
	if code := e.cmd.ProcessState.ExitCode(); code != exitSignaled+int(syscall.SIGKILL) {
		t.Errorf("exit %d: %s", code, e.err)
	}
}

// killCommand kills the command that has printed its process id last, as "pid N".
func (p *process) killCommand(t *testing.T) {
	t.Helper()
	var pid int
	eventually(t, "it prints its process id", func() bool {
		last := p.out.String()
		last = last[strings.LastIndex(last, "has "):]
		_, after, ok := strings.Cut(last, "\npid ")
		number, _, whole := strings.Cut(after, "\n")
		var err error
		pid, err = strconv.Atoi(number)
		return ok && whole && err == nil
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// A command that was told to end by its user is not started anew, although it was
// about to be.
func TestExecEndsAsItIsTold(t *testing.T) {
	b := newRotating(map[string][]fetched{secretA: {valueOf("one", digits("1")), valueOf("two", digits("2"))}})
	e := b.run(t, "--grace 1h", `trap "echo told" TERM; echo "has $A"; echo "pid $$"; for i in $(seq 1000); do sleep 0.05; done`)
	e.prints("has one")
	b.tell(t, changed("a", digits("2")))
	e.prints("told")
	e.says("started anew")
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is told by its user too", func() bool { return strings.Count(e.out.String(), "told\n") == 2 })
	e.killCommand(t)
	<-e.done
	if code := e.cmd.ProcessState.ExitCode(); code != exitSignaled+int(syscall.SIGKILL) || strings.Contains(e.out.String(), "has two") {
		t.Errorf("exit %d: %s%s", code, e.out, e.err)
	}
}

// A broker whose cache is behind is asked until it has what the watch told of: no
// command is started with anything older.
func TestExecWaitsForTheVersionThatItWasTold(t *testing.T) {
	b := newRotating(map[string][]fetched{secretA: {
		valueOf("one", digits("1")), valueOf("one", digits("1")), valueOf("two", digits("2")), valueOf("three", digits("3")),
	}})
	e := b.run(t, "", `echo "has $A"; exec sleep 600`)
	e.prints("has one")
	b.tell(t, changed("a", digits("3")))
	e.prints("has three")
	e.stop(syscall.SIGTERM)
	if got := e.out.String(); got != "has one\nhas three\n" {
		t.Errorf("the commands printed %q: %s", got, e.err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if want := []string{secretA + "=" + digits("1")}; b.fetches != 4 || !slices.Equal(b.watched, want) {
		t.Errorf("%d fetches, and watches of %q; want 4, and %q", b.fetches, b.watched, want)
	}
}

// What the watch tells that the command has already is no reason to start it anew.
func TestExecLeavesTheCommandAlone(t *testing.T) {
	b := newRotating(map[string][]fetched{secretA: {valueOf("one", digits("1")), valueOf("a\x00b", digits("2")), valueOf("three", digits("3"))}})
	e := b.run(t, "", `echo "has $A"; exec sleep 600`)
	e.prints("has one")
	b.tell(t, became("a", keywardv1.SecretEvent_TYPE_DISABLED))
	b.tell(t, changed("a", digits("1")))
	b.tell(t, became("a", keywardv1.SecretEvent_TYPE_DELETED))
	e.says("vaults/dev/secrets/a disabled; the command keeps running as it is\nkeyward: vaults/dev/secrets/a deleted; the command keeps running as it is\n")
	// And a value that it cannot have.
	b.tell(t, changed("a", digits("2")))
	e.says("NUL byte")
	b.tell(t, changed("a", digits("3")))
	e.prints("has three")
	e.says("it works again")
	e.stop(syscall.SIGTERM)
	if got := e.out.String(); got != "has one\nhas three\n" {
		t.Errorf("the commands printed %q: %s", got, e.err)
	}
}

func TestExecEndsWithItsCommand(t *testing.T) {
	one := []fetched{valueOf("7", digits("1"))}
	b := newRotating(map[string][]fetched{secretA: one, secretA + "/versions/" + digits("1"): one})
	dir := b.serve(t)
	stdout, stderr, code := keyward(t, dir, "", "exec", "--restart-on-change", "--secret", "a", "--", "sh", "-c", "exit $A")
	if code != 7 || stdout+stderr != "" {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	_, stderr, code = keyward(t, dir, "", "exec", "--restart-on-change", "--secret", secretA+"/versions/"+digits("1"), "--", "true")
	if code != exitNotStarted || !strings.Contains(stderr, "no secret can change") {
		t.Errorf("of a version: exit %d, %s", code, stderr)
	}
	_, stderr, code = keyward(t, dir, "", "exec", "--restart-on-change", "--grace", "0s", "--secret", "a", "--", "true")
	if code != exitUsage || !strings.Contains(stderr, "--grace") {
		t.Errorf("without a grace: exit %d, %s", code, stderr)
	}
}

// A watch has 100 targets at most; a command may have more.
func TestExecWatchesManySecrets(t *testing.T) {
	answers := map[string][]fetched{}
	args := []string{"exec", "--restart-on-change"}
	for i := range 2*broker.MaxWatchTargets + 1 {
		name := fmt.Sprintf("s-%03d", i)
		answers["vaults/dev/secrets/"+name] = []fetched{valueOf("v", digits("1"))}
		args = append(args, "--secret", name)
	}
	b := newRotating(answers)
	_, stderr, code := keyward(t, b.serve(t), "", append(args, "--", "true")...)
	if code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	var want []string
	for _, name := range slices.Sorted(maps.Keys(answers)) {
		want = append(want, name+"="+digits("1"))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	slices.Sort(b.watched)
	if !slices.Equal(b.watched, want) || len(b.requests) != 6 {
		t.Errorf("%d calls, watches of %q", len(b.requests), b.watched)
	}
}

// Who may not watch has no command: it would never be started anew.
func TestExecNeedsTheWatch(t *testing.T) {
	b := newRotating(map[string][]fetched{secretA: {valueOf("one", digits("1"))}})
	b.watch = func(*keywardv1.WatchSecretsRequest, grpc.ServerStreamingServer[keywardv1.SecretEvent]) error {
		return statusOf(t, codes.PermissionDenied, broker.CodePolicyDenied)
	}
	stdout, stderr, code := keyward(t, b.serve(t), "", "exec", "--restart-on-change", "--secret", "a", "--", "echo", "started")
	if code != exitNotStarted || stdout != "" || !strings.Contains(stderr, "POLICY_DENIED") {
		t.Errorf("exit %d, %q, %s", code, stdout, stderr)
	}
}
