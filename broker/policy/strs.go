package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyward/keyward/broker"
)

// spelling is what is known of a string's characters. Its methods return why a
// string, or what a pattern matches, is never so, or "".
type spelling struct {
	exact   func(string) string
	pattern func([]rune) string
}

// strs are strings: the listed, if few, or else those that are spelled so and
// fit all patterns.
type strs struct {
	spelling   *spelling
	listed     []string
	few        bool
	like, not  [][]rune
	different  []string
	whyNotSome string
}

func (d strs) add(c constraint) (domain, string, bool) {
	switch c := c.(type) {
	case equals:
		if !c.not && d.spelling != nil {
			if why := d.spelling.exact(c.s); why != "" {
				return d, why, false
			}
		}
		if c.not {
			d.different = append(slices.Clone(d.different), c.s)
			return d.keep(func(s string) bool { return s != c.s })
		}
		if !d.takes(c.s) {
			return d, d.whyNotSome, false
		}
		d.listed, d.few = []string{c.s}, true
		return d, "", true
	case like:
		switch {
		case !slices.Contains(c.pattern, wildcard):
			return d.add(equals{string(c.pattern), c.not})
		case c.not:
			if !d.few && (covers(c.pattern, []rune{wildcard}) || slices.ContainsFunc(d.like, func(p []rune) bool { return covers(c.pattern, p) })) {
				return d, "", false
			}
			d.not = append(slices.Clone(d.not), c.pattern)
			return d.keep(func(s string) bool { return !covers(c.pattern, []rune(s)) })
		}
		if d.spelling != nil {
			if why := d.spelling.pattern(c.pattern); why != "" {
				return d, why, false
			}
		}
		if !d.few && (slices.ContainsFunc(d.like, func(p []rune) bool { return !meet(p, c.pattern) }) ||
			slices.ContainsFunc(d.not, func(p []rune) bool { return covers(p, c.pattern) })) {
			return d, "", false
		}
		d.like = append(slices.Clone(d.like), c.pattern)
		// A long string may be covered, and not be found to be.
		return d.keep(func(s string) bool {
			return covers(c.pattern, []rune(s)) || len(s) > maxPattern || len(c.pattern) > maxPattern
		})
	}
	return d, "", true
}

// keep leaves those of the few that still may be.
func (d strs) keep(may func(string) bool) (domain, string, bool) {
	if !d.few {
		return d, "", true
	}
	d.listed = slices.DeleteFunc(slices.Clone(d.listed), func(s string) bool { return !may(s) })
	return d, d.whyNotSome, len(d.listed) > 0
}

// takes reports whether s could be.
func (d strs) takes(s string) bool {
	r := []rune(s)
	switch {
	case d.few && !slices.Contains(d.listed, s), slices.Contains(d.different, s):
		return false
	case slices.ContainsFunc(d.not, func(p []rune) bool { return covers(p, r) }):
		return false
	case len(r) > maxPattern:
		return true
	}
	return !slices.ContainsFunc(d.like, func(p []rune) bool { return len(p) <= maxPattern && !covers(p, r) })
}

// oneOf are strings of which there are few.
func oneOf(values ...string) strs {
	return strs{listed: values, few: true, whyNotSome: "it is " + strings.Join(quoted(values), " or ")}
}

func quoted(values []string) []string {
	var q []string
	for _, v := range values {
		q = append(q, fmt.Sprintf("%q", v))
	}
	return q
}

// notEmpty are strings that are absent where they would be empty.
var notEmpty = strs{spelling: &spelling{
	exact: func(s string) string {
		if s == "" {
			return `it is never empty; where there is none, "has" is false`
		}
		return ""
	},
	pattern: func([]rune) string { return "" },
}}

// objectNames and vaultNames are those that a broker.Name can have.
var (
	objectNames = canonical("a name is 1 to 127 of [a-z0-9-]", 127, func(s string) bool {
		n, err := broker.ParseName(broker.KindSecrets, "vaults/v/secrets/"+s)
		return err == nil && n.ObjectName() == s
	}, false)
	vaultNames = canonical(`a vault's alias is 1 to 63 of [a-z0-9-], with no "-" at its ends`, 63, func(s string) bool {
		_, err := broker.VaultName(s)
		return err == nil
	}, true)
)

// canonical are names for which valid holds. noHyphen: not at the ends.
func canonical(rule string, most int, valid func(string) bool, noHyphen bool) strs {
	exact := func(s string) string {
		switch lower := strings.ToLower(s); {
		case valid(s):
			return ""
		case valid(lower):
			return fmt.Sprintf("names are in lower case; write %q", lower)
		}
		return rule
	}
	pattern := func(p []rune) string {
		n := 0
		var lower []rune
		for i, r := range p {
			switch {
			case r == wildcard:
			case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' && (!noHyphen || i > 0 && i < len(p)-1):
				n++
			case r >= 'A' && r <= 'Z':
				n++
				lower = []rune(strings.ToLower(string(r)))
			default:
				return rule
			}
		}
		if n > most {
			return rule
		}
		if lower != nil {
			return fmt.Sprintf("names are in lower case; write %q", strings.ToLower(like{pattern: p}.String()))
		}
		return ""
	}
	return strs{spelling: &spelling{exact: exact, pattern: pattern}}
}
