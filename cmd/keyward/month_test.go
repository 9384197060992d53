package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/audit"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/policy"
)

const monthPolicy = "testdata/month/policy"

// monthSecrets are the forty secrets of the month, by vault.
var monthSecrets = map[string][]string{
	"pay": {
		"db-main", "db-replica", "db-audit", "ledger-key", "gateway-a", "gateway-b", "gateway-c", "gateway-d",
		"psp-visa", "psp-sepa", "fraud-api", "mail-api", "webhook-key", "vat-api",
	},
	"web": {
		"session-key", "tls-key", "deploy-token", "queue-key", "mail-queue", "api-mail", "api-search", "api-geo",
		"cookie-key", "oauth-client", "captcha", "cdn-token",
	},
	"shared": {
		"web-redis", "web-memcache", "web-smtp", "web-cdn", "data-lake", "data-warehouse", "data-kafka", "data-spark",
		"data-airflow", "data-dbt", "export-key", "report-key", "report-old-key", "proxy",
	},
}

// job is what a workload does, again and again.
type job struct {
	who     string
	set     bool
	vault   string
	secrets []string
}

// monthJobs are what is needed: all that is done in the month that is allowed,
// but for what people do.
func monthJobs() []job {
	all := monthSecrets
	return []job{
		{"pay/api", false, "pay", all["pay"]},
		{"pay/rotator", false, "pay", []string{"db-main", "db-replica", "db-audit"}},
		{"pay/rotator", true, "pay", []string{"db-main", "db-replica", "db-audit"}},
		{"web/front", false, "web", []string{"session-key"}},
		{"web/admin", false, "web", []string{"tls-key"}},
		{"web/admin", true, "web", []string{"tls-key"}},
		{"web/batch", false, "web", []string{"queue-key", "mail-queue"}},
		{"web/batch", false, "web", []string{"api-mail"}},
		{"web/cache", false, "web", []string{"api-mail", "api-search", "api-geo"}},
		{"web/cache", false, "shared", []string{"web-redis", "web-memcache"}},
		{"data/etl", false, "shared", all["shared"][4:8]},
		{"data/etl", false, "shared", []string{"export-key"}},
		{"data/report", false, "shared", []string{"data-dbt", "export-key"}},
		{"data/report", false, "shared", []string{"report-key"}},
		{"data/lab", false, "shared", []string{"data-airflow", "data-dbt"}},
		{"data/mirror", false, "pay", all["pay"]},
	}
}

// month is a world of a broker with the month's policies and an audit log, on a
// clock of its own.
type month struct {
	*broker.Broker

	t      *testing.T
	random *rand.Rand
}

func workload(name string) broker.Caller {
	return broker.Caller{Principal: broker.Principal{ID: "spiffe://example.org/" + name}, Peer: netip.MustParseAddr("10.1.2.3"), Transport: broker.TransportGRPC}
}

// person comes with a token.
func person(name string, groups ...string) broker.Caller {
	return broker.Caller{
		Principal: broker.Principal{ID: "entra/" + name, Groups: groups, Attributes: map[string]string{"issuer": "entra"}},
		Peer:      netip.MustParseAddr("10.9.9.9"), Transport: broker.TransportREST,
	}
}

func secretName(t *testing.T, vault, secret string) broker.Name {
	t.Helper()
	v, err := broker.VaultName(vault)
	if err != nil {
		t.Fatal(err)
	}
	n, err := v.Object(broker.KindSecrets, secret)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// makePast writes the audit log of what do does, from the first of May on, by a
// broker with those policies and secrets.
func makePast(t *testing.T, policies, log string, seed uint64, secrets map[string][]string, do func(*month)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)))
		auditor, err := audit.Open(audit.Config{Path: log, Sync: audit.SyncNone})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := auditor.Close(); err != nil {
				t.Error(err)
			}
		}()
		engine, err := policy.Load(policies)
		if err != nil {
			t.Fatal(err)
		}
		vaults := map[string]broker.Vault{}
		for alias, names := range secrets {
			v, err := broker.VaultName(alias)
			if err != nil {
				t.Fatal(err)
			}
			store := brokertest.NewSecretStore(v)
			for _, s := range names {
				if _, err := store.SetSecret(t.Context(), secretName(t, alias, s), broker.NewSecret{Value: broker.NewValue("v"), Enabled: true}); err != nil {
					t.Fatal(err)
				}
			}
			vaults[alias] = broker.Vault{Secrets: store}
		}
		m := &month{t: t, random: rand.New(rand.NewPCG(seed, seed))}
		m.Broker, err = broker.New(broker.Config{Vaults: vaults, Authorizer: engine, Auditor: auditor, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		do(m)
	})
}

