package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/audit"
)

// The page is one file that asks for nothing; its links lead to what it has; and
// it shows what the month has.
func TestReport(t *testing.T) {
	takesLong(t)
	dir := t.TempDir()
	log, out := filepath.Join(dir, "audit.jsonl"), filepath.Join(dir, "report.html")
	makeMonth(t, log, 1)
	code, printed, errOut := runHere(t, "policy", "report", "--policy", monthPolicy, "--audit", log, "--since", "2026-05-05", "--until", "2026-06-01", "--out", out)
	if code != exitOK || printed != "" || errOut != "" {
		t.Fatalf("exit code %d\n%s%s", code, printed, errOut)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	checkPage(t, page)
	for what, want := range map[string]string{
		"an ability":         `<th scope="row">get secret, set secret</th><td>all secrets in the vault pay<span class="when">only those named db-…</span>`,
		"a grant unused":     `<span class="tag no">not used</span>`,
		"members":            `everyone in data-jobs<span class="when">among them spiffe://example.org/data/etl, spiffe://example.org/data/lab, spiffe://example.org/data/report</span>`,
		"a denied attempt":   `<th scope="row">entra/eve</th><td>get secret</td><td>vaults/web/secrets/tls-key</td><td>nothing permits it`,
		"break-glass":        `<span class="tag bad">break-glass</span> INC-4711: payments are down`,
		"a stale secret":     `<th scope="row">vaults/shared/secrets/report-old-key</th><td class="t"><span class="tag no">not in this log</span>`,
		"a policy's place":   `<small>people.cedar:18:1</small>`,
		"a policy's text":    `@breakglass(&#34;the on-call engineer may read anything, and says why&#34;)`,
		"a policy unused":    `permit, pay.cedar:21:1.` + "\n" + `<span class="tag no">decided nothing</span>`,
		"a record":           `entra/ann getSecret on vaults/pay/secrets/db-main: allow`,
		"who can do nothing": "<h3>entra/eve</h3>\n<p class=\"soft\">In entra/web. 0 allowed, 6 denied.</p>\n<p>Can do nothing.</p>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not there: %s", what, want)
		}
	}
	if strings.Contains(page, "vaults/pay/secrets/db-main</th><td class=\"t\">") {
		t.Error("what was read is called stale")
	}
}

var (
	hrefs = regexp.MustCompile(`href="([^"]*)"`)
	ids   = regexp.MustCompile(`\bid="([^"]*)"`)
)

func checkPage(t *testing.T, page string) {
	t.Helper()
	var there []string
	for _, m := range ids.FindAllStringSubmatch(page, -1) {
		if slices.Contains(there, m[1]) {
			t.Errorf("there are two of %s", m[1])
		}
		there = append(there, m[1])
	}
	links := hrefs.FindAllStringSubmatch(page, -1)
	for _, m := range links {
		if id, here := strings.CutPrefix(m[1], "#"); !here || !slices.Contains(there, id) {
			t.Errorf("the link %s leads nowhere", m[1])
		}
	}
	if len(links) < 20 {
		t.Errorf("%d links", len(links))
	}
	for _, out := range []string{"<script", "src=", "url(", "@import", "<link", "<img"} {
		if strings.Contains(page, out) {
			t.Errorf("the page has %s", out)
		}
	}
}

// What callers and policies say is text on the page, whatever it is.
func TestReportEscapes(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "audit.jsonl")
	l, err := audit.Open(audit.Config{Path: log, Sync: audit.SyncNone})
	if err != nil {
		t.Fatal(err)
	}
	evil := `<script src="https://example.org/"></script>`
	who := person("x", "entra/"+evil)
	who.ID, who.Reason = "entra/"+evil, evil
	err = l.Record(t.Context(), broker.Event{
		Time: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), Caller: who, Action: broker.ActionGetSecret, Resource: secretName(t, "pay", "db"), Outcome: broker.OutcomeOK,
		Decision: broker.Decision{Allowed: true, BreakGlass: true, Policies: []string{evil}, PolicySet: evil},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	policies := filepath.Join(dir, "policy")
	if err := os.Mkdir(policies, 0o700); err != nil {
		t.Fatal(err)
	}
	text := "// " + evil + "\n@id(\"" + strings.ReplaceAll(evil, `"`, `\"`) + "\")\n@breakglass(\"x\") permit (principal, action, resource);\n@id(\"1\") permit (principal, action, resource) when { context has reason && context.reason like \"<img src=x>\" };\n"
	if err := os.WriteFile(filepath.Join(policies, "p.cedar"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, page, errOut := runHere(t, "policy", "report", "--policy", policies, "--audit", log, "--out", "-")
	if code != exitOK || errOut != "" {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	if strings.Contains(page, "<script") || strings.Contains(page, "<img") || !strings.Contains(page, "&lt;script") {
		t.Error("what a caller said is no text on the page")
	}
}
