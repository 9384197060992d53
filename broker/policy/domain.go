package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/keyward/keyward/broker"
)

// A domain is what a value could still be, after all that was asked of it. It
// never changes; add returns the next. It may take in more than could really
// be, never less.
type domain interface {
	// add returns what is left once c holds, too, or false if nothing is. why is
	// there if that is so of the value itself, whatever else is asked.
	add(c constraint) (left domain, why string, ok bool)
}

// constraint is one thing asked of a value: equals, like, between, within or
// truth.
type constraint any

type (
	// equals, like and within may be negated: not.
	equals struct {
		s   string
		not bool
	}
	like struct {
		pattern []rune
		not     bool
	}
	within struct {
		prefix netip.Prefix
		not    bool
	}
	// between takes both ends. differs is from one number.
	between struct{ low, high int64 }
	differs struct{ from int64 }
	truth   bool
)

// truths are of what nothing is known of but that it is true or false.
type truths struct {
	known, is bool
}

func (d truths) add(c constraint) (domain, string, bool) {
	is, _ := c.(truth)
	return truths{true, bool(is)}, "", !d.known || d.is == bool(is)
}

// wildcard stands for "*" in a pattern.
const wildcard rune = -1

// runes returns a pattern as characters and wildcards.
func runes(p cedar.Pattern) ([]rune, bool) {
	text, err := p.MarshalJSON()
	if err != nil {
		return nil, false
	}
	var parts []any
	if err := json.Unmarshal(text, &parts); err != nil {
		return nil, false
	}
	var pattern []rune
	for _, part := range parts {
		if literal, ok := part.(map[string]any); ok {
			s, _ := literal["Literal"].(string)
			pattern = append(pattern, []rune(s)...)
			continue
		}
		pattern = append(pattern, wildcard)
	}
	return pattern, true
}

func (l like) String() string {
	return strings.ReplaceAll(string(slices.Collect(func(yield func(rune) bool) {
		for _, r := range l.pattern {
			if r == wildcard {
				r = '*'
			}
			if !yield(r) {
				return
			}
		}
	})), `"`, `\"`)
}

// maxPattern bounds the patterns that are compared.
const maxPattern = 512

// covers reports whether whatever p matches, q matches, too: then a "*" of p is
// within one of q. A string without wildcards is such a p. It may say no where
// it is so.
func covers(q, p []rune) bool {
	if len(p) > maxPattern || len(q) > maxPattern {
		return false
	}
	// from[j]: q[:j] covers what was seen of p.
	from := make([]bool, len(q)+1)
	from[0] = true
	skip := func() {
		for j, r := range q {
			from[j+1] = from[j+1] || from[j] && r == wildcard
		}
	}
	skip()
	for _, r := range p {
		for j := len(q); j > 0; j-- {
			from[j] = from[j] && q[j-1] == wildcard || from[j-1] && q[j-1] == r
		}
		from[0] = false
		skip()
	}
	return from[len(q)]
}

// meet reports whether a string could match both. It may say yes where none
// could.
func meet(p, q []rune) bool {
	if len(p) > maxPattern || len(q) > maxPattern {
		return true
	}
	// after[j]: what is left of p meets q[j:].
	after := make([]bool, len(q)+1)
	for i := len(p); i >= 0; i-- {
		row := make([]bool, len(q)+1)
		for j := len(q); j >= 0; j-- {
			switch {
			case i == len(p) && j == len(q):
				row[j] = true
			case i < len(p) && p[i] == wildcard:
				row[j] = after[j] || j < len(q) && row[j+1]
			case j < len(q) && q[j] == wildcard:
				row[j] = row[j+1] || i < len(p) && after[j]
			case i < len(p) && j < len(q) && p[i] == q[j]:
				row[j] = after[j+1]
			}
		}
		after = row
	}
	return after[0]
}

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

// nums are whole numbers, and times and durations in milliseconds.
type nums struct {
	low, high int64
	differ    []int64
	// why says what the numbers of this kind are.
	why string
}

var anyNumber = nums{low: math.MinInt64, high: math.MaxInt64}

func (d nums) add(c constraint) (domain, string, bool) {
	switch c := c.(type) {
	case between:
		d.low, d.high = max(d.low, c.low), min(d.high, c.high)
	case differs:
		d.differ = append(slices.Clone(d.differ), c.from)
	}
	return d, d.why, d.low < d.high || d.low == d.high && !slices.Contains(d.differ, d.low)
}

// addrs are single addresses, as a peer has one.
type addrs struct {
	in  netip.Prefix // the zero Prefix: anything
	out []netip.Prefix
}

// mapped are IPv4 addresses in IPv6's clothes, which no peer has: they are
// unmapped.
var mapped = netip.MustParsePrefix("::ffff:0:0/96")

func inside(inner, outer netip.Prefix) bool {
	return outer.Contains(inner.Addr()) && inner.Bits() >= outer.Bits()
}

func (d addrs) add(c constraint) (domain, string, bool) {
	w, _ := c.(within)
	switch {
	case w.not:
		d.out = append(slices.Clone(d.out), w.prefix)
	case inside(w.prefix, mapped):
		return d, "the peer of IPv4 has an IPv4 address; write it as one", false
	case !d.in.IsValid() || inside(w.prefix, d.in):
		d.in = w.prefix
	case !inside(d.in, w.prefix):
		return d, "", false
	}
	return d, "", !d.in.IsValid() || !slices.ContainsFunc(d.out, func(out netip.Prefix) bool { return inside(d.in, out) })
}
