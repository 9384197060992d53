//go:build race

package policy

// rounds: the race detector makes drawing slow, and finds nothing in what draws
// alone: it gets a tenth.
const rounds = 1
