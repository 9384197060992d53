//go:build !race

package policy

// rounds is how often a test that draws goes over its draw.
const rounds = 10
