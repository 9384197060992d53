package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

// BenchmarkGrants asks who can, where 1,000 policies of as many workloads and
// groups concern the vault, and 9,000 do not.
func BenchmarkGrants(b *testing.B) {
	var text strings.Builder
	for i := range 10_000 {
		vault := "pay"
		if i >= 1000 {
			vault = "edge"
		}
		who := fmt.Sprintf(`principal == Workload::"spiffe://example.org/w%d"`, i)
		if i%2 == 0 {
			who = fmt.Sprintf(`principal in Group::"k8s/team-%d"`, i)
		}
		fmt.Fprintf(&text, "permit (%s, action in Action::\"readSecrets\", resource is Secret in Vault::%q);\n", who, vault)
	}
	e, err := load("many", []source{newSource("many.cedar", text.String())})
	if err != nil {
		b.Fatal(err)
	}
	n, err := broker.ParseName(broker.KindSecrets, "vaults/pay/secrets/db")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if grants, err := e.Grants(b.Context(), broker.ActionGetSecret, n); err != nil || len(grants) != 1000 {
			b.Fatal(len(grants), err)
		}
	}
}
