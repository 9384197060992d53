package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

// TestPaceCollector: the more is in use, the less in proportion may be garbage.
func TestPaceCollector(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	paceCollector(func(string) string { return "100" })
	if got := debug.SetGCPercent(100); got != 100 {
		t.Fatalf("GOGC is %d, and %d was asked for", 100, got)
	}
	pace()
	set := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	collected := func(want string, ok func(uint64) bool) {
		t.Helper()
		eventually(t, want, func() bool { runtime.GC(); return ok(set()) })
	}
	large := make([]byte, 256<<20)
	collected("the least, of 256 MiB in use", func(p uint64) bool { return p == minGCPercent })
	runtime.KeepAlive(large) // and no longer
	collected("more, when they are not", func(p uint64) bool { return p > minGCPercent })
}

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 4 << 20: 400, 8 << 20: 400, 16 << 20: 200, 32 << 20: 100, 50 << 20: 60, 64 << 20: 50, 1 << 40: 50} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d bytes: %d, want %d", live, got, want)
		}
	}
}
