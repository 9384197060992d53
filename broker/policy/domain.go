package policy

import (
	"math"
	"net/netip"
	"slices"
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