// makeMonth writes a month: three teams, twelve workloads, forty secrets, and
// people.
func makeMonth(t *testing.T, log string, seed uint64) {
	t.Helper()
	makePast(t, monthPolicy, log, seed, monthSecrets, func(m *month) {
		m.provision()
		for day := range 30 {
			m.day(day)
		}
	})
}

// later lets some of the day pass.
func (m *month) later() { time.Sleep(time.Duration(1+m.random.IntN(60)) * time.Second) }

// want ends the test unless an answer is as it should be.
func (m *month) want(what string, err error, code broker.Code) {
	m.t.Helper()
	if got := broker.CodeOf(err); got != code && (err != nil || code != "") {
		m.t.Fatalf("%s: got %v, want %q", what, err, code)
	}
	m.later()
}

// provision sets all secrets; ann of ops does.
func (m *month) provision() {
	ann := person("ann", "entra/ops", "entra/on-call")
	for _, vault := range []string{"pay", "shared", "web"} {
		for _, s := range monthSecrets[vault] {
			_, err := m.SetSecret(m.t.Context(), ann, secretName(m.t, vault, s), broker.NewSecret{Value: broker.NewValue("v"), Enabled: true}, broker.SetSecretOptions{})
			m.want("provision", err, "")
		}
	}
}

// day is what is done in one, in an order of its own. Whatever is needed is done
// on the first day, and from then on now and then.
func (m *month) day(day int) {
	begin := time.Now()
	jobs := monthJobs()
	m.random.Shuffle(len(jobs), func(i, j int) { jobs[i], jobs[j] = jobs[j], jobs[i] })
	for _, j := range jobs {
		for _, s := range j.secrets {
			if day == 0 || m.random.IntN(3) == 0 {
				m.do(j, s)
			}
		}
	}
	ctx := m.t.Context()
	bob := person("bob", "entra/ops")
	for _, who := range []broker.Caller{bob, person("ann", "entra/ops", "entra/on-call")} {
		v, err := broker.VaultName("web")
		if err != nil {
			m.t.Fatal(err)
		}
		_, err = m.ListSecrets(ctx, who, v, broker.Page{})
		m.want("list", err, "")
	}
	deploy := broker.Caller{
		Principal: broker.Principal{ID: "github/repo:example/web", Attributes: map[string]string{"issuer": "github", "repository": "example/web"}},
		Transport: broker.TransportREST,
	}
	_, err := m.GetSecret(ctx, deploy, secretName(m.t, "web", "deploy-token"), broker.GetSecretOptions{})
	m.want("deploy", err, "")
	// Some try what is not theirs.
	_, err = m.GetSecret(ctx, workload("data/lab"), secretName(m.t, "pay", "db-main"), broker.GetSecretOptions{})
	m.want("lab", err, broker.CodePolicyDenied)
	if day%7 == 3 {
		eve := person("eve", "entra/web")
		_, err = m.BatchGetSecrets(ctx, eve, broker.Name{}, []broker.Name{secretName(m.t, "web", "tls-key"), secretName(m.t, "pay", "db-main")}, broker.GetSecretOptions{})
		m.want("eve", err, "")
	}
	if day == 12 {
		ann := person("ann", "entra/ops", "entra/on-call")
		ann.Reason = "INC-4711: payments are down"
		_, err = m.GetSecret(ctx, ann, secretName(m.t, "pay", "db-main"), broker.GetSecretOptions{})
		m.want("break-glass", err, "")
	}
	time.Sleep(time.Until(begin.Add(24 * time.Hour)))
}

// do does a job with a secret: alone, or in a batch.
func (m *month) do(j job, secret string) {
	ctx, who, n := m.t.Context(), workload(j.who), secretName(m.t, j.vault, secret)
	var err error
	switch {
	case j.set:
		_, err = m.SetSecret(ctx, who, n, broker.NewSecret{Value: broker.NewValue("w"), Enabled: true}, broker.SetSecretOptions{})
	case m.random.IntN(4) == 0:
		err = m.batch(ctx, who, n)
	default:
		_, err = m.GetSecret(ctx, who, n, broker.GetSecretOptions{})
	}
	m.want(fmt.Sprintf("%s on %s", j.who, n), err, "")
}

func (m *month) batch(ctx context.Context, who broker.Caller, n broker.Name) error {
	got, err := m.BatchGetSecrets(ctx, who, n.Vault(), []broker.Name{n}, broker.GetSecretOptions{})
	if err == nil {
		err = got[0].Err
	}
	return err
}

