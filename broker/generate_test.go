package broker_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// generated sets a secret by g and returns the value from the vault.
func (w *world) generated(t *testing.T, g broker.Generator) string {
	t.Helper()
	n := w.secret(t, "made")
	if _, err := w.GenerateSecret(t.Context(), alice, n, g, broker.NewSecret{Enabled: true}, broker.SetSecretOptions{}); err != nil {
		t.Fatal(err)
	}
	v, err := w.store.GetSecret(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return v.Value.Reveal()
}

const defaultAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

// TestGeneratedCharactersAreEven: chi-square of the counts. The bound is more
// than ten standard deviations above the mean: chance reaches it less than once
// in 10¹⁰ runs, and a remainder of random bytes passes it by far.
func TestGeneratedCharactersAreEven(t *testing.T) {
	var latin strings.Builder
	for r := rune(0x100); r < 0x100+200; r++ {
		latin.WriteRune(r)
	}
	for name, alphabet := range map[string]string{"default": "", "two": "ab", "ten": "0123456789", "two hundred": latin.String()} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, brokertest.AllowAll{})
			counts := map[rune]int{}
			total := 0
			for range 8 {
				for _, r := range w.generated(t, broker.Generator{Length: 12_800, Alphabet: alphabet}) {
					counts[r]++
					total++
				}
			}
			if alphabet == "" {
				alphabet = defaultAlphabet
			}
			letters := utf8.RuneCountInString(alphabet)
			expected := float64(total) / float64(letters)
			chi := 0.0
			for _, r := range alphabet {
				d := float64(counts[r]) - expected
				chi += d * d / expected
				delete(counts, r)
			}
			if len(counts) != 0 {
				t.Errorf("%d characters are not of the alphabet", len(counts))
			}
			// The mean is the degrees of freedom, the variance twice that.
			free := float64(letters - 1)
			if bound := free + 10*math.Sqrt(2*free) + 50; chi > bound {
				t.Errorf("chi-square %.0f, want at most %.0f", chi, bound)
			}
		})
	}
}

func TestGeneratedValuesHaveAllKinds(t *testing.T) {
	w := newWorld(t, brokertest.AllowAll{})
	seen := map[string]bool{}
	for i := range 300 {
		v := w.generated(t, broker.Generator{Length: 4 + i%5})
		if len(v) != 4+i%5 {
			t.Fatalf("%d characters, want %d", len(v), 4+i%5)
		}
		for _, kind := range []string{defaultAlphabet[:26], defaultAlphabet[26:52], defaultAlphabet[52:62], defaultAlphabet[62:]} {
			if !strings.ContainsAny(v, kind) {
				t.Errorf("a value of %d characters has none of %q", len(v), kind)
			}
		}
	}
	for range 20 {
		v := w.generated(t, broker.Generator{})
		if len(v) != 32 || seen[v] {
			t.Errorf("%d characters, seen before: %v", len(v), seen[v])
		}
		seen[v] = true
	}
	for _, g := range []broker.Generator{{Length: 1}, {Length: 3}, {Length: 25_600}, {Length: 12_800, Alphabet: "äö"}, {Length: 7, Alphabet: "ab"}} {
		if n := utf8.RuneCountInString(w.generated(t, g)); n != g.Length {
			t.Errorf("%d characters, want %d", n, g.Length)
		}
	}
}

func TestGeneratorsThatAreNone(t *testing.T) {
	var many strings.Builder
	for r := rune(0x100); r < 0x100+257; r++ {
		many.WriteRune(r)
	}
	for name, tt := range map[string]struct {
		g     broker.Generator
		field string
	}{
		"negative length":  {broker.Generator{Length: -1}, "length"},
		"25,601":           {broker.Generator{Length: 25_601}, "length"},
		"too many bytes":   {broker.Generator{Length: 12_801, Alphabet: "äö"}, "length"},
		"one character":    {broker.Generator{Alphabet: "a"}, "alphabet"},
		"a character more": {broker.Generator{Alphabet: many.String()}, "alphabet"},
		"one twice":        {broker.Generator{Alphabet: "abca"}, "alphabet"},
		"not UTF-8":        {broker.Generator{Alphabet: "ab\xff"}, "alphabet"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, brokertest.AllowAll{})
			_, err := w.GenerateSecret(t.Context(), alice, w.secret(t, "a"), tt.g, broker.NewSecret{Enabled: true}, broker.SetSecretOptions{})
			if e := broker.AsError(err); e == nil || e.Code != broker.CodeBadField || e.Field != tt.field {
				t.Errorf("got %v, want BAD_FIELD of %s", err, tt.field)
			}
			if n := w.store.Calls(brokertest.SetSecret) + len(w.audit.Events()); n != 0 {
				t.Errorf("%d vault calls and records, want 0", n)
			}
		})
	}
}

// TestGenerateIsAnActionOfItsOwn: who may generate need not be able to set.
func TestGenerateIsAnActionOfItsOwn(t *testing.T) {
	w := newWorld(t, allowOnly(broker.ActionGenerateSecret))
	if v := w.generated(t, broker.Generator{}); len(v) != 32 {
		t.Errorf("%d characters", len(v))
	}
	_, err := w.SetSecret(t.Context(), alice, w.secret(t, "made"), broker.NewSecret{Value: broker.NewValue("x")}, broker.SetSecretOptions{})
	if broker.CodeOf(err) != broker.CodePolicyDenied {
		t.Errorf("a set: %v", err)
	}
	if text := fmt.Sprintf("%+v", w.audit.Events()); strings.Contains(text, "[redacted]") {
		t.Errorf("a record has a place for the value: %s", text)
	}
}
