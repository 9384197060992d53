package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

// jsonItem is an item as encoding/json writes it.
type jsonItem struct {
	Resource   string   `json:"resource"`
	Decision   string   `json:"decision"`
	BreakGlass bool     `json:"breakGlass,omitempty"`
	Policies   []string `json:"policies,omitempty"`
	PolicySet  string   `json:"policySet,omitempty"`
	Outcome    string   `json:"outcome"`
	Stale      bool     `json:"stale,omitempty"`
	Cached     bool     `json:"cached,omitempty"`
}

func byEncodingJSON(t *testing.T, items []broker.Item, policySet string) string {
	t.Helper()
	var all []jsonItem
	for _, i := range items {
		j := jsonItem{
			Resource: i.Resource.String(), Decision: "deny", Policies: i.Decision.Policies,
			Outcome: i.Outcome, Stale: i.Stale, Cached: i.Cached, BreakGlass: i.Decision.BreakGlass,
		}
		if i.Decision.Allowed {
			j.Decision = "allow"
		}
		if i.Decision.PolicySet != policySet {
			j.PolicySet = i.Decision.PolicySet
		}
		all = append(all, j)
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(all); err != nil {
		t.Fatal(err)
	}
	return `,"items":` + strings.TrimSuffix(buf.String(), "\n")
}

// FuzzItems: items are written as encoding/json would, whatever a policy's id
// holds, and behind what was there before.
func FuzzItems(f *testing.F) {
	for _, id := range []string{
		"pay.cedar:3:1", "", `say "yes"`, `back\slash`, "<html>&amp;", "line\nfeed\r\ttab", "nul\x00del\x7f\x1f", "ümlaut ✓ 🔑", "\u2028\u2029",
		"\xff\xfe", "cut \xe2\x9c", strings.Repeat("long ", 100),
	} {
		f.Add("db-password", id, "5e7", id, "ok", true, false)
		f.Add("A", id, "", "5e7", id, false, true)
	}
	f.Fuzz(func(t *testing.T, object, policy, set, ofRecord, outcome string, allowed, cached bool) {
		vault, err := broker.VaultName("pay")
		if err != nil {
			t.Fatal(err)
		}
		n, err := vault.Object(broker.KindSecrets, object)
		if err != nil {
			t.Skip()
		}
		items := []broker.Item{
			{Resource: n, Outcome: outcome, Cached: cached, Stale: !cached, Decision: broker.Decision{Allowed: allowed, Policies: []string{policy}, PolicySet: set, BreakGlass: cached}},
			{Resource: n, Outcome: outcome, Decision: broker.Decision{Policies: []string{policy, "b", policy}, PolicySet: ofRecord}},
			{Resource: n, Decision: broker.Decision{Policies: []string{}}, Stale: cached},
			{Outcome: policy},
		}
		for n := 1; n <= len(items); n++ {
			if got, want := string(appendItems([]byte("{}"), items[:n], ofRecord)), "{}"+byEncodingJSON(t, items[:n], ofRecord); got != want {
				t.Fatalf("%d items:\n%s\nwant\n%s", n, got, want)
			}
		}
	})
}
