package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
)

// result is a line of the table: a figure of each round, and what is wanted of
// their median.
type result struct {
	what    string
	rounds  []float64
	target  target
	ours    string // what the figure was made from
	against string
}

// target is a bound on a median.
type target struct {
	bound   float64
	atLeast bool
	unit    string // of both, where it is no ratio
}

// untargeted is told for what it says of another line.
var untargeted = target{}

func atLeast(bound float64) target { return target{bound: bound, atLeast: true} }
func atMost(bound float64) target  { return target{bound: bound} }

func (t target) String() string {
	if t.bound == 0 {
		return "none"
	}
	sign := "≤"
	if t.atLeast {
		sign = "≥"
	}
	return sign + " " + t.figure(t.bound)
}

// figure writes a figure in the target's unit, of three digits or so.
func (t target) figure(f float64) string {
	if t.unit == "" {
		return fmt.Sprintf("%.2f", f)
	}
	return fmt.Sprintf("%.0f %s", f, t.unit)
}

func (r result) median() float64 { return median(r.rounds) }

func (r result) missed() bool {
	switch {
	case r.target.bound == 0:
		return false
	case r.target.atLeast:
		return r.median() < r.target.bound
	}
	return r.median() > r.target.bound
}

// line is the table's line.
func (r result) line() string {
	verdict := ""
	if r.missed() {
		verdict = " (missed)"
	}
	f := r.target.figure
	return fmt.Sprintf("| %s | **%s** | %s%s | %s to %s | %s | %s |", r.what, f(r.median()), r.target, verdict,
		f(slices.Min(r.rounds)), f(slices.Max(r.rounds)), r.ours, r.against)
}

func printTable(w io.Writer, s settings, results []result) {
	fmt.Fprintf(w, "\n%d cores (GOMAXPROCS as Go chooses, of servers and caller alike), %s; medians of %d rounds of %s intervals.\n\n",
		runtime.NumCPU(), runtime.Version(), s.rounds, s.interval)
	fmt.Fprintln(w, "| row | measured | target | rounds | keyward | yardstick |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|")
	for _, r := range results {
		fmt.Fprintln(w, r.line())
	}
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
