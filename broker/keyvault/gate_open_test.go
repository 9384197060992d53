package keyvault

import (
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

func openGate(tb testing.TB) *gate {
	tb.Helper()
	b, err := Budget{}.bucket(true, false)
	if err != nil {
		tb.Fatal(err)
	}
	b.stored, b.left, b.rate = 1e12, 1e12, 1e12
	return newGate(b)
}

// An open gate costs next to nothing: no memory at all.
func TestOpenGateAllocatesNothing(t *testing.T) {
	g := openGate(t)
	ctx := broker.WithErrand(t.Context(), broker.Errand{Principal: "p"})
	if n := testing.AllocsPerRun(100, func() {
		g.called()
		p, err := g.enter(ctx, shareOf("GetSecret"))
		if err != nil {
			t.Fatal(err)
		}
		g.came(p, verdictAnswered, 0, false)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkOpenGate(b *testing.B) {
	g := openGate(b)
	ctx := broker.WithErrand(b.Context(), broker.Errand{Principal: "p"})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			g.called()
			p, _ := g.enter(ctx, shareOf("GetSecret"))
			g.came(p, verdictAnswered, 0, false)
		}
	})
}

// What a budget is in Key Vault's terms: so many reads, sets and new keys at most
// in ten seconds.
func TestBudget(t *testing.T) {
	tests := map[string]struct {
		budget             Budget
		elsewhere, hsm     bool
		reads, sets, makes int // 0: no limit
		bad                bool
	}{
		"default":                 {reads: 3200, sets: 240, makes: 16},
		"half":                    {budget: Budget{Share: 0.5}, reads: 2000, sets: 150, makes: 10},
		"all, of two replicas":    {budget: Budget{Share: 1, Replicas: 2}, reads: 2000, sets: 150, makes: 10},
		"of four replicas":        {budget: Budget{Replicas: 4}, reads: 800, sets: 60, makes: 4},
		"no vault of Azure's":     {elsewhere: true},
		"elsewhere, if asked for": {budget: Budget{Share: 0.8}, elsewhere: true, reads: 3200, sets: 240, makes: 16},
		"a Managed HSM":           {hsm: true},
		"more than all":           {budget: Budget{Share: 1.1}, bad: true},
		"less than none":          {budget: Budget{Share: -0.1}, bad: true},
		"no replica":              {budget: Budget{Replicas: -1}, bad: true},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			for operation, most := range map[string]int{"GetSecret": tt.reads, "SetSecret": tt.sets, createKey: tt.makes} {
				b, err := tt.budget.bucket(!tt.elsewhere, tt.hsm)
				if (err != nil) != tt.bad {
					t.Fatal(err)
				}
				if tt.bad {
					return
				}
				if (b == nil) != (most == 0) {
					t.Fatalf("a bucket: %v", b != nil)
				}
				cost, now, n := shareOf(operation), time.Unix(0, 0), 0
				for b != nil {
					now = now.Add(b.wait(now, 0, cost, 0))
					if now.Sub(time.Unix(0, 0)) > budgetWindow {
						break
					}
					b.spend(now, cost)
					n++
				}
				if n > most || n < most-1 {
					t.Errorf("%d of %s in ten seconds, want %d", n, operation, most)
				}
			}
		})
	}
}
