package broker

import (
	"slices"
	"strings"
)

// Nearest returns the one of names that whoever wrote name most likely meant,
// or "" if none is near: one that differs in case only, or else in the fewest
// characters that were left out, added, replaced or swapped, of which there may
// be one in three, and three at most. The first of several as near is returned.
func Nearest[T ~string](name string, names []T) T {
	for _, n := range names {
		if strings.EqualFold(string(n), name) {
			return n
		}
	}
	var nearest T
	least := min((len(name)+1)/3, 3) + 1
	for _, n := range names {
		if d := distance(strings.ToLower(name), strings.ToLower(string(n)), least); d < least && d < len(n) {
			nearest, least = n, d
		}
	}
	return nearest
}

// distance returns in how many steps a becomes b, or at least if it takes as
// many or more.
func distance(a, b string, least int) int {
	if len(a)-len(b) >= least || len(b)-len(a) >= least {
		return least
	}
	// Rows of the usual table: the one before the last, the last, this one.
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		if slices.Min(row) > least {
			return least
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], least)
}
