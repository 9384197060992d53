package localvault

import (
	"crypto/sha256"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

// Whatever is taken as a key signs or seals, and its public half is sound.
func FuzzImport(f *testing.F) {
	text, err := os.ReadFile("testdata/key_vectors.json")
	if err != nil {
		f.Fatal(err)
	}
	var vectors []struct {
		Key json.RawMessage `json:"key"`
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		f.Fatal(err)
	}
	for _, v := range vectors {
		f.Add([]byte(v.Key))
	}
	f.Add([]byte(`{"kty":"EC","kty":"RSA"}`))
	f.Add([]byte(`{"kty":"oct","k":"AA"} {}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		members, err := parseJWK(text)
		if err != nil {
			return
		}
		k, s, err := members.private()
		if err != nil {
			return
		}
		b, err := k.bytes()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parsePrivate(s, b)
		if err != nil {
			t.Fatalf("what was imported cannot be read back: %v", err)
		}
		j, err := again.public(s.Type)
		if err != nil {
			t.Fatal(err)
		}
		if s.Type.Software() == broker.KeyTypeOct {
			return
		}
		public, err := broker.NewPublicKey(j)
		if err != nil {
			t.Fatalf("the public half is not sound: %v", err)
		}
		if s.Type.Software() != broker.KeyTypeRSA {
			return
		}
		digest := sha256.Sum256(text)
		signature, err := again.sign("RS256", digest[:])
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := public.Verify("RS256", digest[:], signature); !ok || err != nil {
			t.Fatalf("a signature is not good: %v", err)
		}
	})
}

func TestSpans(t *testing.T) {
	start := time.Date(2001, 1, 31, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		after  time.Time // zero: refused
		length time.Duration
	}{
		"P90D":        {start.AddDate(0, 0, 90), 90 * day},
		"P18M":        {start.AddDate(0, 18, 0), 540 * day},
		"P2Y":         {start.AddDate(2, 0, 0), 730 * day},
		"P3W":         {start.AddDate(0, 0, 21), 21 * day},
		"P1Y2M3DT4H":  {start.AddDate(1, 2, 3).Add(4 * time.Hour), 428*day + 4*time.Hour},
		"PT48H":       {start.Add(48 * time.Hour), 48 * time.Hour},
		"PT1M30S":     {start.Add(90 * time.Second), 90 * time.Second},
		"P0Y1D":       {start.AddDate(0, 0, 1), day},
		"P100Y":       {start.AddDate(100, 0, 0), 36500 * day},
		"":            {},
		"P":           {},
		"PT":          {},
		"P1DT":        {},
		"P0D":         {},
		"PT0S":        {},
		"90":          {},
		"P90":         {},
		"p90d":        {},
		"P-1D":        {},
		"-P1D":        {},
		"P1.5D":       {},
		"P1D2M":       {},
		"P1S":         {},
		" P1D":        {},
		"P1D\n":       {},
		"P101Y":       {},
		"P99999Y":     {},
		"P999999D":    {},
		"P1YT99999H9": {},
	}
	for text, tt := range tests {
		d, ok := parseSpan(text)
		if ok == tt.after.IsZero() {
			t.Errorf("%q is taken: %v", text, ok)
		}
		if ok && (!d.after(start).Equal(tt.after) || d.length() != tt.length) {
			t.Errorf("%q ends %v after %v; want %v, %v", text, d.after(start), d.length(), tt.after, tt.length)
		}
	}
}

// What is taken as a duration lies in bounds, and goes forth as it goes back.
func FuzzSpan(f *testing.F) {
	for _, text := range []string{"P90D", "P1Y2M3W4DT5H6M7S", "PT48H", "P100Y", "P", "P1.5D"} {
		f.Add(text)
	}
	start := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		d, ok := parseSpan(text)
		if !ok {
			return
		}
		if l := d.length(); l <= 0 || l > 100*365*day {
			t.Fatalf("%q lasts %v", text, l)
		}
		if !d.after(start).After(start) || !d.before(start).Before(start) {
			t.Fatalf("%q goes from %v to %v, and back to %v", text, start, d.after(start), d.before(start))
		}
	})
}
