package broker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/audit"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/policy"
)

// thousandPolicies are those of as many teams, by name, by group and by prefix,
// and one that lets the group ops list the vault.
func thousandPolicies() string {
	var text strings.Builder
	text.WriteString("permit (principal in Group::\"k8s/ops\", action == Action::\"listSecrets\", resource is Secret in Vault::\"pay\");\n")
	for i := range 999 {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&text, "permit (principal == Workload::\"spiffe://example.org/w%d\", action == Action::\"getSecret\", resource == Secret::\"vaults/pay/secrets/team-%d-0\");\n", i, i)
		case 1:
			fmt.Fprintf(&text, "permit (principal in Group::\"k8s/team-%d\", action in Action::\"readSecrets\", resource is Secret in Vault::\"pay\") when { resource.name like \"team-%d-*\" };\n", i, i)
		case 2:
			fmt.Fprintf(&text, "forbid (principal == Workload::\"spiffe://example.org/w%d\", action == Action::\"deleteSecret\", resource);\n", i)
		}
	}
	return text.String()
}

// BenchmarkListSecrets takes the whole list of 10,000 secrets, warm, through
// 1,000 policies and into an audit log on disk. cpu-ms is what the process used
// on all cores, system time and the collector's work included.
func BenchmarkListSecrets(b *testing.B) {
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "all.cedar"), []byte(thousandPolicies()), 0o600); err != nil {
		b.Fatal(err)
	}
	engine, err := policy.Load(dir)
	if err != nil {
		b.Fatal(err)
	}
	log, err := audit.Open(audit.Config{Path: filepath.Join(dir, "audit.jsonl")})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	vault, err := broker.VaultName("pay")
	if err != nil {
		b.Fatal(err)
	}
	store := brokertest.NewSecretStore(vault)
	for i := range 10_000 {
		n, err := vault.Object(broker.KindSecrets, fmt.Sprintf("team-%d-%d", i%1_000, i/1_000))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := store.SetSecret(b.Context(), n, broker.NewSecret{
			Value: broker.NewValue("v"), Enabled: true, ContentType: "text/plain", Tags: map[string]string{"team": "pay"},
		}); err != nil {
			b.Fatal(err)
		}
	}
	core, err := broker.New(broker.Config{
		Vaults:     map[string]broker.Vault{"pay": {Secrets: broker.NewSecretCache(store, broker.SecretCacheConfig{TTL: time.Hour})}},
		Authorizer: engine,
		Auditor:    log,
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, bench := range []struct {
		group      string
		size, want int
	}{{"ops", 1_000, 10_000}, {"ops", 100, 10_000}, {"team-4", 1_000, 10}, {"team-4", 1, 10}} {
		c := broker.Caller{
			Principal: broker.Principal{ID: "spiffe://example.org/someone", Groups: []string{"k8s/" + bench.group}},
			Transport: broker.TransportGRPC,
		}
		whole := func() {
			got, p := 0, broker.Page{Size: bench.size}
			for {
				page, err := core.ListSecrets(b.Context(), c, vault, p)
				if err != nil {
					b.Fatal(err)
				}
				got += len(page.Secrets)
				if p.Token = page.Next; p.Token == "" {
					break
				}
			}
			if got != bench.want {
				b.Fatalf("%d secrets, want %d", got, bench.want)
			}
		}
		b.Run(fmt.Sprintf("%s/page=%d", bench.group, bench.size), func(b *testing.B) {
			whole() // the walk, if it is the first
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				whole()
			}
			b.ReportMetric((cpu(b)-before).Seconds()*1_000/float64(b.N), "cpu-ms/op")
		})
	}
	if got := store.Calls(brokertest.ListSecrets); got != 400 {
		b.Errorf("%d vault calls, want 400 for the first list and none for the rest", got)
	}
}

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
