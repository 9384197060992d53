package brokertest

import (
	"os"
	"testing"
)

// TortureSize is how much a test of torture does: full where KEYWARD_TORTURE is set,
// as make torture does, and else small. It says which.
func TortureSize(tb testing.TB, small, full int) int {
	tb.Helper()
	if Torture() {
		return full
	}
	tb.Logf("a small size, %d of %d; make torture runs it in full", small, full)
	return small
}

// Torture reports whether tests of torture run in full.
func Torture() bool { return os.Getenv("KEYWARD_TORTURE") != "" }
