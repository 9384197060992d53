package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyward/keyward/broker"
)

// didYouMean returns what to add to a message that name is none of names: the
// nearest of them, or all that there are.
func didYouMean(name string, names []string) string {
	names = slices.Sorted(slices.Values(names))
	if n := broker.Nearest(name, names); n != "" {
		return fmt.Sprintf("; did you mean %q?", n)
	}
	if len(names) == 0 {
		return ""
	}
	return "; choose of " + strings.Join(names, ", ")
}
