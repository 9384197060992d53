//go:build !race

package audit

// step is how far apart the records are that TestEveryRecord tampers with.
const step = 1