// planted is what is too broad in the month's policies.
var planted = []string{
	`data-team-exports principals: when { principal in [Workload::"spiffe://example.org/data/etl", Workload::"spiffe://example.org/data/report"] }`,
	`data-report-signs resources: resource == Secret::"vaults/shared/secrets/report-key"`,
	`data-mirror resources: resource is Secret in Vault::"pay"`,
	`pay-legacy-batch unused: remove it`,
	`pay-year-end kept: `,
	`ops-provision principals: `, // tokens put people there
	`on-call kept: `,
	`web-admin actions: action in [Action::"getSecret", Action::"setSecret"]`,
	`web-team-reads principals: principal in Group::"team-web-backend"`,
	"web-batch-reads resources: when {\n  resource in [\n    Secret::\"vaults/web/secrets/api-mail\",\n    Secret::\"vaults/web/secrets/mail-queue\",\n    Secret::\"vaults/web/secrets/queue-key\"\n  ]\n}",
	`web-cache-by-prefix resources: ["web-memcache", "web-redis"].contains(resource.name)`,
}

// The worked example: what was planted is found, and nothing else; the patch
// denies nothing that was used; and the cases, which fail before it, guard it.
func TestTightenAMonth(t *testing.T) {
	seeds := []uint64{1, 4711}
	if testing.Short() {
		seeds = seeds[:1]
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { tightenAMonth(t, seed) })
	}
}

func tightenAMonth(t *testing.T, seed uint64) {
	dir := t.TempDir()
	log := filepath.Join(dir, "audit.jsonl")
	makeMonth(t, log, seed)
	for _, copied := range []string{"policy", "before"} {
		if err := os.CopyFS(filepath.Join(dir, copied), os.DirFS(monthPolicy)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	past := []string{"--audit", log, "--since", "30d", "--until", "2026-05-31"}
	tighten := slices.Concat([]string{"policy", "tighten", "--policy", "policy", "--keep", "pay-year-end", "-o", "json"}, past)
	code, out, errOut := runHere(t, slices.Concat(tighten, []string{"--out", "narrow", "--patch", "tighten.patch"})...)
	var found tightenJSON
	if err := json.Unmarshal([]byte(out), &found); code != exitOK || err != nil {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, out, errOut)
	}
	var got []string
	for _, f := range found.Findings {
		got = append(got, fmt.Sprintf("%s %s: %s", f.ID, f.Kind, f.Proposal))
	}
	if !slices.Equal(got, planted) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(planted, "\n"))
	}
	if found.Decisions < 1000 || found.Proof.Used < 1000 || found.Proof.Denied != 0 {
		t.Errorf("%d decisions, proof %+v", found.Decisions, found.Proof)
	}
	// The patch makes of the one folder the other, and comments are kept.
	git := exec.CommandContext(t.Context(), "git", "apply", "tighten.patch")
	if out, err := git.CombinedOutput(); err != nil {
		t.Fatalf("git apply: %v\n%s", err, out)
	}
	for _, file := range []string{"pay.cedar", "web.cedar", "data.cedar", "people.cedar", "entities.json"} {
		patched, err := os.ReadFile(filepath.Join("policy", file))
		if err != nil {
			t.Fatal(err)
		}
		written, err := os.ReadFile(filepath.Join("narrow", file))
		if err != nil {
			t.Fatal(err)
		}
		if string(patched) != string(written) {
			t.Errorf("%s: patched\n%s\nwritten\n%s", file, patched, written)
		}
		if file == "web.cedar" && !strings.Contains(string(patched), "// the only one\n") {
			t.Errorf("a comment is lost:\n%s", patched)
		}
	}
	if code, out, errOut := runHere(t, "policy", "check", "policy"); code != exitOK {
		t.Errorf("check: exit code %d\n%s%s", code, out, errOut)
	}
	// Replayed against what was recorded, and against what the folder was.
	for _, args := range [][]string{nil, {"--policy", "before"}} {
		code, out, errOut := runHere(t, slices.Concat([]string{"policy", "replay", "--candidate", "policy"}, past, args)...)
		if code != exitOK || !strings.Contains(out, "newly denied: 0\nnewly allowed: 0\n") {
			t.Errorf("replay %q: exit code %d\n%s%s", args, code, out, errOut)
		}
	}
	// The cases guard what was won.
	if code, out, errOut := runHere(t, "policy", "test", "policy"); code != exitOK {
		t.Errorf("test: exit code %d\n%s%s", code, out, errOut)
	}
	code, out, _ = runHere(t, "policy", "test", "before")
	if code != exitError || !strings.Contains(out, "8 failed") {
		t.Errorf("the cases pass before: exit code %d\n%s", code, out)
	}
	// And what is tight stays as it is: all that is found again is not proposed.
	code, out, errOut = runHere(t, slices.Concat(tighten, []string{"--patch", "again.patch"})...)
	again, err := os.ReadFile("again.patch")
	if code != exitOK || err != nil || len(again) > 0 {
		t.Errorf("again: exit code %d, %v, a patch\n%s\n%s%s", code, err, again, out, errOut)
	}
}
