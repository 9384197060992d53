package policy

import (
	"math/rand/v2"
	"testing"

	"github.com/cedar-policy/cedar-go"
)

// TestPatterns compares what is said of patterns with what Cedar matches, for
// all short strings.
func TestPatterns(t *testing.T) {
	all := []string{""}
	for i := 0; len(all[i]) < 5; i++ {
		all = append(all, all[i]+"a", all[i]+"b")
	}
	d := draw{rand.New(rand.NewPCG(8, 2026))}
	pattern := func() (cedar.Pattern, []rune) {
		var parts []any
		for range d.IntN(5) {
			parts = append(parts, pick[any](d, "a", "b", cedar.Wildcard{}))
		}
		p := cedar.NewPattern(parts...)
		r, ok := runes(p)
		if !ok {
			t.Fatalf("%s was not read", p.MarshalCedar())
		}
		return p, r
	}
	var met, covered int
	for range 3_000 {
		p, pr := pattern()
		q, qr := pattern()
		both, within := false, true
		for _, s := range all {
			inP, inQ := p.Match(cedar.String(s)), q.Match(cedar.String(s))
			if got := covers(pr, []rune(s)); got != inP {
				t.Fatalf("covers(%s, %q) = %t", p.MarshalCedar(), s, got)
			}
			both, within = both || inP && inQ, within && (inQ || !inP)
		}
		// What matches both is no longer than the letters of both.
		if got := meet(pr, qr); got != both && len(pr)+len(qr) <= 5 || !got && both {
			t.Fatalf("meet(%s, %s) = %t", p.MarshalCedar(), q.MarshalCedar(), got)
		}
		if covers(qr, pr) {
			if !within {
				t.Fatalf("covers(%s, %s)", q.MarshalCedar(), p.MarshalCedar())
			}
			covered++
		}
		if both {
			met++
		}
	}
	if met < 300 || covered < 300 {
		t.Errorf("%d met, %d covered: the draw proves little", met, covered)
	}
}
