package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const (
	// headroom is how much garbage there may be before Go's collector runs, as far
	// as it is no less than minGCPercent of what is in use, and no more than
	// maxGCPercent.
	headroom     = 32 << 20 // bytes
	minGCPercent = 50
	maxGCPercent = 400
)

// paceCollector has Go's collector leave the same room for garbage whatever is in
// use, where its default is as much again. A broker that has little in use would
// collect many times a second; one with a large cache would take twice its memory.
// GOGC wins.
func paceCollector(env func(string) string) {
	if env("GOGC") == "" {
		pacing.Do(pace)
	}
}

// pacing: the collector is the process's, however many commands a test runs in it.
var pacing sync.Once

func pace() {
	debug.SetGCPercent(maxGCPercent)
	// An object that nobody has is found by each run of the collector, and comes back.
	type found struct{ _ [16]byte }
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	set := maxGCPercent
	var again func(*found)
	again = func(f *found) {
		metrics.Read(live)
		if percent := gcPercent(live[0].Value.Uint64()); percent != set {
			debug.SetGCPercent(percent)
			set = percent
		}
		runtime.SetFinalizer(f, again)
	}
	runtime.SetFinalizer(&found{}, again)
}

// gcPercent is that for so many bytes in use, in steps of ten.
func gcPercent(live uint64) int {
	percent := headroom * 100 / max(live, 1) / 10 * 10
	return int(min(max(percent, minGCPercent), maxGCPercent))
}
