package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// reloaded is a keyward serve whose vaults change, and the text of its
// configuration without them.
type reloaded struct {
	*process
	conf    string
	secrets keywardv1.SecretServiceClient
}

func startReloaded(t *testing.T, vaults string) *reloaded {
	t.Helper()
	address := freePort(t)
	dir, file := serveDir(t, address)
	base, _, _ := strings.Cut(read(t, file), "vaults:\n")
	r := &reloaded{conf: base}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("keyward.yaml", base+vaults)
	write("context.json", `{"grpc":"`+address+`","ca":"ca.pem","certificate":"admin.pem","key":"admin-key.pem","vault":"pay"}`)
	r.process = startServe(t, dir, exec.Command("keyward", "serve", "--config", file))
	r.secrets = r.process.secrets()
	return r
}

// reload changes the vaults and waits until the change has the result.
func (r *reloaded) reload(result, vaults string) {
	r.t.Helper()
	count := func() int { return metricSum(r.t, r.metrics(), "keyward_config_reloads_total", `result="`+result+`"`) }
	before, next := count(), r.file("next.yaml")
	if err := os.WriteFile(next, []byte(r.conf+vaults), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(next, r.file("keyward.yaml")); err != nil {
		r.t.Fatal(err)
	}
	if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "the change is "+result, func() bool { return count() == before+1 })
}

func (r *reloaded) get(name string) string {
	r.t.Helper()
	got, err := r.secrets.GetSecret(r.t.Context(), &keywardv1.GetSecretRequest{Name: name})
	if err != nil {
		return string(reasonOf(status.Convert(err)))
	}
	return got.GetValue()
}

func (r *reloaded) set(name, value string) {
	r.t.Helper()
	if _, err := r.secrets.SetSecret(r.t.Context(), &keywardv1.SetSecretRequest{Name: name, Value: value}, grpc.WaitForReady(true)); err != nil {
		r.t.Fatal(err)
	}
}

// calls counts the calls of a vault.
func (r *reloaded) calls(vault string) int {
	r.t.Helper()
	return metricSum(r.t, r.metrics(), "keyward_vault_calls_total", `vault="`+vault+`"`)
}

