package localvault

import (
	"bytes"
	"testing"
	"time"
)

func TestNextVersionFollows(t *testing.T) {
	start := time.UnixMilli(1_790_000_000_999)
	tests := map[string]time.Duration{
		"the clock moves":            time.Millisecond,
		"the clock stands":           0,
		"the clock goes back":        -time.Second,
		"the clock jumps far back":   -365 * 24 * time.Hour,
		"the clock is before 1970":   -100 * 365 * 24 * time.Hour,
		"the clock jumps far ahead":  365 * 24 * time.Hour,
		"less than the id's measure": time.Microsecond,
	}
	for name, step := range tests {
		t.Run(name, func(t *testing.T) {
			prev, now := nextVersion(version{}, start), start
			for range 200 {
				now = now.Add(step)
				next := nextVersion(prev, now)
				if bytes.Compare(next[:], prev[:]) <= 0 || next.String() <= prev.String() {
					t.Fatalf("%v follows %v", next, prev)
				}
				if next.created().Before(prev.created()) {
					t.Fatalf("made at %v after %v", next.created(), prev.created())
				}
				prev = next
			}
		})
	}
}

func TestVersionCreated(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 999_999_999, time.UTC)
	if got, want := nextVersion(version{}, now).created(), now.Truncate(time.Second); !got.Equal(want) {
		t.Errorf("made at %v, want %v", got, want)
	}
}

func TestParseVersion(t *testing.T) {
	v := nextVersion(version{}, time.UnixMilli(1))
	if got, ok := parseVersion(v.String()); !ok || got != v {
		t.Errorf("%v, %v from its own text", got, ok)
	}
	for _, bad := range []string{"", "0", v.String()[1:], v.String() + "0", v.String() + "00", v.String()[:31] + "g"} {
		if _, ok := parseVersion(bad); ok {
			t.Errorf("%q is taken for a version", bad)
		}
	}
}
