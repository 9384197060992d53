package policy_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func name(tb testing.TB, s string) broker.Name {
	tb.Helper()
	parts := strings.Split(s, "/")
	v, err := broker.VaultName(parts[1])
	if err == nil && len(parts) > 2 {
		v = v.Collection(broker.Kind(parts[2]))
	}
	if err == nil && len(parts) > 3 {
		v, err = broker.ParseName(broker.Kind(parts[2]), s)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// request parses "principal action resource" with any of group=, time=, peer=,
// transport=, reason= and attributes behind it.
func request(t *testing.T, line string) broker.Request {
	t.Helper()
	f := strings.Fields(line)
	r := broker.Request{
		Principal: broker.Principal{ID: f[0]},
		Action:    broker.Action(f[1]),
		Resource:  name(t, f[2]),
		Time:      noon,
		Transport: broker.TransportGRPC,
	}
	for _, opt := range f[3:] {
		key, value, _ := strings.Cut(opt, "=")
		var err error
		switch key {
		case "group":
			r.Principal.Groups = append(r.Principal.Groups, value)
		case "time":
			r.Time, err = time.Parse(time.RFC3339Nano, value)
		case "peer":
			r.Peer, err = netip.ParseAddr(value)
		case "transport":
			r.Transport = value
		case "reason":
			r.Reason = value
		case "issuer", "namespace", "environment":
			if r.Principal.Attributes == nil {
				r.Principal.Attributes = map[string]string{}
			}
			r.Principal.Attributes[key] = value
		default:
			t.Fatalf("%s: no option %q", line, key)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// TestDecisions asks each line of requests.golden of the folder's policies. The
// answer stands behind "->".
func TestDecisions(t *testing.T) {
	for _, dir := range folders(t, "decisions") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			e, err := policy.Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "requests.golden")
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for line := range strings.Lines(string(text)) {
				ask, _, _ := strings.Cut(strings.TrimSpace(line), " -> ")
				if ask == "" || strings.HasPrefix(ask, "#") {
					fmt.Fprintln(&got, ask)
					continue
				}
				d, err := e.Authorize(t.Context(), request(t, ask))
				if d.PolicySet != e.Hash() {
					t.Errorf("%s: policy set %q, want %q", ask, d.PolicySet, e.Hash())
				}
				if err != nil && d.Allowed {
					t.Errorf("%s: allowed with an error", ask)
				}
				fmt.Fprintf(&got, "%s -> %s\n", ask, answer(d, err))
			}
			golden(t, path, got.String())
		})
	}
}

func answer(d broker.Decision, err error) string {
	words := []string{"deny"}
	if d.Allowed {
		words[0] = "allow"
	}
	words = append(words, d.Policies...)
	if d.BreakGlass {
		words = append(words, "(broke the glass)")
	}
	if err != nil {
		words = append(words, "error:", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return strings.Join(words, " ")
}

// TestMalformedRequests: what is missing from a request is no permission, even
// where all is permitted.
func TestMalformedRequests(t *testing.T) {
	e := load(t, "a.cedar", `permit (principal, action, resource);`)
	good := request(t, "w getSecret vaults/pay/secrets/db")
	if d, err := e.Authorize(t.Context(), good); err != nil || !d.Allowed {
		t.Fatalf("the whole request: %+v, %v", d, err)
	}
	for what, spoil := range map[string]func(*broker.Request){
		"principal": func(r *broker.Request) { r.Principal = broker.Principal{} },
		"action":    func(r *broker.Request) { r.Action = "" },
		"resource":  func(r *broker.Request) { r.Resource = broker.Name{} },
		"kind":      func(r *broker.Request) { r.Resource = r.Resource.As("keys") },
		"time":      func(r *broker.Request) { r.Time = time.Time{} },
	} {
		r := good
		spoil(&r)
		if d, err := e.Authorize(t.Context(), r); err == nil || d.Allowed {
			t.Errorf("no %s: %+v, %v", what, d, err)
		}
	}
}

// TestConcurrent has many callers of one Engine, each with its own answer; it is
// for the race detector, too.
func TestConcurrent(t *testing.T) {
	e, err := policy.Load("testdata/decisions/names")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{
		"spiffe://example.org/billing getSecret vaults/pay/secrets/db-password":        true,
		"spiffe://example.org/checkout getSecret vaults/pay/secrets/db-password":       false,
		"spiffe://example.org/checkout getSecret vaults/pay/secrets/payments-x":        true,
		"alice setSecret vaults/pay/secrets/root group=entra/operators":                false,
		"alice setSecret vaults/pay/secrets/any group=entra/operators group=x group=y": true,
	}
	var wg sync.WaitGroup
	for line, allowed := range want {
		r := request(t, line)
		for range 4 {
			wg.Go(func() {
				for range 200 {
					if d, err := e.Authorize(t.Context(), r); err != nil || d.Allowed != allowed {
						t.Errorf("%s: %+v, %v", line, d, err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

// TestPoliciesAreSorted: whatever their order in the files.
func TestPoliciesAreSorted(t *testing.T) {
	e := load(t, "a.cedar", `@id("z") permit (principal, action, resource); @id("m") permit (principal, action, resource);
permit (principal, action, resource);`)
	d, err := e.Authorize(t.Context(), request(t, "w getSecret vaults/pay/secrets/db"))
	if want := []string{"a.cedar:2:1", "m", "z"}; err != nil || !slices.Equal(d.Policies, want) {
		t.Errorf("got %q, %v, want %q", d.Policies, err, want)
	}
}