func (r *reloaded) goroutines() int {
	r.t.Helper()
	m := regexp.MustCompile(`(?m)^go_goroutines (\d+)$`).FindStringSubmatch(r.metrics())
	if m == nil {
		r.t.Fatal("no number of goroutines")
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// remote is the section of a vault that another process serves.
func remote(t *testing.T, p *process, env map[string]string, more string) string {
	t.Helper()
	secret := p.file("vault-client-secret")
	return fmt.Sprintf("{url: %q, caFile: %q, credential: {clientSecret: {tenantId: %s, clientId: %s, secretFile: %q, authority: %q}}%s}",
		env["VAULT_URL"], p.file("ca.pem"), env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"], secret, env["AZURE_AUTHORITY_HOST"], more)
}

// Vaults come, change and go under load, over HTTPS and embedded. What stays the
// same stays warm, no call fails, and a mistake changes nothing.
func TestVaultsAreReloaded(t *testing.T) {
	one, oneEnv := startVault(t, filepath.Join(t.TempDir(), "one"))
	two, twoEnv := startVault(t, filepath.Join(t.TempDir(), "two"))
	pay := "vaults:\n  pay: " + remote(t, one, oneEnv, "") + "\n"
	const edge = "  edge: {local: {path: edge.db, keyFile: edge.key}}\n"
	const inPay, inEdge = "vaults/pay/secrets/a", "vaults/edge/secrets/a"
	r := startReloaded(t, pay)
	r.set(inPay, "one")
	r.get(inPay)

	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				// Not ctx: its end would fail the call under way.
				got, err := r.secrets.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: inPay})
				if err != nil || got.GetValue() != "one" && got.GetValue() != "two" {
					t.Errorf("a call fails: %q, %v", got.GetValue(), err)
					return
				}
			}
		})
	}

	asked := r.calls("pay")
	if got := r.get(inEdge); got != "VAULT_NOT_FOUND" {
		t.Errorf("before it was added: %s", got)
	}
	r.reload("ok", pay+edge)
	r.set(inEdge, "kept")
	if got := r.get(inEdge); got != "kept" {
		t.Errorf("after it was added: %s", got)
	}
	r.reload("ok", pay)
	if got := r.get(inEdge); got != "VAULT_NOT_FOUND" {
		t.Errorf("after it was taken away: %s", got)
	}
	eventually(t, "its gauges are gone", func() bool {
		return !strings.Contains(r.metrics(), `keyward_cache_entries{kind="secrets",vault="edge"}`)
	})
	r.reload("ok", pay+edge)
	if got := r.get(inEdge); got != "kept" {
		t.Errorf("after it has come back: %s", got)
	}
	if n := r.calls("pay"); n != asked {
		t.Errorf("changes of another vault cost %d calls of a warm one", n-asked)
	}

	broken := pay + edge + "  shop: " + strings.Replace(remote(t, two, twoEnv, ""), "vault-client-secret", "none", 1) + "\n"
	r.reload("refused", strings.Replace(broken, "edge.db", "other.db", 1))
	if got := r.get(inEdge); got != "kept" {
		t.Errorf("after a change that was refused: %s", got)
	}
	if got := r.get("vaults/shop/secrets/a"); got != "VAULT_NOT_FOUND" {
		t.Errorf("a vault of a change that was refused: %s", got)
	}
	if exists(r.file("other.db")) && !strings.Contains(r.err.String(), "vaults.shop") {
		t.Errorf("the log does not say what is wrong:\n%s", r.err)
	}
	r.reload("refused", pay+strings.Replace(edge, "edge:", "renamed:", 1))
	if _, text := r.admin("/readyz?verbose"); !strings.Contains(text, "[!] configuration: vaults.renamed: local: edge.db is in use as the vault \"edge\"") {
		t.Errorf("readiness does not tell what is wrong:\n%s", text)
	}
	if n := r.calls("pay"); n != asked {
		t.Errorf("changes that were refused cost %d calls of a warm vault", n-asked)
	}

	r.reload("ok", pay+"  shop: "+remote(t, two, twoEnv, "")+"\n")
	r.set("vaults/shop/secrets/a", "two")
	r.reload("ok", "vaults:\n  pay: "+remote(t, two, twoEnv, "")+"\n")
	if got := r.get(inPay); got != "two" {
		t.Errorf("at its new URL: %s", got)
	}
	stop()
	load.Wait()

	tokens := func() int { return metricSum(t, r.metrics(), "keyward_token_refreshes_total") }
	had := tokens()
	r.reload("ok", "vaults:\n  pay: "+remote(t, two, twoEnv, ", cache: {ttl: 0s}")+"\n")
	asked = r.calls("pay")
	for range 10 {
		r.get(inPay)
	}
	if n := r.calls("pay") - asked; n != 10 {
		t.Errorf("10 reads without a cache cost %d calls", n)
	}
	r.reload("ok", "cache: {ttl: 1h}\nvaults:\n  pay: "+remote(t, two, twoEnv, "")+"\n")
	asked = r.calls("pay")
	for range 10 {
		r.get(inPay)
	}
	if n := r.calls("pay") - asked; n != 1 {
		t.Errorf("10 reads with a cache cost %d calls", n)
	}
	if n := tokens(); n != had {
		t.Errorf("another cache cost %d tokens", n-had)
	}
	if err := r.stop(syscall.SIGTERM); err != nil {
		t.Error(err, r.err)
	}
}

// However often the vaults change, nothing is left of those before.
func TestReloadsLeaveNothing(t *testing.T) {
	one, env := startVault(t, filepath.Join(t.TempDir(), "one"))
	vaults := func(more string) string {
		return "vaults:\n  pay: " + remote(t, one, env, more) + "\n"
	}
	r := startReloaded(t, vaults(""))
	r.set("vaults/pay/secrets/a", "one")
	settle := func() {
		r.reload("ok", vaults(", limits: {share: 0.5}"))
		r.get("vaults/pay/secrets/a")
	}
	r.reload("ok", vaults(", limits: {share: 0.4}"))
	settle()
	before := r.goroutines()
	for i := range 30 {
		next := vaults(fmt.Sprintf(", limits: {share: 0.%d}, cache: {ttl: %ds}", 1+i%4, 1+i))
		if i%2 == 0 {
			next += "  edge: {local: {path: edge.db, keyFile: edge.key}}\n"
		}
		r.reload("ok", next)
		if got := r.get("vaults/pay/secrets/a"); got != "one" {
			t.Fatalf("after %d changes: %s", i+1, got)
		}
	}
	settle()
	eventually(t, fmt.Sprintf("there are no more goroutines than %d", before), func() bool { return r.goroutines() <= before })
}
